"""What the ledgers offer to those who activate a window again, and the queue to the lanes: the same on every engine."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.clocks import DAY_MS, NOW_MS
from support.ledgers import BACKENDS, books
from support.sending import Book, DynamoBook, answered, granted, intended, marketing

from wakeline.activation.claims import Decided, Intended
from wakeline.activation.esp.protocol import Accepted, Rejected, Unknown
from wakeline.activation.gates import Cap
from wakeline.activation.ledger.reading import states_of
from wakeline.engines import Database
from wakeline.errors import LeaseLostError
from wakeline.pipeline.triggers import Occurrence
from wakeline.replay.requests import Part, Request, open_requests

FOUND = Occurrence("order_confirmation", "hash", "user:ann", "order/1", NOW_MS, NOW_MS + 1, {"total": 4.5, "name": "Ö"})
REQUEST = Request("run/1", "0", "run/1", "run", "order_confirmation", [FOUND], [("user:bob", "key")])


@pytest.fixture(params=BACKENDS)
def book(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Book]:
    with books(request.param, request, tmp_path) as opener:
        yield opener()


def database(book: Book) -> Database:
    return book.table if isinstance(book, DynamoBook) else book.engine


def pair(one: Intended) -> tuple[str, str]:
    return one.profile_id, one.key


def said(decided: list[Decided]) -> list[tuple[str, str]]:
    return [(one.state, one.reason) for one in decided]


def test_what_the_gates_would_say_is_foreseen_and_nothing_is_written(book: Book) -> None:
    sends = [
        intended("order/1"),
        intended("order/2", address=""),
        marketing(),
        intended("order/3", expires_at_ms=NOW_MS),
    ]
    assert said(book.ledger.foresee(sends, (), NOW_MS)) == [
        ("claimed", ""), ("skipped", "no_address"), ("skipped", "no_consent"), ("skipped", "expired"),
    ]  # fmt: skip
    assert book.rows() == []
    assert len(book.claim(book.hold(), intended("order/1"))) == 1


def test_what_is_decided_is_foreseen_only_if_it_is_asked_about(book: Book) -> None:
    lease = book.hold()
    [told] = book.claim(lease, intended())
    book.ledger.settle([answered(told.claim, Rejected("no"))])
    assert book.ledger.foresee([intended()], (), NOW_MS) == []
    assert said(book.ledger.foresee([intended()], {intended().key}, NOW_MS)) == [("claimed", "")]


def test_a_cap_that_is_reached_already_is_foreseen(book: Book) -> None:
    lease = book.hold()
    book.say(lease, granted())
    capped = {"cap": Cap(1, DAY_MS)}
    book.claim(lease, marketing("cart/1", **capped))
    assert said(book.ledger.foresee([marketing("cart/2", **capped)], (), NOW_MS)) == [("skipped", "frequency_cap")]


def test_a_failed_send_waits_for_its_gates_again_and_is_sent_under_the_same_key(book: Book) -> None:
    lease = book.hold()
    [told] = book.claim(lease, intended())
    book.ledger.settle([answered(told.claim, Rejected("the sender is not verified"))])
    assert book.ledger.reopen(lease, [pair(intended())], NOW_MS + 1) == 1
    assert book.states() == [("deferred", "reopened")]
    [again] = book.reclaim(lease, NOW_MS + 2)
    assert again.claim is not None
    assert (again.claim.key, again.claim.attempts) == (intended().key, 2)
    book.ledger.settle([answered(again.claim, Accepted("1"))])
    assert book.states() == [("sent", "")]


def test_a_failed_send_that_is_tried_again_counts_against_caps_as_a_new_one(book: Book) -> None:
    lease = book.hold()
    book.say(lease, granted())
    [told] = book.claim(lease, marketing("cart/1"))
    book.ledger.settle([answered(told.claim, Rejected("no"))])
    book.claim(lease, marketing("cart/2"))
    book.ledger.reopen(lease, [pair(marketing("cart/1"))], NOW_MS + 1)
    [again] = book.reclaim(lease, NOW_MS + 2, rules=replace(marketing().rules, cap=Cap(1, DAY_MS)))
    assert (again.state, again.reason) == ("skipped", "frequency_cap")


@pytest.mark.parametrize("outcome", [Accepted("1"), Unknown("gone")])
def test_what_is_out_or_may_be_is_never_reopened(book: Book, outcome: Accepted | Unknown) -> None:
    lease = book.hold()
    [told] = book.claim(lease, intended())
    book.ledger.settle([answered(told.claim, outcome)])
    before = book.rows()
    assert book.ledger.reopen(lease, [pair(intended()), ("user:nobody", "unknown")], NOW_MS + 1) == 0
    assert book.rows() == before


def test_what_was_refused_when_it_was_asked_for_again_may_be_out_and_is_not_reopened(book: Book) -> None:
    lease = book.hold()
    [told] = book.claim(lease, intended())
    book.ledger_with_key.settle([answered(told.claim, Unknown("gone"))])
    [again] = book.reclaim(lease, NOW_MS + DAY_MS // 2, book.ledger_with_key)
    book.ledger_with_key.settle([answered(again.claim, Rejected("no"), NOW_MS + DAY_MS // 2)])
    assert [state for state, _ in book.states()] == ["failed"]
    assert book.ledger.reopen(lease, [pair(intended())], NOW_MS + DAY_MS) == 0


def test_who_has_lost_the_lane_reopens_and_removes_nothing(book: Book) -> None:
    old = book.hold()
    queue = open_requests(database(book))
    queue.add([REQUEST])
    [told] = book.claim(old, intended())
    book.ledger.settle([answered(told.claim, Rejected("no"))])
    book.take_over(old)
    before = book.rows()
    with pytest.raises(LeaseLostError):
        book.ledger.reopen(old, [pair(intended())], NOW_MS)
    with pytest.raises(LeaseLostError):
        queue.remove(old, REQUEST)
    assert (book.rows(), queue.waiting()) == (before, {"0": 1})


def test_the_states_of_sends_are_read_by_key(book: Book) -> None:
    book.claim(book.hold(), intended("order/1"), intended("order/2", address=""))
    asked = [pair(intended(f"order/{number}")) for number in (1, 2, 3)]
    found = states_of(database(book), asked)
    assert {key: (row["state"], row["reason"]) for key, row in found.items()} == {
        intended("order/1").key: ("claimed", ""), intended("order/2").key: ("skipped", "no_address"),
    }  # fmt: skip


def test_a_part_is_taken_in_order_by_its_lane_which_knows_its_campaign(book: Book) -> None:
    queue, lease = open_requests(database(book)), book.hold()
    second = replace(REQUEST, request_id="run/2", position="run/2", lane="1")
    third = replace(REQUEST, request_id="run/3", position="run/3", campaign="new", run_id="other")
    queue.add([third, second, REQUEST])
    assert (queue.waiting(), queue.waiting("run"), queue.waiting("none")) == ({"0": 2, "1": 1}, {"0": 1, "1": 1}, {})
    known = {"order_confirmation"}
    assert queue.next("0", 2, known) == REQUEST
    assert queue.next("1", 2, known) == second
    assert queue.next("0", 2, {"other"}) is None
    queue.remove(lease, REQUEST)
    assert queue.next("0", 2, known) is None
    assert queue.next("0", 2, {*known, "new"}) == third
    # With fewer lanes the first one does what nobody else does.
    assert queue.next("0", 1, known) == second


def test_parts_are_withdrawn_by_run_and_campaign(book: Book) -> None:
    queue, lease = open_requests(database(book)), book.hold()
    second = replace(REQUEST, request_id="run/2", position="run/2", campaign="gone", failed=[])
    third = replace(REQUEST, request_id="other/1", position="other/1", run_id="other")
    queue.add([REQUEST, second, third])
    assert sorted(queue.parts(), key=str) == [
        Part("other", "order_confirmation", 2), Part("run", "gone", 1), Part("run", "order_confirmation", 2),
    ]  # fmt: skip
    assert queue.withdraw("none") == queue.withdraw(campaign="none") == queue.withdraw("other", "gone") == []
    assert queue.withdraw(campaign="gone") == [Part("run", "gone", 1)]
    assert queue.withdraw("run") == [Part("run", "order_confirmation", 2)]
    queue.remove(lease, REQUEST)  # The lane was at it when it was withdrawn.
    assert queue.withdraw() == [Part("other", "order_confirmation", 2)]
    assert (queue.parts(), queue.waiting()) == ([], {})
