"""Ten thousand bodies that nobody should send: none is answered with a fault, and none costs a valid neighbour."""

import asyncio
import base64
import gzip
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.collecting import WRITE_KEY, Collector

BODIES = 10_000
AT_ONCE = 50
HOSTILE: list[Any] = [
    None,
    7,
    -0.0,
    1e308,
    10**400,
    "text",
    "\ud800",
    "\x00",
    [],
    [[]],
    {},
    {"type": 7},
    {"type": "track"},
    {"type": "track", "event": "\ud83d", "anonymousId": "a"},
    {"type": "track", "event": "E", "userId": {"$ne": None}, "messageId": []},
    {"type": "track", "event": "E", "userId": "u" * 300, "messageId": "m"},
    {"type": "track", "event": "E", "userId": "'; DROP TABLE events; --", "timestamp": "not a time"},
    {"type": "track", "event": "E", "userId": "u", "timestamp": "9999-99-99T99:99:99Z"},
    {"type": "track", "event": "E", "userId": "u", "timestamp": "0001-01-01T00:00:00+23:59"},
    {"type": "track", "event": "E", "userId": "u", "properties": [], "context": "c", "traits": 1},
    {"type": "identify", "userId": 10**30, "traits": {"email": {"a": [1]}}},
    {"type": "page", "anonymousId": "a", "context": {"userAgent": "\ud800" * 50, "ip": "1.2.3.4.5"}},
    {"type": "page", "anonymousId": "a", "context": {"ip": ["::1"], "userAgent": {}}},
    {"__proto__": {"polluted": True}, "constructor": {"prototype": 1}},
]

Body = tuple[bytes, dict[str, str]]


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[Collector]:
    made = Collector(tmp_path)
    yield made
    made.stream.close()


def valid(number: int) -> dict[str, Any]:
    """A message that every batch has and none may lose."""
    return {"type": "track", "event": "Product Viewed", "anonymousId": f"a{number}", "messageId": f"valid-{number}"}


def batch(dice: random.Random, number: int) -> bytes:
    """A batch of hostile messages around a valid one."""
    messages = [dice.choice(HOSTILE) for _ in range(dice.randrange(6))]
    messages.insert(dice.randrange(len(messages) + 1), valid(number))
    return json.dumps({"batch": messages, "sentAt": dice.choice(HOSTILE), "context": dice.choice(HOSTILE)}).encode()


def whole(dice: random.Random, number: int) -> Body:
    return batch(dice, number), {}


def packed(dice: random.Random, number: int) -> Body:
    return gzip.compress(batch(dice, number)), {"Content-Encoding": "gzip"}


def truncated(dice: random.Random, number: int) -> Body:
    body = batch(dice, number)
    return body[: dice.randrange(len(body))], {}


def truncated_gzip(dice: random.Random, number: int) -> Body:
    body, headers = packed(dice, number)
    return body[: dice.randrange(len(body))], headers


def flipped(dice: random.Random, number: int) -> Body:
    body = bytearray(batch(dice, number))
    for _ in range(dice.randrange(1, 8)):
        body[dice.randrange(len(body))] = dice.randrange(256)
    return bytes(body), {}


def flipped_gzip(dice: random.Random, number: int) -> Body:
    body = bytearray(packed(dice, number)[0])
    body[dice.randrange(len(body))] ^= 1 << dice.randrange(8)
    return bytes(body), {"Content-Encoding": "gzip"}


def wrongly_encoded(dice: random.Random, number: int) -> Body:
    encoding = dice.choice(["utf-16", "utf-32", "utf-8-sig", "latin-1", "utf-7"])
    return batch(dice, number).decode().encode(encoding), {"Content-Type": f"application/json; charset={encoding}"}


def mislabelled(dice: random.Random, number: int) -> Body:
    return batch(dice, number), {"Content-Encoding": dice.choice(["gzip", "br", "zstd", "x", "", "gzip, gzip"])}


def deep(dice: random.Random, number: int) -> Body:
    depth = dice.randrange(100, 40_000)
    return b'{"batch":' + b"[" * depth + b"]" * dice.choice([0, depth]) + b"}", {}


def nested(dice: random.Random) -> str:
    """JSON nearly as deep as it is read."""
    depth = dice.randrange(900, 1_025)
    return dice.choice(["[" * depth + "]" * depth, '{"a":' * depth + "7" + "}" * depth])


def deep_neighbour(dice: random.Random, number: int) -> Body:
    at = dice.choice(['"properties":{"x":%s}', '"context":{"ip":%s}', '"traits":%s', '"userId":%s', '"x":%s'])
    deep = f'{{"type":"track","event":"Deep","userId":"u","messageId":"deep-{number}",{at % nested(dice)}}}'
    messages = [deep, json.dumps(valid(number))]
    dice.shuffle(messages)
    return f'{{"batch":[{",".join(messages)}]}}'.encode(), {}


def snowplow(dice: random.Random, number: int) -> Body:
    event = {"e": "pv", "aid": WRITE_KEY, "eid": f"valid-{number}", "uid": "u"}
    deep = f'{{"e":"xx","eid":"deep","{dice.choice(["x", "ip", "aid", "dtm", "ue_pr"])}":{nested(dice)}}}'
    odd = json.dumps(dice.choice(HOSTILE))
    events = [deep, odd, json.dumps(event)]
    dice.shuffle(events)
    return f'{{"data":[{",".join(events)}]}}'.encode(), {}


def noise(dice: random.Random, number: int) -> Body:
    return dice.randbytes(dice.randrange(2_000)), {}


def another_shape(dice: random.Random, number: int) -> Body:
    return json.dumps(dice.choice([*HOSTILE, {"batch": dice.choice(HOSTILE)}])).encode(), {}


def oversized(dice: random.Random, number: int) -> Body:
    bomb = gzip.compress(b'{"batch":["' + b"x" * 600_000 + b'"]}')
    return bomb, {"Content-Encoding": "gzip"}


KINDS: list[Callable[[random.Random, int], Body]] = [
    whole,
    packed,
    truncated,
    truncated_gzip,
    flipped,
    flipped_gzip,
    wrongly_encoded,
    mislabelled,
    deep,
    deep_neighbour,
    snowplow,
    noise,
    another_shape,
    oversized,
]
TP2 = "/com.snowplowanalytics.snowplow/tp2"
#: Of these every batch is well-formed, and so taken whole; here is where they are sent.
TAKEN = {
    "whole": ("/v1/batch", "/v1/import"),
    "packed": ("/v1/batch", "/v1/import"),
    "deep_neighbour": ("/v1/batch", "/beacon/v1/batch"),
    "snowplow": (TP2,),
}
BATCH_PATHS = ("/v1/batch", "/v1/b", "/v1/import", "/beacon/v1/batch")
PATHS = (*BATCH_PATHS, "/v1/track", "/api/s/page", "/v1/identify", TP2, "/i", "/v1/pixel/track")
#: What they are sent to by GET, in the query.
QUERIES = {"/i": "ue_px", "/v1/pixel/track": "data"}


def is_whole(path: str, body: bytes, number: int) -> bool:
    """Whether a batch holds the valid message as it was made, whatever became of the rest."""
    return path in BATCH_PATHS and json.dumps(valid(number)).encode() in body


async def ask(client: httpx.AsyncClient, path: str, body: bytes, headers: dict[str, str]) -> httpx.Response:
    """The answer to a body, which goes into the query where there is no POST."""
    if path not in QUERIES:
        return await client.post(path, content=body, headers=headers, auth=(WRITE_KEY, ""))
    query = {QUERIES[path]: base64.urlsafe_b64encode(body[:30_000]).decode(), "aid": WRITE_KEY, "e": "ue", "eid": "i"}
    return await client.get(path, params=query, headers=headers, auth=(WRITE_KEY, ""))


def test_no_body_is_answered_with_a_fault_or_loses_a_valid_neighbour(collector: Collector) -> None:
    dice = random.Random(20261124)  # noqa: S311 - the same bodies at every run
    seen: Counter[tuple[str, int]] = Counter()
    expected: set[str] = set()

    async def send(client: httpx.AsyncClient, number: int) -> None:
        make = KINDS[number % len(KINDS)]
        body, headers = make(dice, number)
        path = dice.choice(TAKEN.get(make.__name__, PATHS))
        answer = await ask(client, path, body, headers)
        seen[make.__name__, answer.status_code] += 1
        assert answer.status_code in (200, 400, 413, 415), (make.__name__, path, answer.status_code, answer.text)
        assert (b'"error"' in answer.content) is (answer.status_code != 200)
        assert answer.status_code == 200 or make.__name__ not in TAKEN, (make.__name__, path, answer.text)
        if answer.status_code == 200 and (make.__name__ in TAKEN or is_whole(path, body, number)):
            expected.add(f"valid-{number}")

    async def send_all(client: httpx.AsyncClient) -> None:
        for start in range(0, BODIES, AT_ONCE):
            await asyncio.gather(*(send(client, number) for number in range(start, start + AT_ONCE)))

    collector.talk(send_all)
    rows = collector.rows()
    accepted = {row.message_id for row in rows if row.status == "accepted"}
    assert expected <= accepted
    assert all(row.reason for row in rows if row.status == "quarantined")
    assert {status for _, status in seen} == {200, 400, 413, 415}
    assert len(expected) > len(TAKEN) * BODIES // len(KINDS)
    assert sum(seen.values()) == BODIES
