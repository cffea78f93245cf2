"""A collector over a real stream in a folder, called without a network."""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
from starlette.applications import Starlette

from support.clocks import Hand
from wakeline.clock import system_clock
from wakeline.collector.app import create_app
from wakeline.events import Envelope, decode
from wakeline.metrics.collector import CollectorMetrics
from wakeline.pipeline.classify import LandingRow, classify
from wakeline.settings import CollectorSettings, Settings
from wakeline.streams.embedded import EmbeddedStream
from wakeline.streams.protocol import Record

WRITE_KEY = "the-write-key"
T = TypeVar("T")


@dataclass
class Collector:
    """An app with settings of its own: `options` are the collector's, `sections` the other tables."""

    folder: Path
    options: dict[str, Any] = field(default_factory=dict)
    sections: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        collector = CollectorSettings(**{"write_key": WRITE_KEY, **self.options})
        self.settings = Settings(data_dir=self.folder, collector=collector, **self.sections)
        self.clock = Hand()
        self.stream = EmbeddedStream(self.folder / "stream.sqlite", "events", 2, system_clock)
        ids = iter(range(1_000_000))
        self.metrics = CollectorMetrics()
        self.app: Starlette = create_app(
            self.settings, self.stream, self.clock, lambda: 0, lambda: f"new-{next(ids)}", metrics=self.metrics
        )

    def call(self, method: str, path: str, **options: Any) -> httpx.Response:
        """The answer to one request; without `auth` it carries no write key."""

        async def call(client: httpx.AsyncClient) -> httpx.Response:
            return await client.request(method, path, **options)

        return self.talk(call)

    def post(self, path: str, body: object, **options: Any) -> httpx.Response:
        """The answer to a JSON body that carries the write key in the header unless `auth` says otherwise."""
        return self.call("POST", path, content=json.dumps(body).encode(), **{"auth": (WRITE_KEY, ""), **options})

    def talk(self, conversation: Callable[[httpx.AsyncClient], Awaitable[T]]) -> T:
        """What a conversation over one client comes to."""

        async def talk() -> T:
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://collector") as client:
                return await conversation(client)

        return asyncio.run(talk())

    def records(self) -> list[Record]:
        """Everything in the stream."""
        return [record for number in (0, 1) for record in self.stream.read({number: 0}, 100_000, 1 << 40)]

    def envelopes(self) -> list[Envelope]:
        """Everything in the stream, taken out of its bytes."""
        return [decode(record.value) for record in self.records()]

    def messages(self) -> list[Any]:
        """The messages in the stream."""
        return [json.loads(envelope.message) for envelope in self.envelopes()]

    def rows(self) -> list[LandingRow]:
        """What landing makes of the stream."""
        return [classify(record, self.settings.collector.max_event_bytes) for record in self.records()]


def captured(name: str) -> list[dict[str, Any]]:
    """The requests that a public SDK was seen to send; the test is skipped where they are not at hand."""
    shared = os.environ.get("WAKELINE_SHARED", Path(__file__).parents[3] / "shared")
    file = Path(shared, "captures", f"{name}.json")
    if not file.exists():
        pytest.skip(f"there is no {file}; set WAKELINE_SHARED to the folder of the SDK captures")
    found: list[dict[str, Any]] = json.loads(file.read_bytes())
    return found
