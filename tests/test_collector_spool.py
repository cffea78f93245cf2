"""The collector while its broker takes nothing."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from support.spooling import Place

from wakeline.clock import system_clock
from wakeline.collector.app import create_app
from wakeline.settings import CollectorSettings, Settings

WRITE_KEY = "the-write-key"
TRACK = {"type": "track", "event": "Product Viewed", "anonymousId": "ann", "messageId": "m1"}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    place.close_all()


def open_app(place: Place, max_bytes: int) -> Starlette:
    settings = Settings(data_dir=place.folder, collector=CollectorSettings(write_key=WRITE_KEY))
    return create_app(settings, place.open(max_bytes), system_clock, lambda: 0)


def call(app: Starlette, method: str, path: str, **options: Any) -> httpx.Response:
    async def call() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://collector", auth=(WRITE_KEY, "")) as client:
            return await client.request(method, path, **options)

    return asyncio.run(call())


def test_events_are_answered_and_health_is_good_but_says_that_they_wait_and_why(place: Place) -> None:
    collector = open_app(place, 1_000_000)
    assert call(collector, "GET", "/healthz").json() == {"status": "ok"}
    place.go_down()
    assert call(collector, "POST", "/v1/track", json=TRACK).status_code == 200
    health = call(collector, "GET", "/healthz")
    assert health.status_code == 200
    said = health.json()
    assert said.pop("spooled_bytes") > len(str(TRACK))
    assert said == {"status": "ok", "spooled_events": 1, "stream_error": "The broker is away."}


def test_a_full_spool_is_a_503_that_says_when_to_come_again_and_bad_health(place: Place) -> None:
    collector = open_app(place, 10)
    place.go_down()
    refused = call(collector, "POST", "/v1/track", json=TRACK)
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "10")
    assert "stream.spool.max_bytes are waiting" in refused.json()["error"]
    assert call(collector, "GET", "/healthz").status_code == 503
