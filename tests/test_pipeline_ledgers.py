"""The way of an event with the ledger in each database that has a server of its own."""

from typing import Any

import pytest
from support.clocks import NOW_MS
from support.messages import Message, identify, track
from support.sending import RecordingEsp
from support.warehouse import Site

from wakeline.activation.ledger.reading import count_open
from wakeline.activation.ledger.summary import Summary
from wakeline.engines import open_database

pytestmark = pytest.mark.stack


def order(message_id: str, order_id: str) -> Message:
    line = {"product_id": "p1", "name": "Tote", "price": 45.0, "quantity": 1}
    sums = {"order_id": order_id, "total": 45.0, "currency": "EUR", "products": [line]}
    return track("Order Completed", message_id, user="ann", **sums)


@pytest.fixture(params=["postgres", "dynamodb"])
def elsewhere(request: pytest.FixtureRequest, site: Site) -> Site:
    """The site, with its ledger in another database."""
    changed: dict[str, Any] = {"kind": "postgres"}
    if request.param == "postgres":
        changed["url"] = request.getfixturevalue("postgres").create_database()
    else:
        changed = request.getfixturevalue("dynamodb").settings(site.settings.stream.name).model_dump()
    return site.with_settings(ledger=changed)


def test_an_order_is_mailed_once_and_known_to_the_next_run(elsewhere: Site) -> None:
    esp = RecordingEsp()
    elsewhere.clock.now_ms = NOW_MS
    elsewhere.play([identify("m1", user="ann", email="ann@example.com", at_ms=NOW_MS), order("m2", "o1")], esp)
    elsewhere.play([order("m3", "o2"), order("m2", "o1")], esp)
    assert len(esp.keys) == len(set(esp.keys)) == 2
    database = open_database(elsewhere.settings)
    assert Summary(database).counts() == {"order_confirmation": {"sent": 2}}
    assert count_open(database) == 0
    database.dispose()
    assert elsewhere.book.rows() == [], "The file of the site was not to be used."
