from collections.abc import Callable

import pytest
from support.clocks import NOW_MS
from support.sending import LANE, LEASE_MS, Book, granted, intended

from wakeline.errors import LeaseLostError
from wakeline.pipeline.lanes import LaneState, LaneStore, Lease

RANGES = {0: (0, 5), 3: (7, 9)}

Write = Callable[[Book, Lease], object]

#: Everything a holder may write.
WRITES: dict[str, Write] = {
    "begin": lambda book, lease: book.lanes.begin(lease, RANGES, NOW_MS, LEASE_MS),
    "commit": lambda book, lease: book.lanes.commit(lease, RANGES, NOW_MS, NOW_MS + LEASE_MS),
    "renew": lambda book, lease: book.lanes.renew(lease, NOW_MS, LEASE_MS),
    "correct offsets": lambda book, lease: book.lanes.correct_offsets(lease, {0: 99}),
    "claim": lambda book, lease: book.claim(lease, intended()),
    "reclaim": lambda book, lease: book.ledger.reclaim_due(lease, NOW_MS, limit=10),
    "record": lambda book, lease: book.say(lease, granted()),
    "settle orphans": lambda book, lease: book.ledger.settle_orphans(lease, False, NOW_MS),
}


def snapshot(book: Book) -> tuple[object, ...]:
    return book.lanes.state(LANE), book.lanes.intent(LANE), book.lanes.committed(), book.rows()


def test_a_lane_that_nobody_ever_held_is_free(book: Book) -> None:
    assert book.lanes.state(LANE) == LaneState("", 0, 0, 0, "", 0, 0)
    assert book.lanes.intent(LANE) == {}
    assert book.lanes.committed() == {}


def test_a_lane_is_held_by_one_run_until_its_lease_expires(book: Book) -> None:
    lease = book.hold("run-1")
    assert book.lanes.acquire(LANE, "run-2", NOW_MS + LEASE_MS - 1, LEASE_MS) is None
    assert book.lanes.state(LANE).holder == "run-1"
    successor = book.lanes.acquire(LANE, "run-2", NOW_MS + LEASE_MS, LEASE_MS)
    assert successor == Lease(LANE, "run-2", lease.fencing_token + 1)


def test_a_lane_is_not_given_a_second_time_even_to_its_own_holder(book: Book) -> None:
    book.hold("run-1")
    assert book.lanes.acquire(LANE, "run-1", NOW_MS, LEASE_MS) is None


def test_a_released_lane_is_free_at_once(book: Book) -> None:
    first = book.hold("run-1")
    book.lanes.release(first)
    assert book.hold("run-2").fencing_token == first.fencing_token + 1


def test_a_renewed_lease_lasts_longer(book: Book) -> None:
    lease = book.hold("run-1")
    book.lanes.renew(lease, NOW_MS + LEASE_MS - 1, LEASE_MS)
    assert book.lanes.acquire(LANE, "run-2", NOW_MS + LEASE_MS, LEASE_MS) is None


def test_lanes_are_held_one_by_one(book: Book) -> None:
    book.hold("run-1")
    assert book.lanes.acquire("1", "run-2", NOW_MS, LEASE_MS) is not None


@pytest.mark.parametrize("name", WRITES)
def test_a_holder_whose_lane_was_taken_over_writes_nothing_more(book: Book, name: str) -> None:
    old = book.hold("run-1")
    retried = book.claim(old, intended("order/0"))
    book.take_over(old, "run-2")
    book.ledger.settle_orphans(Lease(LANE, "run-2", old.fencing_token + 1), True, NOW_MS)
    before = snapshot(book)
    with pytest.raises(LeaseLostError, match="Run run-1 no longer holds lane 0"):
        WRITES[name](book, old)
    assert snapshot(book) == before
    assert retried


@pytest.mark.parametrize("name", WRITES)
def test_a_holder_whose_lease_has_expired_goes_on_while_nobody_wants_the_lane(book: Book, name: str) -> None:
    lease = book.lanes.acquire(LANE, "run-1", NOW_MS - 2 * LEASE_MS, LEASE_MS)
    assert lease is not None
    WRITES[name](book, lease)


def test_a_release_by_a_holder_that_was_taken_over_does_not_free_the_lane(book: Book) -> None:
    old = book.hold("run-1")
    new = book.take_over(old, "run-2")
    book.lanes.release(old)
    assert book.lanes.state(LANE).holder == new.holder


def test_the_token_counts_on_when_the_same_run_takes_the_lane_again(book: Book) -> None:
    old = book.hold("run-1")
    book.take_over(old, "run-1")
    with pytest.raises(LeaseLostError):
        book.lanes.begin(old, RANGES, NOW_MS, LEASE_MS)


def test_who_waits_is_seen_until_the_lane_changes_hands(book: Book) -> None:
    lease = book.hold("run-1")
    book.lanes.wait_as_successor(LANE, "run-2", NOW_MS + 5)
    state = book.lanes.state(LANE)
    assert (state.holder, state.successor, state.successor_seen_ms) == ("run-1", "run-2", NOW_MS + 5)
    book.take_over(lease, "run-2")
    state = book.lanes.state(LANE)
    assert (state.holder, state.successor, state.successor_seen_ms) == ("run-2", "", 0)


def test_a_begun_batch_survives_its_holder(book: Book) -> None:
    lease = book.hold("run-1")
    book.lanes.begin(lease, RANGES, NOW_MS, LEASE_MS)
    book.take_over(lease, "run-2")
    assert book.lanes.intent(LANE) == RANGES
    assert book.lanes.committed() == {}


def test_beginning_and_committing_extend_the_lease(book: Book) -> None:
    lease = book.hold("run-1")
    book.lanes.begin(lease, RANGES, NOW_MS + 1_000, LEASE_MS)
    assert book.lanes.state(LANE).expires_at_ms == NOW_MS + 1_000 + LEASE_MS
    book.lanes.commit(lease, RANGES, NOW_MS, NOW_MS + 2_000 + LEASE_MS)
    assert book.lanes.state(LANE).expires_at_ms == NOW_MS + 2_000 + LEASE_MS


def test_a_commit_moves_offsets_and_watermark_and_ends_the_batch(book: Book) -> None:
    lease = book.hold("run-1")
    book.lanes.begin(lease, RANGES, NOW_MS, LEASE_MS)
    book.lanes.commit(lease, RANGES, NOW_MS + 7, NOW_MS + LEASE_MS)
    assert book.lanes.intent(LANE) == {}
    assert book.lanes.committed() == {0: 5, 3: 9}
    assert book.lanes.state(LANE).evaluated_until_ms == NOW_MS + 7


def test_a_commit_of_some_partitions_leaves_the_others_where_they_are(book: Book) -> None:
    lease = book.hold("run-1")
    book.lanes.commit(lease, RANGES, NOW_MS, NOW_MS + LEASE_MS)
    book.lanes.commit(lease, {3: (9, 12)}, NOW_MS, NOW_MS + LEASE_MS)
    assert book.lanes.committed() == {0: 5, 3: 12}


def test_offsets_belong_to_the_stream(book: Book) -> None:
    book.lanes.commit(book.hold("run-1"), RANGES, NOW_MS, NOW_MS + LEASE_MS)
    assert LaneStore(book.engine, "another").committed() == {}


def test_offsets_are_corrected_to_what_the_warehouse_holds_even_backwards(book: Book) -> None:
    lease = book.hold("run-1")
    book.lanes.commit(lease, RANGES, NOW_MS, NOW_MS + LEASE_MS)
    book.lanes.correct_offsets(lease, {0: 3, 1: 4})
    assert book.lanes.committed() == {0: 3, 1: 4, 3: 9}
