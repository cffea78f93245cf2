from pathlib import Path
from typing import Any

import orjson
import pytest

from wakeline.errors import WakelineError
from wakeline.play import otto
from wakeline.play.message import TimedMessage
from wakeline.play.source import SourceFile

MINUTE_MS = 60_000


def event(aid: int, ts: int, kind: str) -> dict[str, Any]:
    return {"aid": aid, "ts": ts, "type": kind}


def play(tmp_path: Path, *sessions: dict[str, Any]) -> list[TimedMessage]:
    path = tmp_path / "otto.jsonl"
    path.write_bytes(b"".join(orjson.dumps(session) + b"\n" for session in sessions))
    with SourceFile(path) as source:
        return list(otto.read(source))


def test_a_session_is_a_person_who_is_introduced_first(tmp_path: Path) -> None:
    messages = play(tmp_path, {"session": 7, "events": [event(11, 1000, "clicks")]})
    introduction, view = (timed.message for timed in messages)
    assert introduction["type"] == "identify"
    assert introduction["traits"] == {"email": "otto-7@example.com"}
    assert introduction["context"]["consent"] == {"categoryPreferences": {"marketing": True}}
    assert view["anonymousId"] == view["userId"] == "otto-7"
    assert view["event"] == "Product Viewed"
    assert view["properties"]["product_id"] == "11"
    assert view["properties"]["name"] == "Article 11"
    assert "category" not in view["properties"]


def test_order_lines_of_one_moment_are_one_order(tmp_path: Path) -> None:
    events = [
        event(1, 1000, "carts"),
        event(1, 2000, "orders"),
        event(2, 2000, "orders"),
        event(3, 3000, "orders"),
        event(4, 3000, "clicks"),
    ]
    messages = play(tmp_path, {"session": 0, "events": events})
    assert [timed.message.get("event") for timed in messages] == [
        None,
        "Product Added",
        "Order Completed",
        "Order Completed",
        "Product Viewed",
    ]
    order = messages[2].message["properties"]
    assert order["order_id"] == "otto-0-2000"
    assert [product["product_id"] for product in order["products"]] == ["1", "2"]


def test_half_an_hour_of_silence_starts_a_session(tmp_path: Path) -> None:
    times = (0, 30 * MINUTE_MS, 61 * MINUTE_MS)
    messages = play(tmp_path, {"session": 0, "events": [event(1, at_ms, "clicks") for at_ms in times]})
    sessions = [timed.message["context"]["sessionId"] for timed in messages]
    assert sessions[0] == sessions[1] == sessions[2] != sessions[3]


def test_sessions_are_interleaved_in_time_order(tmp_path: Path) -> None:
    messages = play(
        tmp_path,
        {"session": 1, "events": [event(1, 1000, "clicks"), event(1, 5000, "clicks")]},
        {"session": 2, "events": [event(2, 2000, "clicks"), event(2, 3000, "clicks")]},
    )
    views = [(timed.at_ms, timed.message["userId"]) for timed in messages if timed.message["type"] == "track"]
    assert views == [(1000, "otto-1"), (2000, "otto-2"), (3000, "otto-2"), (5000, "otto-1")]


def test_two_same_clicks_at_one_moment_stay_two_messages(tmp_path: Path) -> None:
    messages = play(tmp_path, {"session": 0, "events": [event(1, 1000, "clicks"), event(1, 1000, "clicks")]})
    assert len({timed.message["messageId"] for timed in messages}) == 3


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (b"{", "line 1: not a session"),
        (b"[1]", "line 1: not a session"),
        (b'{"session": 1, "events": []}', "line 1: not a session of OTTO data .it has no events"),
        (b'{"session": 1}', "line 1: the key 'events' is missing"),
        (b'{"session":1,"events":[{"aid":1,"ts":1,"type":"wishes"}]}', "line 1: .*unknown event type 'wishes'"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: bytes, sentence: str) -> None:
    path = tmp_path / "otto.jsonl"
    path.write_bytes(line)
    with SourceFile(path) as source, pytest.raises(WakelineError, match=sentence):
        list(otto.read(source))


def test_sessions_out_of_order_are_refused(tmp_path: Path) -> None:
    early, late = (
        {"session": 1, "events": [event(1, 1000, "clicks")]},
        {"session": 2, "events": [event(1, 2000, "clicks")]},
    )
    with pytest.raises(WakelineError, match="line 2: earlier than the line before"):
        play(tmp_path, late, early)
