"""What the collector refuses: which line is to blame, or the whole set-up."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from support.clocks import Hand
from support.shipping import Arrivals, combined

from wakeline.errors import WakelineError
from wakeline.play.batching import Batch
from wakeline.play.delivery import Answer
from wakeline.play.pacing import Pacer
from wakeline.shipping import cli
from wakeline.shipping.refusals import MAX_MESSAGE_BYTES, RefusedBatchError, deliver_in_parts
from wakeline.shipping.transport import Carrier

pytestmark = pytest.mark.usefixtures("shipping_workplace")


def ship(*arguments: str) -> Result:
    """The result of the command; anything but an exit is raised."""
    return CliRunner(catch_exceptions=False).invoke(
        cli.ship_log, ["access.log", "--state", "state.json", "--json", *arguments]
    )


def send(*lines: dict[str, Any]) -> Result:
    stdin = "\n".join(map(json.dumps, lines))
    return CliRunner(catch_exceptions=False).invoke(cli.send, ["-", "--json"], input=stdin)


def rejected() -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path("state.json.rejected").read_text(encoding="utf-8").splitlines()]


def caddy(uri: str) -> str:
    told = {"ts": 1_795_509_000, "status": 200, "request": {"method": "GET", "host": "shop.example.com", "uri": uri}}
    return json.dumps(told) + "\n"


def write(*lines: str) -> None:
    Path("access.log").write_text("".join(lines), encoding="utf-8")


def test_a_request_line_that_makes_a_message_too_large_is_rejected_and_the_next_is_sent(arrivals: Arrivals) -> None:
    write(combined("/a"), caddy(f"/{'x' * 150_000}"), combined("/b", second=1))
    told = json.loads(ship().stdout)
    assert (told["lines"], told["sent"], told["rejected"]) == (3, 2, 1)
    (row,) = rejected()
    assert row["line"] == 2
    assert row["reason"].endswith(f"bytes, more than {MAX_MESSAGE_BYTES}")
    assert arrivals.paths() == ["/a", "/b"]


@pytest.mark.parametrize("status", [400, 413])
def test_a_batch_that_is_refused_is_sent_in_parts_until_the_line_to_blame_is_left(
    arrivals: Arrivals, status: int
) -> None:
    write(*(combined(f"/{number}", second=number) for number in range(4)))
    # All four, the first two and the first alone are refused; the empty batch after each is taken.
    arrivals.served.refusals.extend([status, 200, status, 200, status, 200])
    told = json.loads(ship().stdout)
    assert (told["lines"], told["sent"], told["rejected"]) == (4, 3, 1)
    (row,) = rejected()
    assert row["line"] == 1
    assert f"the collector refused it ({status} " in row["reason"]
    assert arrivals.paths() == ["/1", "/2", "/3"]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 415])
def test_when_the_whole_set_up_is_wrong_no_line_is_to_blame(arrivals: Arrivals, status: int) -> None:
    write(combined("/kept"))
    arrivals.served.refusals.extend([status, status])
    with pytest.raises(WakelineError, match=f"refused .*{status}"):
        ship()
    arrivals.served.refusals.clear()
    assert not Path("state.json").exists()
    assert json.loads(ship().stdout)["sent"] == 1
    assert arrivals.paths() == ["/kept"]


@pytest.mark.parametrize("status", [401, 404, 415])
def test_answers_about_the_set_up_never_reject_a_line_though_the_next_attempt_would_succeed(
    arrivals: Arrivals, status: int
) -> None:
    write(combined("/kept"))
    arrivals.served.refusals.append(status)
    with pytest.raises(WakelineError, match=f"refused .*{status}"):
        ship()
    assert not Path("state.json.rejected").exists()


def batch_of(*messages: bytes) -> Batch:
    batch = Batch()
    for message in messages:
        batch.add(message, 0)
    return batch


def test_parts_arrive_in_order_and_name_the_places_of_what_was_refused() -> None:
    arrived: list[bytes] = []
    blamed: list[int] = []

    def deliver(batch: Batch) -> bool:
        if b"bad" in batch.messages:
            raise RefusedBatchError("no")
        arrived.extend(batch.messages)
        return True

    batch = batch_of(b"0", b"1", b"bad", b"3", b"bad", b"5", b"6")
    assert deliver_in_parts(batch, deliver, lambda place, reason: blamed.append(place))
    assert (arrived, blamed) == ([b"0", b"1", b"3", b"5", b"6"], [2, 4])


def test_an_end_that_somebody_wants_ends_the_parts_too() -> None:
    sizes: list[int] = []

    def deliver(batch: Batch) -> bool:
        sizes.append(len(batch))
        if len(batch) == 4:
            raise RefusedBatchError("no")
        return False

    assert not deliver_in_parts(batch_of(b"0", b"1", b"2", b"3"), deliver, lambda place, reason: None)
    assert sizes == [4, 2]


def carrier(post: Callable[[bytes], Answer], give_up_after_seconds: float = 0) -> Carrier:
    hand = Hand()
    return Carrier(post, Pacer(hand, hand.sleep, lambda: False, lambda: None), give_up_after_seconds)


def test_a_collector_that_goes_away_while_the_refusal_is_looked_into_blames_no_line() -> None:
    answers = iter([Answer(400, "400 Bad Request"), Answer(0, "connection refused")])
    with pytest.raises(WakelineError, match="did not take a batch") as raised:
        carrier(lambda body: next(answers)).deliver(batch_of(b"{}"))
    assert not isinstance(raised.value, RefusedBatchError)


def page(**told: Any) -> dict[str, Any]:
    return {"type": "page", "userId": "u", **told}


def test_a_message_on_stdin_that_is_too_large_is_named_and_nothing_is_sent(arrivals: Arrivals) -> None:
    with pytest.raises(WakelineError, match=r"Line 2 is larger than 250,000 bytes \(300,\d+\).*Nothing was sent"):
        send(page(), page(properties={"title": "x" * 300_000}))
    assert arrivals.messages() == []


def test_a_message_on_stdin_that_is_nested_too_deeply_is_named_and_nothing_is_sent(arrivals: Arrivals) -> None:
    deep = json.loads("[" * 300 + "]" * 300)
    with pytest.raises(WakelineError, match="Line 2 cannot be sent as JSON"):
        send(page(), page(properties={"deep": deep}))
    assert arrivals.messages() == []


def test_a_message_on_stdin_that_the_collector_refuses_is_named(arrivals: Arrivals) -> None:
    # Both are refused, then the second alone; the empty batch after each is taken.
    arrivals.served.refusals.extend([400, 200, 200, 400, 200])
    with pytest.raises(WakelineError, match=r"refused line 2 \(400 .*It has 1 of 2 messages, those before this one"):
        send(page(name="first"), page(name="second"))
    assert arrivals.served.refusals == []


def test_the_one_message_of_the_options_is_called_so(arrivals: Arrivals) -> None:
    arrivals.served.refusals.extend([413, 200])
    with pytest.raises(WakelineError, match=r"The collector refused the message \(413 "):
        CliRunner(catch_exceptions=False).invoke(cli.send, ["page", "--user", "u"])
