"""The collector alone on one core: events a second that are durable when they are answered, and how long answers take.

`python benchmarks/collector.py [--json]`. Each batch size is posted as fast as answers come back, by a fixed number of
connections, from another core. Beside it the stream alone takes the same events on the same core, in appends as large
as the collector makes them when all connections wait: the ratio is what HTTP costs. It asserts no time.
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import orjson
import uvloop
from deployment import FOLDER, await_answer, fresh_settings, remove, take_lock
from load import Connection, Plan, Post, Requests
from machine import machine_facts
from rich.console import Console
from rich.table import Table
from summary import summary

from wakeline.clock import system_clock
from wakeline.collector.envelope import Batch, to_events
from wakeline.settings import CONFIG_VARIABLE, Settings
from wakeline.streams.factory import open_stream

_BATCHES = (1, 20, 100)
_CONNECTIONS = 32
_WARM_UP_SECONDS = 1.0
#: Bodies are made before the clock runs, and posted again with ids of their own only as far as the stream cares: not.
_BODIES = 500


class _ClosedLoop:
    """Posts on every connection as soon as its last answer is there, until `until_ms`."""

    def __init__(self, posts: list[Post], warm_ms: float, until_ms: float) -> None:
        self._posts = posts
        self._warm_ms = warm_ms
        self._until_ms = until_ms
        self._next = 0
        self._open = 0
        self.done = asyncio.Event()
        self.answer_ms: list[float] = []
        self.refused = 0

    async def start(self, host: str, port: int) -> None:
        """Open the connections and let them go."""
        loop = asyncio.get_running_loop()
        opened = [
            (await loop.create_connection(lambda: Connection(self._send, self._answered), host, port))[1]
            for _ in range(_CONNECTIONS)
        ]
        self._open = len(opened)
        for connection in opened:
            self._send(connection)

    def _send(self, connection: Connection) -> None:
        if _now_ms() >= self._until_ms:
            self._open -= 1
            if not self._open:
                self.done.set()
            return
        template = self._posts[self._next % len(self._posts)]
        self._next += 1
        connection.send(Post(self._next, 0, template.request))

    def _answered(self, post: Post, status: int) -> None:
        now_ms = _now_ms()
        self.refused += status != 200
        if self._warm_ms <= now_ms <= self._until_ms:
            self.answer_ms.append(now_ms - post.sent_ms)


def _now_ms() -> float:
    return time.time_ns() / 1e6


@contextmanager
def _collector(settings: Settings, config: Path, core: int) -> Iterator[None]:
    """`wakeline collector` on one core."""
    environment = {**os.environ, CONFIG_VARIABLE: str(config)}
    command = [sys.executable, "-m", "wakeline", "collector"]
    with (FOLDER / "collector.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        os.sched_setaffinity(process.pid, {core})
        await_answer(f"http://{settings.collector.host}:{settings.collector.port}/healthz")
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


async def _measure(settings: Settings, events_per_post: int, seconds: float) -> dict[str, Any]:
    collector = settings.collector
    plan = Plan(
        collector.host, collector.port, collector.write_key, "collector", 1_000, events_per_post, 0, 1, known_people=50
    )
    requests = Requests(plan)
    posts = [requests.post(number) for number in range(_BODIES)]
    began_ms = _now_ms()
    warm_ms = began_ms + _WARM_UP_SECONDS * 1000
    loop = _ClosedLoop(posts, warm_ms, warm_ms + seconds * 1000)
    await loop.start(collector.host, collector.port)
    await loop.done.wait()
    return {
        "events_per_second": round(len(loop.answer_ms) * events_per_post / seconds),
        "posts_per_second": round(len(loop.answer_ms) / seconds),
        "answer_ms": summary(loop.answer_ms),
        "refused": loop.refused,
    }


def _append_alone(folder: Path, events_per_append: int, seconds: float) -> float:
    """Events a second that the stream takes without a collector, each append durable."""
    settings = Settings(data_dir=folder)
    folder.mkdir()
    message = {"type": "track", "event": "Product Viewed", "anonymousId": "a" * 36, "properties": {"name": "x" * 300}}
    numbers = iter(range(1 << 40))
    batches = [
        to_events(
            Batch([{**message, "anonymousId": f"a{n}"} for n in range(events_per_append)], None),
            0,
            "bench",
            lambda: f"message-{next(numbers)}",
        )
        for _ in range(4)
    ]
    stream, appended = open_stream(settings, system_clock), 0
    began = time.perf_counter()
    while time.perf_counter() - began < seconds:
        stream.append(batches[appended % len(batches)])
        appended += 1
    took = time.perf_counter() - began
    stream.close()
    return appended * events_per_append / took


def _measure_all(seconds: float) -> dict[str, Any]:
    with fresh_settings("embedded", lanes=1) as (settings, config, _):
        return _measure_sizes(settings, config, seconds)


def _measure_sizes(settings: Settings, config: Path, seconds: float) -> dict[str, Any]:
    cores = sorted(os.sched_getaffinity(0))
    results: dict[str, Any] = {"machine": machine_facts(FOLDER), "connections": _CONNECTIONS, "batches": []}
    for size in _BATCHES:
        os.sched_setaffinity(0, {cores[0]})
        alone = _append_alone(FOLDER / f"alone-{size}", size * _CONNECTIONS, seconds)
        one_by_one = _append_alone(FOLDER / f"single-{size}", size, seconds)
        os.sched_setaffinity(0, {cores[-1]})
        with _collector(settings, config, cores[0]):
            found = uvloop.run(_measure(settings, size, seconds))
        found |= {
            "events_per_post": size,
            "stream_events_per_second": round(alone),
            "stream_one_by_one_events_per_second": round(one_by_one),
            "of_the_stream": round(found["events_per_second"] / alone, 2),
        }
        results["batches"].append(found)
    return results


def _table(results: dict[str, Any]) -> Table:
    table = Table(title=f"The collector on one core, {results['connections']} connections")
    for name in ("events per POST", "events/s", "POSTs/s", "p50 ms", "p99 ms", "stream alone, grouped", "of it",
                 "stream alone, one POST an append"):  # fmt: skip
        table.add_column(name, justify="right")
    for one in results["batches"]:
        answers = one["answer_ms"]
        table.add_row(
            str(one["events_per_post"]),
            f"{one['events_per_second']:,}",
            f"{one['posts_per_second']:,}",
            str(answers["p50"]),
            str(answers["p99"]),
            f"{one['stream_events_per_second']:,}",
            f"{one['of_the_stream']:.0%}",
            f"{one['stream_one_by_one_events_per_second']:,}",
        )
    return table


@click.command(context_settings={"show_default": True})
@click.option("--seconds", default=8.0, type=click.FloatRange(min=1), help="Measured seconds of each batch size.")
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
def main(seconds: float, as_json: bool) -> None:
    """Measure what the collector takes on one core."""
    lock = take_lock()
    results = _measure_all(seconds)
    remove()
    os.close(lock)
    click.echo(orjson.dumps(results).decode()) if as_json else Console(width=140).print(_table(results))
    sys.exit(1 if any(one["refused"] for one in results["batches"]) else 0)


if __name__ == "__main__":
    main()
