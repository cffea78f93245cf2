"""Asks the warehouse what service levels are judged by; the SQL that decides something is in dbt models."""

from collections.abc import Mapping, Sequence
from typing import Any

from clickhouse_connect.driver.client import Client

from wakeline.clock import to_epoch_ms
from wakeline.errors import WarehouseError
from wakeline.sla.judging import Activity, Latencies
from wakeline.sla.volume import WEEKS, Minute
from wakeline.warehouse.client import FAULTS, first_line

_HEARTBEATS = "SELECT partition, last_received_at FROM heartbeats"
_BUILDS = "SELECT model, built_at FROM table_builds"
_ACTIVITY = "SELECT campaign, min(first_evaluated_at), max(last_sent_at) FROM campaign_activity GROUP BY campaign"
_LAST_CUSTOMER = "SELECT max(minute) FROM traffic WHERE accepted_count > 0"
# The latest minutes, and those around the same time of earlier weeks.
_TRAFFIC = """
    SELECT minute, accepted_count, quarantined_count, received_count, heartbeat_count
    FROM traffic
    WHERE minute >= fromUnixTimestamp({first:Int64}) AND minute <= fromUnixTimestamp({at:Int64})
      AND (
          minute >= fromUnixTimestamp({recent:Int64})
          OR ({at:Int64} - toUnixTimestamp(minute) + {half:Int64}) % {week:Int64} <= 2 * {half:Int64}
      )
"""
# One that has no answer yet counts once it is late already: it cannot become better.
_LATENCIES = """
    SELECT count(), countIf(seconds > {limit:Float64}), quantileExact(0.95)(seconds)
    FROM (
        SELECT state, ({now:Int64} - toUnixTimestamp64Milli(received_at)) / 1000 AS age_seconds,
            if(state = 'sent', (toUnixTimestamp64Milli(esp_accepted_at) - toUnixTimestamp64Milli(received_at)) / 1000,
                age_seconds) AS seconds
        FROM send_latencies FINAL
        WHERE received_minute >= fromUnixTimestamp({first:Int64}) AND NOT has_waited
          AND state IN ('sent', 'claimed', 'retry')
    )
    WHERE seconds IS NOT NULL AND (state = 'sent' OR seconds > {limit:Float64})
"""

_MINUTE_MS = 60_000
_WEEK_SECONDS = 604_800
_HALF_HOUR_SECONDS = 1_800


def heartbeats_ms(client: Client) -> dict[int, int]:
    """Partition -> when the collector received its latest heartbeat that has landed, of the last day."""
    return {int(partition): to_epoch_ms(at) for partition, at in _ask(client, _HEARTBEATS, {}, "heartbeats")}


def built_at_ms(client: Client) -> dict[str, int]:
    """Table -> when its last successful build began."""
    return {str(model): to_epoch_ms(at) for model, at in _ask(client, _BUILDS, {}, "builds of tables")}


def activity(client: Client) -> dict[str, Activity]:
    """Campaign -> what it has done so far, of those that have decided on somebody."""
    rows = _ask(client, _ACTIVITY, {}, "sends of campaigns")
    return {str(name): Activity(to_epoch_ms(first), to_epoch_ms(last)) for name, first, last in rows}


def last_customer_ms(client: Client) -> int:
    """The end of the latest minute in which an event of a customer was accepted; 0 when there was none."""
    [[minute]] = _ask(client, _LAST_CUSTOMER, {}, "traffic")
    return to_epoch_ms(minute) + _MINUTE_MS if minute.year > 1970 else 0


def traffic(client: Client, at_ms: int, window_minutes: int) -> dict[int, Minute]:
    """Start of a minute -> its traffic: of the window before `at_ms`, and what it is compared with. Epoch ms."""
    at = at_ms // 1000
    parameters = {
        "at": at,
        "recent": at - (window_minutes + 1) * 60,
        "first": at - WEEKS * _WEEK_SECONDS - _HALF_HOUR_SECONDS,
        "half": _HALF_HOUR_SECONDS,
        "week": _WEEK_SECONDS,
    }
    rows = _ask(client, _TRAFFIC, parameters, "traffic")
    return {to_epoch_ms(minute): Minute(*map(int, counts)) for minute, *counts in rows}


def latencies(client: Client, now_ms: int, window_minutes: int, limit_seconds: float) -> Latencies:
    """Of the mails whose event was received within the window before `now_ms`: so many whole minutes, and this one."""
    first = (now_ms // _MINUTE_MS - window_minutes) * _MINUTE_MS // 1000
    parameters = {"now": now_ms, "first": first, "limit": limit_seconds}
    [[count, late, p95]] = _ask(client, _LATENCIES, parameters, "latencies of sends")
    return Latencies(int(count), int(late), float(p95) if count else 0.0)


def _ask(client: Client, query: str, parameters: Mapping[str, Any], about: str) -> Sequence[Sequence[Any]]:
    try:
        return client.query(query, dict(parameters)).result_rows
    except FAULTS as error:
        raise WarehouseError(f"ClickHouse did not answer about {about}: {first_line(error)}") from error
