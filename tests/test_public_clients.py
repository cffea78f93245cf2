"""The public clients, unmodified, against a collector on a real port: every event arrives in ClickHouse."""

from collections.abc import Callable

import pytest
from support.clients import ARRIVED, node, python, run_client, sorted_events
from support.clocks import Hand
from support.serving import collecting
from support.warehouse import Site

from wakeline.clock import system_clock

pytestmark = pytest.mark.stack


@pytest.fixture
def clock() -> Hand:
    return Hand(system_clock())


@pytest.mark.parametrize(
    ("command", "script", "client"),
    [
        pytest.param(node, "server.mjs", "segment", id="@segment/analytics-node"),
        pytest.param(node, "server.mjs", "rudder", id="@rudderstack/rudder-sdk-node"),
        pytest.param(node, "server.mjs", "jitsu", id="@jitsu/js"),
        pytest.param(node, "server.mjs", "snowplow", id="@snowplow/node-tracker"),
        pytest.param(python, "server.py", "segment", id="segment-analytics-python"),
        pytest.param(python, "server.py", "segment-gzip", id="segment-analytics-python-gzip"),
        pytest.param(python, "server.py", "rudder", id="rudder-sdk-python"),
    ],
)
def test_every_event_of_a_public_client_arrives_in_clickhouse(
    site: Site, command: Callable[[], str], script: str, client: str
) -> None:
    with collecting(site.with_settings(collector={"port": 0}).settings) as address:
        given = run_client(command(), script, client, address, site.settings.collector.write_key)
    site.clock.now_ms = system_clock()
    site.play([])
    assert site.statuses() == {"accepted": len(given)}
    assert sorted_events(site.rows(ARRIVED)) == sorted_events(given)
    [(events,)] = site.rows("SELECT uniqExact(message_id) FROM events")
    assert events == len(given)
