"""Messages as deep as JSON is read: each is kept, none costs its neighbours, and landing says what is wrong."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from support.collecting import WRITE_KEY, Collector

#: The deepest that orjson reads; the batch and its message around the nest are three of them.
DEEPEST = 1_024
DEPTHS = (100, 254, 255, 900, 1_000, DEEPEST - 5, DEEPEST, 1_500)
TP2 = "/com.snowplowanalytics.snowplow/tp2"
VALID = {"type": "track", "event": "Product Viewed", "anonymousId": "ann", "messageId": "valid"}
VALID_PING = {"e": "pv", "aid": WRITE_KEY, "eid": "valid", "uid": "u1"}


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[Collector]:
    made = Collector(tmp_path)
    yield made
    made.stream.close()


def nest(depth: int, kind: str = "lists") -> str:
    """JSON of so many levels."""
    return "[" * depth + "]" * depth if kind == "lists" else '{"a":' * depth + "7" + "}" * depth


def beside(valid: dict[str, Any], deep: str) -> str:
    """A list of a valid message and a deep one."""
    return f"[{json.dumps(valid)},{deep}]"


def deep_message(path: str, inner: str) -> str:
    """A message that is deep at a path of keys."""
    *outer, last = path.split(".")
    text = f'"{last}":{inner}'
    for name in reversed(outer):
        text = f'"{name}":{{{text}}}'
    return f'{{"type":"track","event":"Deep","anonymousId":"bob","messageId":"deep",{text}}}'


@pytest.mark.parametrize("kind", ["lists", "objects"])
@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize(
    "path", ["properties.x", "context.ip", "context.x", "traits.x", "userId", "messageId", "event"]
)
def test_a_deep_message_is_kept_and_costs_no_neighbour(collector: Collector, path: str, depth: int, kind: str) -> None:
    body = f'{{"batch":{beside(VALID, deep_message(path, nest(depth, kind)))}}}'
    answer = collector.call("POST", "/v1/batch", content=body.encode(), auth=(WRITE_KEY, ""))
    assert answer.status_code == 200, answer.text
    rows = collector.rows()
    assert len(rows) == 2
    assert [row.message_id for row in rows if row.status == "accepted" and row.event == "Product Viewed"] == ["valid"]
    assert all(row.reason for row in rows if row.status == "quarantined")


def test_a_deep_message_is_accepted_as_long_as_landing_can_read_it(collector: Collector) -> None:
    for depth in (DEEPEST - 4, DEEPEST - 2):
        body = f'{{"batch":[{deep_message("properties.x", nest(depth))}]}}'
        assert collector.call("POST", "/v1/batch", content=body.encode(), auth=(WRITE_KEY, "")).status_code == 200
    assert sorted((row.status, row.reason) for row in collector.rows()) == [
        ("accepted", ""),
        ("accepted", ""),
    ]
    body = f'{{"batch":[{deep_message("properties.x", nest(DEEPEST))}]}}'
    assert collector.call("POST", "/v1/batch", content=body.encode(), auth=(WRITE_KEY, "")).status_code == 200
    assert [row.reason for row in collector.rows() if row.status == "quarantined"] == ["the message is not JSON"]


def test_a_deep_message_with_half_an_emoji_is_kept_too(collector: Collector) -> None:
    body = f'{{"batch":[{deep_message("properties.x", nest(1_000))},{{"messageId":"cut","title":"\\ud83d"}}]}}'
    assert collector.call("POST", "/v1/batch", content=body.encode(), auth=(WRITE_KEY, "")).status_code == 200
    assert len(collector.rows()) == 2


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("field", ["ip", "ua", "what", "aid", "dtm", "e"])
def test_a_deep_snowplow_event_costs_no_neighbour(collector: Collector, field: str, depth: int) -> None:
    event = {"e": "xx", "aid": WRITE_KEY, "eid": "deep", "uid": "u1", field: 0}
    deep = json.dumps(event).replace(f'"{field}": 0', f'"{field}": {nest(depth)}')
    answer = collector.call("POST", TP2, content=f'{{"data":{beside(VALID_PING, deep)}}}'.encode())
    assert (answer.status_code, answer.text) == (200, "ok")
    rows = collector.rows()
    assert len(rows) == 2
    assert "valid" in {row.message_id for row in rows if row.status == "accepted"}


@pytest.mark.parametrize("depth", [900, 1_000, DEEPEST - 10])
@pytest.mark.parametrize("inner", ['{{"schema":{}}}', '{{"schema":"iglu:a/b/c/1","data":{}}}', '{{"data":{{"x":{}}}}}'])
def test_a_deep_self_describing_event_costs_no_neighbour(collector: Collector, inner: str, depth: int) -> None:
    described = f'{{"schema":"s","data":{inner.format(nest(depth))}}}'
    deep = json.dumps({"e": "ue", "aid": WRITE_KEY, "eid": "deep", "uid": "u1", "ue_pr": described})
    assert collector.call("POST", TP2, content=f'{{"data":{beside(VALID_PING, deep)}}}'.encode()).status_code == 200
    rows = collector.rows()
    assert len(rows) == 2
    assert "valid" in {row.message_id for row in rows if row.status == "accepted"}


@pytest.mark.parametrize("post", ["/v1/track", "/v1/import", "/beacon/v1/batch"])
def test_a_body_that_is_too_deep_to_be_taken_apart_is_refused(collector: Collector, post: str) -> None:
    body = f'{{"batch":{nest(50_000)}}}'.encode()
    answer = collector.call("POST", post, content=body, auth=(WRITE_KEY, ""))
    assert (answer.status_code, answer.json()["error"]) == (400, "The body is nested too deeply.")


def test_a_deep_message_is_written_as_it_came(collector: Collector) -> None:
    body = deep_message("properties.x", nest(1_000))
    assert collector.call("POST", "/v1/track", content=body.encode(), auth=(WRITE_KEY, "")).status_code == 200
    [envelope] = collector.envelopes()
    written = orjson.loads(envelope.message)
    levels, inner = 0, written["properties"]["x"]
    while inner:
        levels, inner = levels + 1, inner[0]
    assert levels == 999
