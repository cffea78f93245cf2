import asyncio
import base64
import gzip
import json
import logging
import signal
import socket
import subprocess
import sys
import threading
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette

from wakeline.clock import system_clock
from wakeline.collector import body
from wakeline.collector.app import create_app
from wakeline.collector.body import MAX_GZIP_MEMBERS, gunzip
from wakeline.collector.connection import MAX_HEAD_BYTES
from wakeline.collector.envelope import Batch, to_events
from wakeline.collector.images import GIF
from wakeline.collector.refused import RefusedError
from wakeline.collector.server import serve
from wakeline.errors import ConfigError, StreamError, WakelineError
from wakeline.events import Envelope, decode
from wakeline.metrics.settings import MetricsSettings
from wakeline.settings import CollectorSettings, Settings
from wakeline.streams import embedded_file
from wakeline.streams.embedded import EmbeddedStream
from wakeline.streams.protocol import Record, partition_of

WRITE_KEY = "the-write-key"
NOW_MS = 1_700_000_000_000
TRACK = {"type": "track", "event": "Product Viewed", "anonymousId": "ann", "messageId": "m1"}
#: Bytes that TRACK takes while it waits, and less than those of another body.
ROOM_FOR_ONE = 400

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


class Hand:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now_ms = NOW_MS

    def __call__(self) -> int:
        return self.now_ms


class HeldBack:
    """A stream's clock: a commit waits at it until it is released, at the latest when the block ends."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.released = threading.Event()
        self.commits = 0

    def __call__(self) -> int:
        self.commits += 1
        self.reached.set()
        self.released.wait()
        return NOW_MS

    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: object) -> None:
        self.released.set()


class CountingZlib:
    """zlib, which counts what it is given to look at."""

    error = zlib.error

    def __init__(self) -> None:
        self.given_bytes = 0

    def decompressobj(self, wbits: int) -> Any:
        return _CountingUnpacker(self, zlib.decompressobj(wbits=wbits))


class _CountingUnpacker:
    def __init__(self, count: CountingZlib, unpacker: Any) -> None:
        self._count = count
        self._unpacker = unpacker

    def decompress(self, piece: bytes, max_length: int) -> bytes:
        self._count.given_bytes += len(piece)
        found: bytes = self._unpacker.decompress(piece, max_length)
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._unpacker, name)


@dataclass
class Collector:
    """An app over a real stream in a folder, called without a network."""

    folder: Path
    unread: Callable[[], int] = lambda: 0
    stream_clock: Callable[[], int] = system_clock
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        options = {"write_key": WRITE_KEY, **self.options}
        self.settings = Settings(data_dir=self.folder, collector=CollectorSettings(**options))
        self.clock = Hand()
        self.stream = EmbeddedStream(self.folder / "stream.sqlite", "events", 2, self.stream_clock)
        ids = iter(range(1_000_000))
        self.app: Starlette = create_app(
            self.settings, self.stream, self.clock, self.unread, lambda: f"new-{next(ids)}"
        )

    def client(self) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(self.app)
        return httpx.AsyncClient(transport=transport, base_url="http://collector", auth=(WRITE_KEY, ""))

    def call(self, method: str, path: str, **options: Any) -> httpx.Response:
        async def call() -> httpx.Response:
            async with self.client() as client:
                return await client.request(method, path, **options)

        return asyncio.run(call())

    def post(self, path: str, body: object, **options: Any) -> httpx.Response:
        return self.call("POST", path, content=json.dumps(body).encode(), **options)

    def talk(self, conversation: Callable[[httpx.AsyncClient], Awaitable[None]]) -> None:
        async def talk() -> None:
            async with self.client() as client:
                await conversation(client)

        asyncio.run(talk())

    def records(self) -> list[Record]:
        return [record for number in (0, 1) for record in self.stream.read({number: 0}, 10_000, 1 << 40)]

    def envelopes(self) -> list[Envelope]:
        return [decode(record.value) for record in self.records()]

    def messages(self) -> list[Any]:
        return [json.loads(envelope.message) for envelope in self.envelopes()]


MakeCollector = Callable[..., Collector]


@pytest.fixture
def make_collector(tmp_path: Path) -> Iterator[MakeCollector]:
    made: list[Collector] = []

    def make(**options: Any) -> Collector:
        made.append(Collector(tmp_path, **options))
        return made[-1]

    yield make
    for collector in made:
        collector.stream.close()


@pytest.fixture
def collector(make_collector: MakeCollector) -> Collector:
    return make_collector()


def error_of(response: httpx.Response) -> str:
    reason: str = response.json()["error"]
    assert reason.endswith(".")
    return reason


def test_a_batch_is_appended_in_order_with_what_is_known_about_its_arrival(collector: Collector) -> None:
    messages = [{**TRACK, "messageId": f"m{number}"} for number in range(5)]
    response = collector.post("/v1/batch", {"batch": messages, "sentAt": "2026-11-23T10:00:00Z", "writeKey": "x"})
    assert (response.status_code, response.json()) == (200, {"success": True})
    assert [(record.key, record.partition) for record in collector.records()] == [("ann", partition_of("ann", 2))] * 5
    assert collector.messages() == messages
    assert {(seen.received_at_ms, seen.source, seen.sent_at) for seen in collector.envelopes()} == {
        (NOW_MS, "default", "2026-11-23T10:00:00Z")
    }


def test_an_empty_batch_is_a_success(collector: Collector) -> None:
    assert collector.post("/v1/batch", {"batch": []}).status_code == 200
    assert collector.records() == []


@pytest.mark.parametrize("name", ["track", "page", "screen", "identify", "group", "alias"])
def test_a_single_message_gets_its_type_from_the_address(collector: Collector, name: str) -> None:
    body = {"userId": "u1", "messageId": "m1", "sentAt": "2026-11-23T10:00:00Z"}
    assert collector.post(f"/v1/{name}", body).status_code == 200
    assert collector.messages() == [{**body, "type": name}]
    assert collector.envelopes()[0].sent_at == "2026-11-23T10:00:00Z"
    assert collector.records()[0].key == "u1"


def test_a_single_message_keeps_the_type_it_has(collector: Collector) -> None:
    collector.post("/v1/track", {**TRACK, "type": "page"})
    assert collector.messages()[0]["type"] == "page"


def test_each_message_s_own_sent_at_counts_when_the_batch_has_none(collector: Collector) -> None:
    collector.post("/v1/batch", {"batch": [{**TRACK, "sentAt": "2026-11-23T10:00:00Z"}, TRACK]})
    assert [envelope.sent_at for envelope in collector.envelopes()] == ["2026-11-23T10:00:00Z", None]


@pytest.mark.parametrize("sent_at", [None, 5, ["x"], "x" * 65])
def test_a_sent_at_that_is_no_time_is_left_out_of_the_envelope(collector: Collector, sent_at: object) -> None:
    assert collector.post("/v1/batch", {"batch": [TRACK], "sentAt": sent_at}).status_code == 200
    assert collector.envelopes()[0].sent_at is None


@pytest.mark.parametrize("missing", [{}, {"messageId": None}, {"messageId": ""}])
def test_a_message_without_an_id_gets_one(collector: Collector, missing: dict[str, Any]) -> None:
    collector.post("/v1/batch", {"batch": [{"userId": "u1", **missing}, {"event": "No id at all"}]})
    assert {message["messageId"] for message in collector.messages()} == {"new-0", "new-1"}
    assert {record.key for record in collector.records()} == {"u1", "new-1"}


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "application/json"])
def test_json_is_read_whatever_the_content_type(collector: Collector, content_type: str) -> None:
    assert collector.post("/v1/track", TRACK, headers={"Content-Type": content_type}).status_code == 200
    assert collector.messages() == [TRACK]


def test_messages_that_are_wrong_in_themselves_are_kept_for_quarantine(collector: Collector) -> None:
    wrong = [
        1,
        "text",
        None,
        [],
        {"messageId": 7},
        {"messageId": "m", "type": "nonsense"},
        {"messageId": "n", "x": "y" * 300_000},
    ]
    assert collector.post("/v1/batch", {"batch": wrong}).status_code == 200
    assert sorted(map(str, collector.messages())) == sorted(map(str, wrong))


@given(st.lists(json_values, max_size=5))
def test_every_message_is_kept_as_it_came(messages: list[Any]) -> None:
    expected = [
        {**message, "messageId": message.get("messageId") or "new"} if isinstance(message, dict) else message
        for message in messages
    ]
    events = to_events(Batch(json.loads(json.dumps(messages)), None), NOW_MS, "default", lambda: "new")
    assert [json.loads(decode(value).message) for _, value in events] == expected


def test_a_title_cut_within_an_emoji_ends_in_a_question_mark(collector: Collector) -> None:
    body = rb'{"batch": [{"userId": "u\ud83d", "messageId": "m1", "title": "cut \ud83d"}], "sentAt": "\ud83d"}'
    assert collector.call("POST", "/v1/batch", content=body).status_code == 200
    assert collector.messages() == [{"userId": "u?", "messageId": "m1", "title": "cut ?"}]


def test_a_deeply_nested_message_is_kept_and_a_bottomless_body_is_refused(collector: Collector) -> None:
    for depth, status in ((300, 200), (100_000, 400)):
        body = b'{"messageId": "m1", "deep": ' + b"[" * depth + b"]" * depth + b"}"
        assert collector.call("POST", "/v1/track", content=body).status_code == status
    assert len(collector.records()) == 1


@pytest.mark.parametrize(
    ("path", "body", "reason"),
    [
        ("/v1/batch", b"", "not valid JSON"),
        ("/v1/batch", b"\xff\xfe", "not valid JSON"),
        ("/v1/batch", b'{"batch": [', "not valid JSON"),
        ("/v1/batch", b'{"batch": [NaN]}', "not valid JSON"),
        ("/v1/batch", b"[]", "not a JSON object"),
        ("/v1/batch", b"{}", "no list 'batch'"),
        ("/v1/batch", b'{"batch": {}}', "no list 'batch'"),
        ("/v1/track", b"[]", "not a JSON object"),
        ("/v1/track", b'"text"', "not a JSON object"),
    ],
)
def test_a_body_that_cannot_be_taken_apart_is_refused_with_the_reason(
    collector: Collector, path: str, body: bytes, reason: str
) -> None:
    response = collector.call("POST", path, content=body)
    assert response.status_code == 400
    assert reason in error_of(response)
    assert collector.records() == []


def test_a_body_that_is_too_large_is_refused(make_collector: MakeCollector) -> None:
    collector = make_collector(options={"max_batch_bytes": 1_000})
    assert collector.post("/v1/track", {"x": "y" * 1_000}).status_code == 413
    assert collector.post("/v1/track", {"x": "y" * 500}).status_code == 200


def test_gzip_is_unpacked(collector: Collector) -> None:
    parts = gzip.compress(b'{"batch": [' + json.dumps(TRACK).encode()) + gzip.compress(b"]}")
    response = collector.call("POST", "/v1/batch", content=parts, headers={"Content-Encoding": "GZIP"})
    assert response.status_code == 200
    assert collector.messages() == [TRACK]


def test_a_zip_bomb_is_refused_without_being_unpacked() -> None:
    bomb = gzip.compress(b"\0" * 50_000_000)
    tracemalloc.start()
    with pytest.raises(RefusedError, match="larger than 100000 bytes") as caught:
        gunzip(bomb, 100_000)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert caught.value.status == 413
    assert peak_bytes < 1_000_000


def test_a_gzip_body_of_exactly_the_largest_size_is_taken_and_one_byte_more_is_not() -> None:
    assert gunzip(gzip.compress(b"x" * 1_000), 1_000) == b"x" * 1_000
    with pytest.raises(RefusedError):
        gunzip(gzip.compress(b"x" * 1_000) + gzip.compress(b"x"), 1_000)


@pytest.mark.parametrize("empty", [gzip.compress(b"", mtime=0), gzip.compress(b"", 0, mtime=0)])
def test_a_gzip_body_of_many_members_is_refused_before_it_costs_anything(
    collector: Collector, empty: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert gunzip(empty * MAX_GZIP_MEMBERS, 1) == b""
    refused = collector.call(
        "POST", "/v1/batch", content=empty * 20_000, headers={"Content-Encoding": "gzip"}, auth=None
    )
    assert (refused.status_code, error_of(refused)) == (400, "The gzip body has more than 1000 members.")
    # Without the bound, each of the 20,000 must cost the same, however much stands behind it.
    monkeypatch.setattr(body, "MAX_GZIP_MEMBERS", 100_000)
    seen = CountingZlib()
    monkeypatch.setattr(body, "zlib", seen)
    assert gunzip(empty * 20_000, 1) == b""
    assert seen.given_bytes < 20_000 * 20_000


@pytest.mark.parametrize(
    ("encoding", "body", "status"),
    [
        ("gzip", b"not gzip", 400),
        ("gzip", gzip.compress(b'{"batch": []}', mtime=0)[:-9], 400),
        ("br", b"{}", 415),
    ],
)
def test_an_encoding_that_cannot_be_undone_is_refused(
    collector: Collector, encoding: str, body: bytes, status: int
) -> None:
    response = collector.call("POST", "/v1/batch", content=body, headers={"Content-Encoding": encoding})
    assert response.status_code == status
    assert error_of(response)


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "Bearer the-write-key",
        "Basic !!!",
        "Basic \xe9",
        "Basic",
        "Basic " + base64.b64encode(b"another-key:").decode(),
    ],
)
def test_without_the_write_key_nothing_is_taken(
    collector: Collector, authorization: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    headers = {} if authorization is None else {"Authorization": authorization.encode("latin-1")}
    response = collector.post("/v1/track", TRACK, headers=headers, auth=None)
    assert response.status_code == 401
    assert "send the write key as HTTP basic user name" in error_of(response)
    assert response.headers["WWW-Authenticate"].startswith("Basic ")
    assert collector.records() == []
    assert "key" not in caplog.text


def test_a_collector_without_a_write_key_does_not_start(make_collector: MakeCollector) -> None:
    with pytest.raises(ConfigError, match=r"collector\.write_key is empty"):
        make_collector(options={"write_key": ""})


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/v1/batch", 405), ("POST", "/v1/nothing", 404)])
def test_other_addresses_and_methods_are_answered_as_json(
    collector: Collector, method: str, path: str, status: int
) -> None:
    response = collector.call(method, path)
    assert response.status_code == status
    assert error_of(response)


def test_requests_that_arrive_during_an_append_share_the_next(make_collector: MakeCollector) -> None:
    held_back = HeldBack()
    collector = make_collector(stream_clock=held_back)

    async def conversation(client: httpx.AsyncClient) -> None:
        with held_back:
            posts = [asyncio.create_task(client.post("/v1/track", json={**TRACK, "messageId": "first"}))]
            await asyncio.to_thread(held_back.reached.wait)
            posts += [
                asyncio.create_task(client.post("/v1/track", json={**TRACK, "messageId": f"m{n}"})) for n in range(50)
            ]
            for _ in range(1_000):  # Without a network, turns of the loop bring every request to its append.
                await asyncio.sleep(0)
            assert not any(post.done() for post in posts)
            held_back.released.set()
            assert {response.status_code for response in await asyncio.gather(*posts)} == {200}

    collector.talk(conversation)
    assert len(collector.records()) == 51
    assert held_back.commits == 2


def test_when_too_much_waits_for_the_stream_a_request_is_asked_to_come_again(make_collector: MakeCollector) -> None:
    held_back = HeldBack()
    collector = make_collector(stream_clock=held_back, options={"max_pending_bytes": ROOM_FOR_ONE})

    async def conversation(client: httpx.AsyncClient) -> None:
        with held_back:
            first = asyncio.create_task(client.post("/v1/track", json=TRACK))
            await asyncio.to_thread(held_back.reached.wait)
            refused = await client.post("/v1/track", content=b"this is not looked at" * 10)
            assert (refused.status_code, refused.headers["Retry-After"]) == (429, "1")
            assert "wait for the event stream" in error_of(refused)
            held_back.released.set()
            assert (await first).status_code == 200
            assert (await client.post("/v1/track", json=TRACK)).status_code == 200

    collector.talk(conversation)
    assert len(collector.records()) == 2


def test_a_slow_body_is_refused_when_too_much_waits_once_it_is_there(make_collector: MakeCollector) -> None:
    held_back = HeldBack()
    collector = make_collector(stream_clock=held_back, options={"max_pending_bytes": ROOM_FOR_ONE})

    async def conversation(client: httpx.AsyncClient) -> None:
        with held_back:
            posts: list[asyncio.Task[httpx.Response]] = []

            async def slow_body() -> AsyncIterator[bytes]:
                posts.append(asyncio.create_task(client.post("/v1/track", json=TRACK)))
                await asyncio.to_thread(held_back.reached.wait)
                yield json.dumps(TRACK).encode()

            assert (await client.post("/v1/track", content=slow_body())).status_code == 429
            held_back.released.set()
            assert (await posts[0]).status_code == 200

    collector.talk(conversation)
    assert len(collector.records()) == 1


def test_when_too_much_is_unread_requests_are_refused_until_it_is_read(make_collector: MakeCollector) -> None:
    unread = [6]
    collector = make_collector(unread=lambda: unread[0], options={"max_unread_events": 5})

    async def conversation(client: httpx.AsyncClient) -> None:
        while (refused := await client.post("/v1/track", json=TRACK)).status_code == 200:
            pass
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "30")
        assert "wait to be processed" in error_of(refused)
        health = await client.get("/healthz")
        assert health.status_code == 200, "A load balancer must not take it out for that."
        assert health.json() == {"status": "refusing", "refusing": error_of(refused), "unread_events": 6}
        unread[0] = 5
        collector.clock.now_ms += 1_000
        while (await client.post("/v1/track", json=TRACK)).status_code != 200:
            await asyncio.sleep(0)  # A refusal without a network never gives way to the count.

    collector.talk(conversation)


def test_unread_events_are_counted_once_a_second_at_most(make_collector: MakeCollector) -> None:
    looks: list[int] = []
    collector = make_collector(unread=lambda: looks.append(1) or 0)

    async def conversation(client: httpx.AsyncClient) -> None:
        for _ in range(20):
            await client.post("/v1/track", json=TRACK)
            collector.clock.now_ms += 100

    collector.talk(conversation)
    assert 1 <= len(looks) <= 2


@pytest.mark.parametrize("error", [WakelineError("The ledger is locked."), ZeroDivisionError("a bug")])
def test_events_are_taken_while_the_unread_ones_cannot_be_counted(
    make_collector: MakeCollector, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    def unread() -> int:
        raise error

    collector = make_collector(unread=unread)

    async def conversation(client: httpx.AsyncClient) -> None:
        while "cannot be counted" not in caplog.text:
            assert (await client.post("/v1/track", json=TRACK)).status_code == 200

    collector.talk(conversation)
    assert str(error) in caplog.text


def test_when_the_stream_cannot_take_events_nothing_is_acknowledged_and_health_says_why(
    collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    assert collector.call("GET", "/healthz").json() == {"status": "ok"}
    path = collector.folder / "stream.sqlite"
    path.rename(collector.folder / "moved")
    refused = collector.post("/v1/batch", {"batch": [{**TRACK, "secret": "personal"}]})
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
    assert f"The event stream {path} cannot be reached" in error_of(refused)
    health = collector.call("GET", "/healthz")
    assert (health.status_code, health.json()["error"]) == (503, refused.json()["error"])
    assert "1 events could not be appended" in caplog.text
    assert "personal" not in caplog.text
    assert WRITE_KEY not in caplog.text


def test_health_is_good_again_after_an_append_and_after_a_while(collector: Collector) -> None:
    path = collector.folder / "stream.sqlite"
    for recover in (lambda: collector.post("/v1/track", TRACK), lambda: setattr(collector.clock, "now_ms", NOW_MS * 2)):
        path.rename(collector.folder / "moved")
        assert collector.post("/v1/track", TRACK).status_code == 503
        assert collector.call("GET", "/healthz").status_code == 503
        (collector.folder / "moved").rename(path)
        recover()
        assert collector.call("GET", "/healthz").status_code == 200


def test_a_stream_that_is_full_for_now_says_when_to_come_again(
    make_collector: MakeCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded_file, "_PRAGMAS", (*embedded_file._PRAGMAS, "PRAGMA max_page_count = 20"))
    collector = make_collector()
    refused = collector.post("/v1/track", {**TRACK, "x": "y" * 200_000})
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "10")
    assert "its disk is full" in error_of(refused)


def test_a_bug_in_an_append_is_a_500_for_all_who_wait(make_collector: MakeCollector) -> None:
    def broken_clock() -> int:
        raise ZeroDivisionError

    collector = make_collector(stream_clock=broken_clock)
    with pytest.raises(ZeroDivisionError):
        collector.post("/v1/track", TRACK)


def test_pages_of_allowed_origins_may_post_and_others_not(make_collector: MakeCollector) -> None:
    collector = make_collector(options={"allowed_origins": ["https://shop.example.com"]})
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
    for origin, allowed in (("https://shop.example.com", True), ("https://evil.example.com", False)):
        preflight = collector.call("OPTIONS", "/v1/batch", headers={"Origin": origin, **asked})
        assert (preflight.status_code == 200) is allowed
        answer = collector.post("/v1/track", TRACK, headers={"Origin": origin})
        assert (answer.headers.get("Access-Control-Allow-Origin") == origin) is allowed


def test_without_allowed_origins_nothing_is_said_about_them(collector: Collector) -> None:
    answer = collector.post("/v1/track", TRACK, headers={"Origin": "https://shop.example.com"})
    assert not [name for name in answer.headers if name.startswith("access-control")]


SERVER_PROCESS = """
import logging, sys
from pathlib import Path
from wakeline.collector import server
from wakeline.metrics.settings import MetricsSettings
from wakeline.settings import CollectorSettings, Settings

logging.basicConfig(level=logging.INFO)
collector = CollectorSettings(port=0, write_key="the-write-key", max_connections=int(sys.argv[2]))
metrics = MetricsSettings(collector_port=0)
server.serve(Settings(data_dir=Path(sys.argv[1]), collector=collector, metrics=metrics), lambda: 0)
"""


@contextmanager
def server(folder: Path, max_connections: int = 10_000) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A collector's process and its port; it is killed at the end when it still runs."""
    command = [sys.executable, "-c", SERVER_PROCESS, str(folder), str(max_connections)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process, int(log_until(process, "The collector listens on").rstrip(".\n").rpartition(":")[2])
        finally:
            process.kill()


def log_until(process: subprocess.Popen[str], words: str) -> str:
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if words in line:
            return line
    raise AssertionError(f"{words!r} never came up in {lines}")


def stored_ids(folder: Path) -> list[str]:
    stream = EmbeddedStream(folder / "stream.sqlite", "events", 4, system_clock)
    records = [record for number in range(4) for record in stream.read({number: 0}, 1_000_000, 1 << 40)]
    stream.close()
    return [json.loads(decode(record.value).message)["messageId"] for record in records]


def test_after_kill_9_every_acknowledged_event_is_in_the_stream(tmp_path: Path) -> None:
    acknowledged: list[str] = []
    for attempt in range(2):
        enough = len(acknowledged) + 200
        with server(tmp_path) as (process, port), ThreadPoolExecutor(6) as pool:
            posts = [pool.submit(post_until_dead, port, f"{attempt}-{name}", acknowledged) for name in range(6)]
            while len(acknowledged) < enough:
                assert process.poll() is None
                threading.Event().wait(0.001)
            process.send_signal(signal.SIGKILL)
            for post in posts:
                post.result()
    stored = stored_ids(tmp_path)
    assert set(acknowledged) <= set(stored)
    assert len(stored) == len(set(stored))


def post_until_dead(port: int, name: str, acknowledged: list[str]) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", auth=(WRITE_KEY, "")) as client:
        for number in range(1_000_000):
            ids = [f"{name}-{number}-{index}" for index in range(number % 4 + 1)]
            try:
                answer = client.post("/v1/batch", json={"batch": [{"userId": name, "messageId": one} for one in ids]})
            except httpx.TransportError:
                return
            assert answer.status_code == 200
            acknowledged += ids


def test_sigterm_finishes_the_request_in_flight_and_closes_the_stream(tmp_path: Path) -> None:
    body = json.dumps({**TRACK, "messageId": "in flight"}).encode()
    credentials = base64.b64encode(f"{WRITE_KEY}:".encode()).decode()
    head = f"POST /v1/track HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {credentials}\r\nContent-Length: {len(body)}"
    with server(tmp_path) as (process, port), socket.create_connection(("127.0.0.1", port)) as connection:
        log_until(process, "Application startup complete")
        connection.sendall(f"{head}\r\nExpect: 100-continue\r\n\r\n".encode())
        assert connection.recv(1_000).startswith(b"HTTP/1.1 100 ")  # The request has reached the app.
        process.send_signal(signal.SIGTERM)
        log_until(process, "Shutting down")
        connection.sendall(body)
        assert connection.recv(1_000).startswith(b"HTTP/1.1 200 ")
        assert process.wait() == -signal.SIGTERM
    assert not (tmp_path / "stream.sqlite-wal").exists()
    assert stored_ids(tmp_path) == ["in flight"]


def test_the_log_of_the_server_tells_no_personal_data(tmp_path: Path) -> None:
    with server(tmp_path) as (process, port):
        url = f"http://127.0.0.1:{port}"
        assert httpx.post(f"{url}/v1/track", json=TRACK, auth=(WRITE_KEY, "")).status_code == 200
        assert httpx.post(f"{url}/v1/track", json=TRACK, auth=("wrong-key", "")).status_code == 401
        assert httpx.get(f"{url}/v1/pixel.gif?t=some-token").content == GIF
        process.send_signal(signal.SIGTERM)
        assert process.stderr is not None
        log = process.stderr.read()
    assert not [word for word in ("ann", "key", "token", "pixel", "track") if word in log]


ENDLESS_HEADS = {
    "address": b"POST /v1/track?",
    "header": b"POST /v1/track HTTP/1.1\r\nHost: x\r\nUser-Agent: ",
    "trailer": b"POST /v1/track HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX: ",
}


@pytest.mark.parametrize("start", ENDLESS_HEADS.values(), ids=ENDLESS_HEADS)
def test_a_head_without_end_is_refused(tmp_path: Path, start: bytes) -> None:
    with server(tmp_path) as (process, port), socket.create_connection(("127.0.0.1", port)) as connection:
        log_until(process, "Application startup complete")
        connection.sendall(start + b"x" * MAX_HEAD_BYTES)
        assert connection.recv(1_000).startswith(b"HTTP/1.1 431 ")
        assert httpx.post(f"http://127.0.0.1:{port}/v1/track", json=TRACK, auth=(WRITE_KEY, "")).status_code == 200


def test_a_large_body_and_many_requests_of_a_connection_are_no_head_without_end(tmp_path: Path) -> None:
    with (
        server(tmp_path) as (_, port),
        httpx.Client(base_url=f"http://127.0.0.1:{port}", auth=(WRITE_KEY, "")) as client,
    ):
        for _ in range(5):
            assert client.post("/v1/track", json={**TRACK, "x": "y" * 200_000}).status_code == 200
        for _ in range(10):
            assert client.post("/v1/track", json=TRACK, headers={"X": "y" * 30_000}).status_code == 200


def test_more_connections_than_allowed_are_refused(tmp_path: Path) -> None:
    with server(tmp_path, max_connections=3) as (_, port):
        url = f"http://127.0.0.1:{port}/healthz"
        with socket.create_connection(("127.0.0.1", port)), socket.create_connection(("127.0.0.1", port)):
            assert httpx.get(url).status_code == 503


def test_a_port_in_use_is_one_sentence_that_names_the_setting(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = Settings(data_dir=tmp_path, collector=CollectorSettings(port=port, write_key=WRITE_KEY))
        with pytest.raises(WakelineError, match=rf"cannot listen on 127\.0\.0\.1:{port} \([^:]+\); .*collector\.port"):
            serve(settings, lambda: 0)


def test_a_stream_that_cannot_be_opened_stops_the_server_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "stream.sqlite").write_text("something else")
    collector = CollectorSettings(port=0, write_key=WRITE_KEY)
    settings = Settings(data_dir=tmp_path, collector=collector, metrics=MetricsSettings(collector_port=0))
    with pytest.raises(StreamError, match="is not an event stream"):
        serve(settings, lambda: 0)


def test_the_log_warns_of_refused_events_and_of_recovery(
    collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    path = collector.folder / "stream.sqlite"
    path.rename(collector.folder / "moved")
    assert collector.post("/v1/track", TRACK).status_code == 503
    (collector.folder / "moved").rename(path)
    collector.post("/v1/track", TRACK)
    assert "1 events could not be appended" in caplog.text
    assert "Events are appended again." in caplog.text
