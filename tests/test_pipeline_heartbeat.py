import threading

import pytest
from support.clocks import NOW_MS, Hand
from support.sending import LANE, Book
from support.stack import await_that

from wakeline.pipeline.heartbeat import MAX_STEP_MS, heartbeat

#: Real time passes between two beats; the shorter the lease, the less of it.
LEASE_MS = 40
SECONDS = 10


def expires_at_ms(book: Book) -> int:
    return book.lanes.state(LANE).expires_at_ms


def test_a_lease_is_renewed_for_as_long_as_the_block_is_at_work_and_no_longer(book: Book, clock: Hand) -> None:
    lease = book.hold()
    with heartbeat(book.lanes, lease, clock, LEASE_MS):
        for later_ms in (NOW_MS + 50_000, NOW_MS + 100_000):
            clock.now_ms = later_ms
            await_that("the lease is renewed", lambda: expires_at_ms(book) == clock() + LEASE_MS, SECONDS)
    assert not beats()


def test_a_block_that_hangs_lets_its_lease_go(book: Book, clock: Hand) -> None:
    lease = book.hold()
    with heartbeat(book.lanes, lease, clock, LEASE_MS):
        clock.now_ms = NOW_MS + MAX_STEP_MS
        await_that("the heartbeat ends", lambda: not beats(), SECONDS)
    assert expires_at_ms(book) < clock()


def test_a_lease_that_was_lost_is_not_taken_back(book: Book, clock: Hand) -> None:
    old = book.hold("run-1")
    new = book.take_over(old, "run-2")
    before = book.lanes.state(LANE)
    with heartbeat(book.lanes, old, clock, LEASE_MS):
        await_that("the heartbeat ends", lambda: not beats(), SECONDS)
    assert book.lanes.state(LANE) == before
    assert before.holder == new.holder


def test_the_heartbeat_ends_with_a_block_that_fails(book: Book, clock: Hand) -> None:
    with pytest.raises(ValueError, match="a bug"), heartbeat(book.lanes, book.hold(), clock, LEASE_MS):
        raise ValueError("a bug")
    assert not beats()


def beats() -> bool:
    return any(thread.name == "heartbeat" for thread in threading.enumerate())
