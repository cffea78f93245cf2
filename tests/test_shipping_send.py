"""`wakeline send` against a real collector."""

import json
import os
import signal
from typing import Any

import pytest
from click.testing import CliRunner, Result
from support.clocks import NOW_MS
from support.messages import record
from support.shipping import Arrivals

from wakeline.errors import WakelineError
from wakeline.pipeline.classify import classify
from wakeline.shipping import cli
from wakeline.shipping.sending import Told, build_message, event_time_ms, pairs

pytestmark = pytest.mark.usefixtures("shipping_workplace")


def send(*arguments: str, stdin: str | bytes = "") -> Result:
    """The result of the command; anything but an exit is raised."""
    return CliRunner(catch_exceptions=False).invoke(cli.send, arguments, input=stdin)


def test_an_order_arrives_as_it_was_told(arrivals: Arrivals) -> None:
    result = send(
        *("track", "Order Completed", "--user", "42", "--timestamp", "2026-11-24T09:30:00Z", "--message-id", "order-7"),
        *("--property", "total:=9.90", "--property", "coupon=SPRING", "--property", 'products:=[{"product_id": "p1"}]'),
        *("--context", "traits.email=ann@example.com", "--json"),
    )
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {"accepted": 1, "message_ids": ["order-7"]}
    (message,) = arrivals.messages()
    assert message == {
        "type": "track",
        "messageId": "order-7",
        "timestamp": "2026-11-24T09:30:00.000Z",
        "event": "Order Completed",
        "userId": "42",
        "properties": {"total": 9.9, "coupon": "SPRING", "products": [{"product_id": "p1"}]},
        "context": {"library": {"name": "wakeline-send"}, "traits": {"email": "ann@example.com"}},
    }


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["identify", "--trait", "email=a@b.example"], {"traits": {"email": "a@b.example"}}),
        (["page", "Shirts", "--property", "path=/shirts"], {"name": "Shirts", "properties": {"path": "/shirts"}}),
        (["page"], {}),
        (["screen", "Start"], {"name": "Start"}),
        (["group", "--group", "g1", "--trait", "size:=3"], {"groupId": "g1", "traits": {"size": 3}}),
        (["alias", "--previous", "old"], {"previousId": "old"}),
    ],
)
def test_every_type_keeps_the_contract(arrivals: Arrivals, arguments: list[str], expected: dict[str, Any]) -> None:
    assert send(*arguments, "--user", "42").exit_code == 0
    (message,) = arrivals.messages()
    assert {
        name: message[name] for name in message.keys() & {"name", "properties", "traits", "groupId", "previousId"}
    } == expected
    assert message["type"] == arguments[0]
    row = classify(record(message), 262_144)
    assert (row.status, row.user_id) == ("accepted", "42")


def test_messages_on_stdin_are_sent_whole_and_in_batches(arrivals: Arrivals) -> None:
    messages = [{"type": "track", "event": "E", "userId": "u", "n": number} for number in range(250)]
    messages[7]["messageId"] = "seven"
    result = send("-", "--json", stdin="\n".join(json.dumps(message) for message in messages) + "\n\n")
    told = json.loads(result.stdout)
    assert (result.exit_code, told["accepted"]) == (0, 250)
    assert told["message_ids"][7] == "seven"
    arrived = {message["n"]: message["messageId"] for message in arrivals.messages()}
    assert [arrived[number] for number in range(250)] == told["message_ids"]
    assert len(set(told["message_ids"])) == 250


def test_nothing_on_stdin_is_nothing_to_send(arrivals: Arrivals) -> None:
    assert json.loads(send("-", "--json").stdout) == {"accepted": 0, "message_ids": []}
    assert arrivals.messages() == []


def test_busy_answers_are_tried_again_with_the_same_id(arrivals: Arrivals) -> None:
    arrivals.served.refusals.extend([503, 429])
    result = send("page", "--anonymous", "a1")
    assert result.exit_code == 0
    assert "The collector accepted 1 of 1 messages." in result.stdout
    assert len(arrivals.messages()) == 1


def test_an_end_by_ctrl_c_is_told_apart(arrivals: Arrivals, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = "\n".join(json.dumps({"type": "page", "userId": "u"}) for _ in range(150))
    pacer = cli.system_pacer

    def interrupted(stopped: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return pacer(stopped)

    monkeypatch.setattr(cli, "system_pacer", interrupted)
    result = send("-", "--json", stdin=lines)
    assert (result.exit_code, json.loads(result.stdout)) == (130, {"accepted": 0, "message_ids": []})
    assert arrivals.messages() == []


@pytest.mark.parametrize(
    ("arguments", "stdin", "sentence"),
    [
        (["track", "X"], "", "about nobody; give --user or --anonymous"),
        (["track", "--user", "1"], "", "needs the event's name"),
        (["identify", "Ann", "--user", "1"], "", "identify has no name; leave 'Ann' out"),
        (["group", "--user", "1"], "", "needs --group"),
        (["alias", "--user", "1"], "", "needs --previous"),
        (["identify", "--user", "1", "--property", "a=b"], "", "identify has no properties"),
        (["track", "X", "--user", "1", "--trait", "a=b"], "", "track has no traits"),
        (["track", "X", "--user", "1", "--property", "a"], "", "--property 'a' must look like"),
        (["track", "X", "--user", "1", "--property", "a:=nine"], "", "what follows := is not JSON"),
        (["page", "--user", "1", "--timestamp", "noon"], "", "--timestamp 'noon' must look like"),
        (["page", "--user", "1", "--write-key", "wrong"], "", "refused the write key"),
        (["page", "--user", "1", "--url", "http://127.0.0.1:9", "--give-up-after", "0"], "", "did not take a batch"),
        (["page", "--user", "1", "--url", "here"], "", "collector's address 'here'"),
        (["-"], '{"type": "page", "userId": "u"}\n{"type"', "Line 2 is not JSON"),
        (["-"], '{"type": "event"}', "Line 1 is no message: it needs a type"),
        (["-"], "[]", "Line 1 is no message"),
    ],
)
def test_what_cannot_work_is_a_sentence_and_nothing_is_sent(
    arrivals: Arrivals, arguments: list[str], stdin: str, sentence: str
) -> None:
    with pytest.raises(WakelineError, match=sentence):
        send(*arguments, stdin=stdin)
    assert arrivals.messages() == []


def test_options_of_one_message_do_not_go_with_stdin() -> None:
    result = send("-", "--user", "42", "--property", "a=b")
    assert result.exit_code == 2
    assert "leave user, properties out" in result.stderr


def test_values_are_text_or_json_and_dots_go_into_objects() -> None:
    told = ["a=1", "b:=1", "c:=null", "d=x=y", "e=", "f.g:=true", "f.h=2", "i:=[1, 2]"]
    expected = {"a": "1", "b": 1, "c": None, "d": "x=y", "e": "", "f": {"g": True, "h": "2"}, "i": [1, 2]}
    assert pairs(told, "--property") == expected


@pytest.mark.parametrize("pair", ["=x", "a..b=x", ".a=x", ":=1", "plain"])
def test_a_pair_without_a_name_or_value_is_refused(pair: str) -> None:
    with pytest.raises(WakelineError, match=r"--trait .* must look like name=text"):
        pairs([pair], "--trait")


def test_a_value_cannot_hold_another() -> None:
    with pytest.raises(WakelineError, match="'a' has a value already"):
        pairs(["a=1", "a.b=2"], "--trait")


def test_a_time_without_zone_is_utc() -> None:
    times = ["2027-01-15T08:00:00", "2027-01-15T08:00:00Z", "2027-01-15T09:00:00+01:00"]
    assert {event_time_ms(text) for text in times} == {NOW_MS}


def test_what_is_empty_is_left_out() -> None:
    assert build_message(Told("page", user_id="1"), "m1", NOW_MS) == {
        "type": "page",
        "messageId": "m1",
        "timestamp": "2027-01-15T08:00:00.000Z",
        "userId": "1",
        "context": {"library": {"name": "wakeline-send"}},
    }
