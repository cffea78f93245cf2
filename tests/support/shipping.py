"""A real collector on a loopback port, and access logs as servers write them."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from wakeline.clock import system_clock
from wakeline.collector.app import create_app
from wakeline.events import decode
from wakeline.settings import CollectorSettings, Settings
from wakeline.streams.embedded import EmbeddedStream
from wakeline.streams.protocol import Record

WRITE_KEY = "the-write-key"
PATIENCE_SECONDS = 30
BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"


@dataclass
class Served:
    """A running collector; the next requests are answered with the statuses in `refusals`, then by the collector."""

    url: str
    stream: EmbeddedStream
    refusals: list[int]

    def records(self) -> list[Record]:
        """Everything in the stream."""
        return [record for number in (0, 1) for record in self.stream.read({number: 0}, 100_000, 1 << 40)]


class Arrivals:
    """What has come to the collector since this object was made."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self._before = {(record.partition, record.offset) for record in served.records()}

    def messages(self) -> list[dict[str, Any]]:
        """The messages by their time, as often as they came."""
        new = [one for one in self.served.records() if (one.partition, one.offset) not in self._before]
        return sorted((json.loads(decode(one.value).message) for one in new), key=lambda one: str(one.get("timestamp")))

    def paths(self) -> list[str]:
        """The paths of the page views by their time."""
        return [message["properties"]["path"] for message in self.messages()]


class _Refusing:
    def __init__(self, app: ASGIApp, refusals: list[int]) -> None:
        self._app = app
        self._refusals = refusals

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not self._refusals:
            await self._app(scope, receive, send)
            return
        status = self._refusals.pop(0)
        await send({"type": "http.response.start", "status": status, "headers": [(b"retry-after", b"0")]})
        await send({"type": "http.response.body", "body": b"{}"})


@contextmanager
def served_collector(folder: Path) -> Iterator[Served]:
    """A collector over a stream in `folder`, stopped at the end."""
    settings = Settings(data_dir=folder, collector=CollectorSettings(write_key=WRITE_KEY))
    stream = EmbeddedStream(folder / "stream.sqlite", "events", 2, system_clock)
    refusals: list[int] = []
    app = _Refusing(create_app(settings, stream, system_clock, lambda: 0), refusals)
    server = uvicorn.Server(uvicorn.Config(app, ws="none", lifespan="on", log_config=None, access_log=False))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield Served(f"http://127.0.0.1:{listener.getsockname()[1]}", stream, refusals)
        finally:
            server.should_exit = True
            thread.join()


def until(happened: Any) -> None:
    """Return as soon as `happened()` is true; fails when it never is."""
    give_up = time.monotonic() + PATIENCE_SECONDS
    while not happened():
        assert time.monotonic() < give_up, "it did not happen"
        time.sleep(0.01)


def combined(path: str, ip: str = "203.0.113.9", second: int = 0, status: int = 200, agent: str = BROWSER) -> str:
    """A line of the combined log format."""
    time_told = f"24/Nov/2026:09:30:{second:02d} +0100"
    return f'{ip} - - [{time_told}] "GET {path} HTTP/1.1" {status} 512 "https://search.example/" "{agent}"\n'
