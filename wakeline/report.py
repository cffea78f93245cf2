"""`wakeline report`: what came in, what was sent, how long it took; from stream, warehouse and ledger."""

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from wakeline.activation.ledger.reading import latest_sent
from wakeline.activation.ledger.summary import Summary
from wakeline.clock import Clock
from wakeline.engines import Database, open_database
from wakeline.overview import sends_table
from wakeline.pipeline.factory import lane_store
from wakeline.pipeline.percentiles import percentiles
from wakeline.settings import HEARTBEAT_SOURCE, Settings
from wakeline.streams.factory import open_stream
from wakeline.warehouse.client import connect

STATUSES = ("accepted", "duplicate", "quarantined")
#: Each stage ends where its column says and begins where the one before ended; see docs/concepts.md.
_STAGES = (
    ("collected", "received_at_ms", "appended_at_ms"),
    ("streamed", "appended_at_ms", "read_at_ms"),
    ("ingested", "read_at_ms", "ingested_at_ms"),
    ("evaluated", "ingested_at_ms", "evaluated_at_ms"),
    ("claimed", "evaluated_at_ms", "claimed_at_ms"),
    ("esp_accepted", "claimed_at_ms", "esp_accepted_at_ms"),
    ("total", "received_at_ms", "esp_accepted_at_ms"),
)
_LANDED = "SELECT if(source = {heartbeat:String}, 'heartbeats', status) AS name, count() FROM landing GROUP BY name"
#: Sends whose latencies are looked at: the latest ones.
_LATENCY_SENDS = 100_000


def build_report(settings: Settings, clock: Clock) -> dict[str, Any]:
    """The report as plain data. Raises WakelineError when a part cannot be asked.

    `received` counts the stream's events, unread ones as far as it counts them, the three statuses landing rows; of
    all of them heartbeats stand apart, those that are not read yet excepted;
    `sends` is campaign -> state -> count, where a skip's state is `skipped:<reason>`; `latency_ms` is
    stage -> p50, p95, p99 of sends that an event caused.
    """
    database = open_database(settings)
    stream = open_stream(settings, clock)
    try:
        lanes = lane_store(settings, database)
        committed, starts = lanes.committed(), lanes.starts()
        lag = stream.lag(committed)
        processed = sum(end - starts.get(partition, 0) for partition, end in committed.items())
        landed = _landed(settings)
        return {
            "received": processed + (lag.events or 0) - landed["heartbeats"],
            **landed,
            "profiles": _profiles(settings),
            "sends": Summary(database).counts(),
            "latency_ms": _latencies(database),
            "lag_seconds": lag.seconds,
            "generations": lanes.holders_so_far(),
        }
    finally:
        stream.close()
        database.dispose()


def report_tables(report: dict[str, Any]) -> list[Table]:
    """The same numbers as tables for a terminal."""
    return [_events_table(report), sends_table(report["sends"]), _latency_table(report["latency_ms"])]


def _landed(settings: Settings) -> dict[str, int]:
    """Rows of landing by status, and heartbeats."""
    client = connect(settings.warehouse)
    rows = client.query(_LANDED, {"heartbeat": HEARTBEAT_SOURCE}).result_rows
    client.close()
    return {**dict.fromkeys((*STATUSES, "heartbeats"), 0), **{str(name): int(count) for name, count in rows}}


def _profiles(settings: Settings) -> int:
    client = connect(settings.warehouse)
    [[profiles]] = client.query("SELECT uniqExact(profile_id) FROM profile_members").result_rows
    client.close()
    return int(profiles)


def _latencies(database: Database) -> dict[str, dict[str, float]]:
    names = sorted({name for _, begin, end in _STAGES for name in (begin, end)})
    rows = latest_sent(database, names, _LATENCY_SENDS)
    return {stage: percentiles([row[end] - row[begin] for row in rows]) for stage, begin, end in _STAGES}


def _events_table(report: dict[str, Any]) -> Table:
    table = Table(title="Events", title_justify="left")
    table.add_column("what")
    table.add_column("count", justify="right")
    for name in ("received", *STATUSES, "heartbeats", "profiles", "generations"):
        table.add_row(name, f"{report[name]:,}")
    table.add_row("lag_seconds", f"{report['lag_seconds']:.1f}")
    return table


def _latency_table(latencies: dict[str, dict[str, float]]) -> Table:
    table = Table(title="Latency (ms)", title_justify="left")
    table.add_column("stage")
    columns: Sequence[str] = ("p50", "p95", "p99")
    for name in columns:
        table.add_column(name, justify="right")
    for stage, values in latencies.items():
        table.add_row(stage, *(f"{values[name]:,.0f}" if values else "-" for name in columns))
    return table
