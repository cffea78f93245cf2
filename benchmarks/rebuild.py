"""Rebuilding all profiles from landing: events a second, beside the same rows copied into one plain table.

`python benchmarks/rebuild.py` prints the table and writes results/rebuild.md and results/rebuild.json. A fresh
warehouse is filled with a simulated shop whose journeys are repeated for ever new people, by a plain insert into
landing. Then the same rows are read into a table of the same columns by INSERT SELECT: what ClickHouse takes to read
and write them once. The ratio is what eleven tables with their aggregate states cost more. It asserts no time: the exit
code is 1 only when the rebuilt tables have other rows than before.
"""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import orjson
from clickhouse_connect.driver.client import Client
from deployment import FOLDER, fresh_settings, remove, take_lock
from machine import machine_facts
from render import table

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from support.messages import record
from support.shop import shopping
from support.warehouse import WarehouseProcess, no_warnings

from wakeline.clock import system_clock
from wakeline.engines import open_database
from wakeline.errors import WakelineError
from wakeline.pipeline.classify import classify
from wakeline.pipeline.factory import lane_store
from wakeline.replay.factory import deployed_chain, open_rebuild
from wakeline.replay.rebuild import Order, RebuildResult
from wakeline.settings import Settings
from wakeline.warehouse.client import connect
from wakeline.warehouse.deploy import deploy
from wakeline.warehouse.landing import Landing
from wakeline.warehouse.shadow import FILL_SETTINGS

_RESULTS = Path(__file__).parent / "results"
_MAX_EVENT_BYTES = 262_144
_PEOPLE = 300
_MINUTES = 60
_DAY_MS = 86_400_000
#: Copies are other people: their ids, messages and offsets are other ones, their journeys are the same.
_DOUBLE = """
    INSERT INTO landing SELECT * REPLACE (
        offset + {rows:UInt64} AS offset,
        concat(message_id, '-', {copy:String}) AS message_id,
        concat(id, '-', {copy:String}) AS id,
        if(user_id = '', '', concat(user_id, '-', {copy:String})) AS user_id,
        if(anonymous_id = '', '', concat(anonymous_id, '-', {copy:String})) AS anonymous_id
    ) FROM landing
"""


@dataclass(frozen=True, slots=True)
class Result:
    """Seconds of a rebuild in all and of its reading alone, of the plain copy, and what was read."""

    events: int
    ids: int
    bytes_per_event: float
    rebuild_seconds: float
    read_seconds: float
    standstill_ms: int
    plain_seconds: float
    free_gb: float

    @property
    def events_per_second(self) -> float:
        return self.events / self.read_seconds

    @property
    def plain_events_per_second(self) -> float:
        return self.events / self.plain_seconds


@click.command()
@click.option(
    "--events",
    type=click.IntRange(min=1),
    default=5_000_000,
    show_default=True,
    help="Events in landing, at least.",
)
def main(events: int) -> None:
    """Measure, print and write down."""
    lock = take_lock()
    with _warehouse() as (settings, client):
        _fill(settings, client, events)
        result = measured(settings, client)
        facts = machine_facts(FOLDER)
    remove()
    os.close(lock)
    text = rebuild_table(result)
    _RESULTS.mkdir(exist_ok=True)
    (_RESULTS / "rebuild.md").write_text(f"{text}\n", encoding="utf-8")
    (_RESULTS / "rebuild.json").write_bytes(orjson.dumps({**facts, "result": asdict(result)}))
    click.echo(text)


@contextmanager
def _warehouse() -> Iterator[tuple[Settings, Client]]:
    with fresh_settings("embedded", 1):
        process = WarehouseProcess(FOLDER / "site")
        try:
            process.start()
            with no_warnings():
                deploy(process.settings, lambda _: None)
            client = connect(process.settings.warehouse)
            yield process.settings, client
            client.close()
        finally:
            process.kill()


def _fill(settings: Settings, client: Client, events: int) -> None:
    """The profiles are filled by it as well, through the views."""
    now_ms = system_clock()
    messages = shopping(1, _PEOPLE, _MINUTES, now_ms - _DAY_MS)
    rows = [classify(record(message, 0, offset, now_ms), _MAX_EVENT_BYTES) for offset, message in enumerate(messages)]
    Landing(client, settings.stream.name).insert(rows, {0: (0, len(rows))})
    count = len(rows)
    while count < events:
        client.command(_DOUBLE, {"rows": count, "copy": str(count)}, settings=FILL_SETTINGS)
        count *= 2
        click.echo(f"{count} events", err=True)
    _commit(settings, count)


def _commit(settings: Settings, end: int) -> None:
    """As a lane does that has ingested them all."""
    database = open_database(settings)
    lanes = lane_store(settings, database)
    lease = lanes.acquire("0", "benchmark", system_clock(), 10_000)
    if lease is None:
        raise WakelineError("The lane of a fresh deployment is taken.")
    lanes.correct_offsets(lease, {0: end})
    lanes.release(lease)
    database.dispose()


def measured(settings: Settings, client: Client) -> Result:
    """Rebuild everything, and copy landing beside it."""
    plain_seconds = _plain_seconds(client)
    rebuilt = _rebuilt(settings)
    _require_same(rebuilt)
    [[events, ids]] = client.query("SELECT sum(event_count), uniqExact(id) FROM person_states").result_rows
    [[size]] = client.query("SELECT avg(length(message)) FROM landing").result_rows
    return Result(
        events=events,
        ids=ids,
        bytes_per_event=size,
        rebuild_seconds=rebuilt.took_ms / 1000,
        read_seconds=rebuilt.read_ms / 1000,
        standstill_ms=rebuilt.standstill_ms,
        plain_seconds=plain_seconds,
        free_gb=(rebuilt.free_bytes or 0) / 1e9,
    )


def _rebuilt(settings: Settings) -> RebuildResult:
    def progress(done: int, total: int) -> None:
        click.echo(f"\r{done} of {total} rows", nl=False, err=True)

    with no_warnings(), open_rebuild(settings, "benchmark", system_clock, _say, progress) as opened:
        return opened.run(deployed_chain(settings, []), Order(execute=True))


def _say(line: str) -> None:
    click.echo(line, err=True)


def _require_same(result: RebuildResult) -> None:
    # Rows of aggregate states are as many as parts were merged; these two tables are not merged.
    for name in ("events", "wakeups"):
        if result.rows_before[name] != result.rows_after[name]:
            raise WakelineError(f"{name} had {result.rows_before[name]} rows and has {result.rows_after[name]}.")


def _plain_seconds(client: Client) -> float:
    client.command("CREATE TABLE plain AS landing")
    began = time.monotonic()
    client.command("INSERT INTO plain SELECT * FROM landing", settings=FILL_SETTINGS)
    took = time.monotonic() - began
    client.command("DROP TABLE plain SYNC")
    return took


def rebuild_table(result: Result) -> str:
    """The figures as they stand in docs/performance.md."""
    rows = [
        ("landing read into all eleven tables", result.read_seconds, result.events_per_second),
        ("landing copied into a plain table", result.plain_seconds, result.plain_events_per_second),
    ]
    shown = [(name, f"{seconds:.1f}", f"{rate:,.0f}") for name, seconds, rate in rows]
    ratio = ("ratio", f"{result.read_seconds / result.plain_seconds:.1f}", "")
    return table(("", "seconds", "events/s"), [*shown, ratio])


if __name__ == "__main__":
    main()
