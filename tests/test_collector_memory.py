"""What is sent never takes more memory than allowed, however it is made."""

import asyncio
import gzip
import json
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.collecting import WRITE_KEY, Collector

from wakeline.collector import body
from wakeline.collector.envelope import MAX_CONTEXT_GROWTH

MakeCollector = Callable[..., Collector]
TRACK = {"type": "track", "event": "Product Viewed", "anonymousId": "ann", "messageId": "m1"}
PENDING_BYTES = 4_000_000


@pytest.fixture
def make_collector(tmp_path: Path) -> Iterator[MakeCollector]:
    made: list[Collector] = []

    def make(**options: Any) -> Collector:
        made.append(Collector(tmp_path, options=options))
        made[-1].call("GET", "/healthz")  # What is imported at the first request is not counted.
        return made[-1]

    yield make
    for collector in made:
        collector.stream.close()


def peak_bytes(work: Callable[[], object]) -> int:
    """The most memory that was in use at once during the work."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_batchs_context_is_not_multiplied_beyond_measure(make_collector: MakeCollector) -> None:
    collector = make_collector()
    packed = gzip.compress(json.dumps({"context": {"x": "y" * 460_000}, "batch": [{}] * 2_500}).encode())
    assert len(packed) < 1_000

    def attack() -> None:
        answer = collector.call(
            "POST", "/v1/batch", content=packed, headers={"Content-Encoding": "gzip"}, auth=(WRITE_KEY, "")
        )
        assert answer.status_code == 413
        assert "context is too large for its many messages" in answer.json()["error"]

    assert peak_bytes(attack) < 8_000_000
    assert collector.records() == []


def test_a_context_of_usual_size_goes_with_many_messages(make_collector: MakeCollector) -> None:
    collector = make_collector(max_batch_bytes=100_000)
    fits, too_many = (MAX_CONTEXT_GROWTH * 100_000 // 1_100, MAX_CONTEXT_GROWTH * 100_000 // 900)
    context = {"x": "y" * 1_000}
    assert collector.post("/v1/batch", {"context": context, "batch": [{}] * fits}).status_code == 200
    assert collector.post("/v1/batch", {"context": context, "batch": [{}] * too_many}).status_code == 413
    assert len(collector.records()) == fits


def test_a_long_user_agent_is_cut_before_it_is_added_to_every_message(make_collector: MakeCollector) -> None:
    collector = make_collector()
    headers = {"Origin": "https://shop.example.com", "User-Agent": "Mozilla/5.0 " + "\xe9" * 1_000_000}
    encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    assert collector.post("/v1/batch", {"batch": [TRACK] * 100}, headers=encoded).status_code == 200
    assert {len(message["context"]["userAgent"]) for message in collector.messages()} == {1_024}


def test_events_that_could_never_wait_are_refused_for_good(make_collector: MakeCollector) -> None:
    collector = make_collector(max_pending_bytes=100_000)
    refused = collector.post("/v1/batch", {"batch": [1] * 1_000})
    assert (refused.status_code, "send smaller batches" in refused.json()["error"]) == (413, True)
    assert collector.records() == []


def test_bodies_that_are_being_read_take_no_more_memory_than_allowed(make_collector: MakeCollector) -> None:
    collector = make_collector(max_pending_bytes=PENDING_BYTES)
    piece = b" " * 100_000

    async def conversation(client: httpx.AsyncClient) -> None:
        ending = asyncio.Event()
        sent = 0

        async def body() -> AsyncIterator[bytes]:
            nonlocal sent
            for _ in range(4):
                sent += 1
                yield piece
            await ending.wait()
            yield json.dumps(TRACK).encode()

        posts = [asyncio.create_task(client.post("/v1/track", content=body(), auth=(WRITE_KEY, ""))) for _ in range(40)]
        while sent < 40 or sum(post.done() for post in posts) < 30:
            await asyncio.sleep(0)
        ending.set()
        statuses = [answer.status_code for answer in await asyncio.gather(*posts)]
        assert set(statuses) == {200, 429}
        assert statuses.count(200) <= PENDING_BYTES // 400_000
        # Whatever was held has been let go.
        assert (await client.post("/v1/track", json=TRACK, auth=(WRITE_KEY, ""))).status_code == 200

    assert peak_bytes(lambda: collector.talk(conversation)) < 3 * PENDING_BYTES  # All of it would be four times.


def test_a_body_that_never_ends_gives_its_room_back(
    make_collector: MakeCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(body, "MAX_SECONDS", 0.01)
    collector = make_collector(max_pending_bytes=1_000)

    async def conversation(client: httpx.AsyncClient) -> None:
        async def endless() -> AsyncIterator[bytes]:
            yield b" " * 900
            await asyncio.Event().wait()

        refused = await client.post("/v1/track", content=endless(), auth=(WRITE_KEY, ""))
        assert (refused.status_code, refused.headers["Connection"]) == (408, "close")
        assert (await client.post("/v1/track", json=TRACK, auth=(WRITE_KEY, ""))).status_code == 200

    collector.talk(conversation)


def test_nothing_but_the_events_is_kept_while_they_wait(make_collector: MakeCollector) -> None:
    collector = make_collector(max_pending_bytes=PENDING_BYTES)
    # Small texts in many objects: parsed, they take some twenty times their bytes.
    content = json.dumps({"batch": [{**TRACK, "properties": {"x": [{}] * 30_000}}]}).encode()

    async def conversation(client: httpx.AsyncClient) -> None:
        answers = await asyncio.gather(
            *(client.post("/v1/batch", content=content, auth=(WRITE_KEY, "")) for _ in range(60))
        )
        assert {answer.status_code for answer in answers} == {200, 429}

    assert peak_bytes(lambda: collector.talk(conversation)) < 4 * PENDING_BYTES
