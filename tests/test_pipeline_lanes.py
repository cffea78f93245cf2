from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from support.clocks import NOW_MS
from support.ledgers import BACKENDS, SQL_BACKENDS, OpenBook, books
from support.sending import LANE, LEASE_MS, Book, granted, intended

from wakeline.activation.deliverability import DeliveryReport
from wakeline.database import lanes
from wakeline.errors import ConfigError, LeaseLostError, StreamError
from wakeline.pipeline.lanes import ARCHIVE, LanePause, LaneState, LaneStore, Lease

RANGES = {0: (0, 5), 3: (7, 9)}

DRAIN = LanePause(LANE, "ann", "an upgrade", NOW_MS, NOW_MS)
DELIVERED = DeliveryReport(intended().key, "Email Delivered", "webhook-1", NOW_MS)

Write = Callable[[Book, Lease], object]

#: Everything a holder may write.
WRITES: dict[str, Write] = {
    "begin": lambda book, lease: book.lanes.begin(lease, RANGES, NOW_MS, LEASE_MS),
    "commit": lambda book, lease: book.lanes.commit(lease, RANGES, NOW_MS, NOW_MS + LEASE_MS),
    "renew": lambda book, lease: book.lanes.renew(lease, NOW_MS, LEASE_MS),
    "note read": lambda book, lease: book.lanes.note_read(lease, NOW_MS),
    "end drain": lambda book, lease: book.lanes.end_drain(lease, DRAIN),
    "redo": lambda book, lease: book.lanes.to_redo(lease),
    "begin at": lambda book, lease: book.lanes.begin_at(lease, {0: 99}),
    "correct offsets": lambda book, lease: book.lanes.correct_offsets(lease, {0: 99}),
    "claim": lambda book, lease: book.claim(lease, intended()),
    "reclaim": lambda book, lease: book.reclaim(lease, NOW_MS),
    "confirm": lambda book, lease: book.ledger.confirm(lease, [DELIVERED], NOW_MS),
    "record": lambda book, lease: book.say(lease, granted()),
    "settle orphans": lambda book, lease: book.ledger.settle_orphans(lease, NOW_MS),
}


@pytest.fixture(params=BACKENDS)
def open_book(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OpenBook]:
    with books(request.param, request, tmp_path) as opener:
        yield opener


@pytest.fixture
def book(open_book: OpenBook) -> Book:
    return open_book()


def snapshot(book: Book) -> tuple[object, ...]:
    return book.lanes.state(LANE), book.begun(), book.lanes.committed(), book.rows()


def test_a_lane_that_nobody_ever_held_is_free(book: Book) -> None:
    assert book.lanes.state(LANE) == LaneState("", 0, 0, 0, "", 0, 0)
    assert book.begun() == {}
    assert book.lanes.committed() == {}


def test_a_lane_is_held_by_one_run_until_its_lease_expires(book: Book) -> None:
    lease = book.hold("run-1")
    assert book.lanes.acquire(LANE, "run-2", NOW_MS + LEASE_MS - 1, LEASE_MS) is None
    assert book.lanes.state(LANE).holder == "run-1"
    successor = book.lanes.acquire(LANE, "run-2", NOW_MS + LEASE_MS, LEASE_MS)
    assert successor == Lease(LANE, "run-2", lease.fencing_token + 1, 1)


def test_the_lane_that_has_read_least_lately_says_when_the_stream_was_read(book: Book) -> None:
    two = book.store(2)
    leases = [lease for name in two.names() if (lease := two.acquire(name, "run", NOW_MS, LEASE_MS))]
    assert two.last_read_ms() is None
    two.note_read(leases[0], NOW_MS)
    assert two.last_read_ms() == NOW_MS
    two.commit(leases[1], {}, NOW_MS - 7, NOW_MS + LEASE_MS)
    assert two.last_read_ms() == NOW_MS - 7
    for lease in leases:
        two.release(lease)
    three = book.store(3)
    assert three.acquire("2", "run", NOW_MS, LEASE_MS) is not None
    assert three.last_read_ms() == NOW_MS - 7


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


def test_a_lane_that_there_is_not_cannot_be_held(book: Book) -> None:
    with pytest.raises(ConfigError, match=r"There is no lane 1: lane\.count is 1"):
        book.lanes.acquire("1", "run-2", NOW_MS, LEASE_MS)


@pytest.mark.parametrize("name", WRITES)
def test_a_holder_whose_lane_was_taken_over_writes_nothing_more(book: Book, name: str) -> None:
    old = book.hold("run-1")
    retried = book.claim(old, intended("order/0"))
    book.take_over(old, "run-2")
    book.ledger.settle_orphans(Lease(LANE, "run-2", old.fencing_token + 1, 1), NOW_MS)
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
    assert book.begun() == RANGES
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
    assert book.begun() == {}
    assert book.lanes.committed() == {0: 5, 3: 9}
    assert book.lanes.state(LANE).evaluated_until_ms == NOW_MS + 7


def test_a_commit_of_some_partitions_leaves_the_others_where_they_are(book: Book) -> None:
    lease = book.hold("run-1")
    book.lanes.commit(lease, RANGES, NOW_MS, NOW_MS + LEASE_MS)
    book.lanes.commit(lease, {3: (9, 12)}, NOW_MS, NOW_MS + LEASE_MS)
    assert book.lanes.committed() == {0: 5, 3: 12}


def test_offsets_belong_to_the_stream(book: Book) -> None:
    book.lanes.commit(book.hold("run-1"), RANGES, NOW_MS, NOW_MS + LEASE_MS)
    assert book.store(stream="another").committed() == {}


def test_offsets_are_corrected_to_what_the_warehouse_holds_even_backwards(book: Book) -> None:
    lease = book.hold("run-1")
    book.lanes.commit(lease, RANGES, NOW_MS, NOW_MS + LEASE_MS)
    book.lanes.correct_offsets(lease, {0: 3, 1: 4})
    assert book.lanes.committed() == {0: 3, 1: 4, 3: 9}


# Pauses


def test_a_paused_lane_is_given_to_no_run_until_it_is_resumed(book: Book) -> None:
    held_before = book.hold("run-1")
    pause = LanePause(LANE, "ann", "an upgrade", NOW_MS, 0)
    book.lanes.pause(pause)
    assert book.lanes.pauses() == {LANE: pause}
    book.lanes.commit(held_before, RANGES, NOW_MS, NOW_MS + LEASE_MS)  # What was begun may be ended.
    book.lanes.release(held_before)
    assert book.lanes.acquire(LANE, "run-2", NOW_MS, LEASE_MS) is None
    assert book.lanes.acquire(LANE, "a reset", NOW_MS, LEASE_MS, despite_pause=True) is not None
    assert (book.lanes.resume(LANE), book.lanes.resume(LANE)) == (True, False)
    assert book.lanes.pauses() == {}
    assert book.lanes.acquire(LANE, "run-2", NOW_MS + LEASE_MS, LEASE_MS) is not None


def test_a_lane_that_drains_is_given_out_until_it_has_read_what_was_there(book: Book) -> None:
    book.lanes.pause(DRAIN)
    lease = book.hold("run-1")
    book.lanes.note_read(lease, NOW_MS)  # The broker may have given nothing though events wait.
    assert not book.lanes.is_paused(LANE)
    assert book.lanes.end_drain(lease, DRAIN)
    assert book.lanes.is_paused(LANE)
    assert book.lanes.pauses() == {LANE: replace(DRAIN, after_ms=0)}
    book.lanes.release(lease)
    assert book.lanes.acquire(LANE, "run-2", NOW_MS, LEASE_MS) is None


@pytest.mark.parametrize(
    "later",
    [
        None,
        replace(DRAIN, paused_by="bob"),
        replace(DRAIN, paused_at_ms=NOW_MS + 1),
        replace(DRAIN, after_ms=NOW_MS + 1),
    ],
)
def test_a_run_does_not_end_a_drain_that_began_after_the_one_it_looked_at(book: Book, later: LanePause | None) -> None:
    lease = book.hold("run-1")
    book.lanes.pause(DRAIN)
    book.lanes.resume(LANE)
    if later:
        book.lanes.pause(later)
    assert not book.lanes.end_drain(lease, DRAIN)
    assert list(book.lanes.pauses().values()) == [one for one in [later] if one]
    assert not book.lanes.is_paused(LANE)


def test_whoever_lost_the_lane_does_not_end_its_drain(book: Book) -> None:
    old = book.hold("run-1")
    book.lanes.pause(DRAIN)
    book.take_over(old, "run-2")
    with pytest.raises(LeaseLostError):
        book.lanes.end_drain(old, DRAIN)
    assert book.lanes.pauses() == {LANE: DRAIN}


def test_the_last_pause_counts_and_other_lanes_go_on(book: Book) -> None:
    two = book.store(2)
    two.pause(LanePause("1", "ann", "an upgrade", NOW_MS, NOW_MS))
    two.pause(LanePause("1", "bob", "at once", NOW_MS + 1, 0))
    assert [two.is_paused(lane) for lane in two.names()] == [False, True]
    assert two.pauses()["1"].paused_by == "bob"


@pytest.mark.parametrize("call", ["pause", "resume"])
def test_a_lane_that_there_is_not_is_neither_paused_nor_resumed(book: Book, call: str) -> None:
    argument = LanePause("7", "ann", "why", NOW_MS, 0) if call == "pause" else "7"
    with pytest.raises(ConfigError, match=r"There is no lane 7: lane\.count is 1\."):
        getattr(book.lanes, call)(argument)


# Several lanes


def held(several: LaneStore, lane: str, holder: str) -> Lease:
    lease = several.acquire(lane, holder, NOW_MS, LEASE_MS)
    assert lease is not None, f"{holder} did not get lane {lane}."
    return lease


def test_every_partition_is_one_lanes_whatever_its_number(book: Book) -> None:
    three = book.store(3)
    shares = [three.partitions_of(lane, range(100)) for lane in three.names()]
    assert sorted(partition for share in shares for partition in share) == list(range(100))
    assert shares[1][:3] == [1, 4, 7]


def test_lanes_are_held_beside_each_other(book: Book) -> None:
    two = book.store(2)
    leases = [held(two, "0", "run-1"), held(two, "1", "run-2")]
    for number, lease in enumerate(leases):
        two.begin(lease, {number: (0, 3)}, NOW_MS, LEASE_MS)
        two.commit(lease, {number: (0, 3)}, NOW_MS, NOW_MS + LEASE_MS)
    assert two.committed() == {0: 3, 1: 3}


def test_lanes_of_another_number_wait_until_those_at_work_have_ended(book: Book) -> None:
    one, two = book.store(1), book.store(2)
    lease = held(one, "0", "run-1")
    assert two.acquire("1", "run-2", NOW_MS, LEASE_MS) is None
    one.release(lease)
    held(two, "1", "run-2")
    assert one.acquire("0", "run-3", NOW_MS, LEASE_MS) is None


def test_what_was_begun_by_fewer_lanes_is_done_again_before_more_begin(book: Book) -> None:
    one, two = book.store(1), book.store(2)
    lease = held(one, "0", "run-1")
    one.begin(lease, RANGES, NOW_MS, LEASE_MS)
    one.release(lease)
    assert two.acquire("1", "run-2", NOW_MS, LEASE_MS) is None
    heir = held(two, "0", "run-3")
    assert two.to_redo(heir) == RANGES
    assert two.acquire("1", "run-2", NOW_MS, LEASE_MS) is None
    two.commit(heir, RANGES, NOW_MS, NOW_MS + LEASE_MS)
    assert two.to_redo(heir) == {}
    held(two, "1", "run-2")


def test_what_was_begun_by_a_lane_that_is_no_more_is_done_again_by_the_first(book: Book) -> None:
    one, three = book.store(1), book.store(3)
    leases = [held(three, lane, f"run-{lane}") for lane in three.names()]
    three.begin(leases[1], {1: (0, 4)}, NOW_MS, LEASE_MS)
    three.begin(leases[2], {2: (0, 5)}, NOW_MS, LEASE_MS)
    for lease in leases:
        three.release(lease)
    heir = held(one, "0", "run-9")
    redone = []
    while ranges := one.to_redo(heir):
        redone.append(ranges)
        one.commit(heir, ranges, NOW_MS, NOW_MS + LEASE_MS)
    assert sorted(redone, key=str) == [{1: (0, 4)}, {2: (0, 5)}]
    one.release(heir)
    held(one, "0", "run-10")


def test_a_batch_that_a_lane_adopts_survives_it_too(book: Book) -> None:
    one, two = book.store(1), book.store(2)
    lease = held(two, "1", "run-1")
    two.begin(lease, {1: (0, 4)}, NOW_MS, LEASE_MS)
    two.release(lease)
    first = held(one, "0", "run-2")
    assert one.to_redo(first) == {1: (0, 4)}
    one.release(first)
    assert one.to_redo(held(one, "0", "run-3")) == {1: (0, 4)}


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 3), (3, 2), (4, 2), (3, 1)])
def test_whatever_number_of_lanes_had_begun_all_of_it_is_done_again_before_another_lane_begins(
    book: Book, before: int, after: int
) -> None:
    old, new = book.store(before), book.store(after)
    leases = [held(old, lane, f"old-{lane}") for lane in old.names()]
    for number, lease in enumerate(leases):
        old.begin(lease, {number: (0, 5)}, NOW_MS, LEASE_MS)
        old.release(lease)
    others = [lane for lane in new.names() if lane != "0"]
    redone = []
    for attempt in range(100):
        # Every run is killed after each of its steps, and the next one goes on.
        first = held(new, "0", f"new-{attempt}")
        if len(redone) < before:
            assert [lane for lane in others if new.acquire(lane, "early", NOW_MS, LEASE_MS)] == []
        ranges = new.to_redo(first)
        if attempt % 2:
            new.commit(first, ranges, NOW_MS, NOW_MS + LEASE_MS)
            redone += list(ranges)
        new.release(first)
        if not ranges:
            break
    assert sorted(redone) == list(range(before))
    for lane in new.names():
        held(new, lane, f"new-{lane}")


def test_who_held_a_lane_of_another_number_cannot_write_when_it_wakes_up(book: Book) -> None:
    for before, after in ((2, 1), (2, 3)):
        old, new = book.store(before), book.store(after)
        paused = held(old, "1", f"paused-{after}")
        later_ms = NOW_MS + LEASE_MS + 1
        first = new.acquire("0", f"first-{after}", later_ms, LEASE_MS)
        assert first is not None
        with pytest.raises(LeaseLostError):
            old.renew(paused, later_ms, LEASE_MS)
        with pytest.raises(LeaseLostError):
            old.begin(paused, RANGES, later_ms, LEASE_MS)
        with pytest.raises(LeaseLostError):
            book.claim(paused, intended())
        new.release(first)


def test_what_was_begun_of_another_stream_is_not_done_on_this_one(book: Book) -> None:
    lease = book.hold()
    book.lanes.begin(lease, RANGES, NOW_MS, LEASE_MS)
    book.lanes.release(lease)
    renamed = book.store(stream="events-2")
    heir = held(renamed, "0", "run-2")
    assert renamed.to_redo(heir) == {}
    assert book.begun() == {}


def test_when_the_number_changes_all_lanes_begin_where_the_slowest_was(book: Book) -> None:
    two, three = book.store(2), book.store(3)
    for lane, until_ms in (("0", NOW_MS + 9), ("1", NOW_MS + 5)):
        lease = held(two, lane, f"run-{lane}")
        two.commit(lease, {}, until_ms, NOW_MS + LEASE_MS)
        two.release(lease)
    held(three, "2", "run-2")
    assert [three.state(lane).evaluated_until_ms for lane in three.names()] == [NOW_MS + 5] * 3


def test_a_lane_that_comes_back_does_not_begin_where_it_was_long_ago_and_gives_out_no_old_token(book: Book) -> None:
    one, two = book.store(1), book.store(2)
    old = held(two, "1", "run-1")
    two.commit(old, {}, NOW_MS - 1_000_000, NOW_MS + LEASE_MS)
    two.release(old)
    lease = held(one, "0", "run-2")
    one.commit(lease, {}, NOW_MS, NOW_MS + LEASE_MS)
    one.release(lease)
    new = held(two, "1", "run-3")
    assert two.state("1").evaluated_until_ms == NOW_MS
    assert new.fencing_token > old.fencing_token


def test_where_a_partition_begins_is_remembered_from_its_first_reading(book: Book) -> None:
    lease = book.hold()
    book.lanes.begin_at(lease, {3: 100})
    book.lanes.begin_at(lease, {3: 200, 4: 7})
    assert book.lanes.starts() == {3: 100, 4: 7}
    assert book.store(stream="another").starts() == {}


def test_the_archive_is_held_by_one_run_beside_the_lanes_and_whatever_their_number(book: Book) -> None:
    one, two = book.store(1), book.store(2)
    first = one.acquire_archive("restore-1", NOW_MS, LEASE_MS)
    assert first is not None
    lane = held(one, "0", "run-1")
    assert two.acquire_archive("restore-2", NOW_MS, LEASE_MS) is None
    one.release(lane)
    held(two, "1", "run-2")
    one.renew(first, NOW_MS, LEASE_MS)
    assert two.state(ARCHIVE).holder == "restore-1"
    book.say(first, granted())
    second = two.acquire_archive("restore-2", NOW_MS + LEASE_MS, LEASE_MS)
    assert second is not None
    assert second.fencing_token == first.fencing_token + 1
    with pytest.raises(LeaseLostError):
        book.say(first, granted())
    two.release(second)
    assert one.acquire_archive("restore-3", NOW_MS, LEASE_MS) is not None
    assert (two.holders_so_far(), set(two.read_until())) == (3, {"0", "1"})


def test_lanes_stand_still_as_long_as_whoever_asked_for_it_lives(book: Book) -> None:
    lanes = book.lanes
    assert not lanes.stand_still(NOW_MS)
    asked = lanes.acquire_standstill("rebuild-1", NOW_MS, LEASE_MS)
    assert asked is not None
    assert lanes.acquire_standstill("rebuild-2", NOW_MS, LEASE_MS) is None
    assert lanes.stand_still(NOW_MS + LEASE_MS - 1)
    assert not lanes.stand_still(NOW_MS + LEASE_MS)
    lanes.renew(asked, NOW_MS + LEASE_MS, LEASE_MS)
    assert lanes.stand_still(NOW_MS + LEASE_MS)
    lanes.release(asked)
    assert not lanes.stand_still(NOW_MS + LEASE_MS)


def test_one_run_at_a_time_rebuilds_whatever_the_archive_and_the_lanes_do(book: Book) -> None:
    held(book.store(1), "0", "run-1")
    book.lanes.acquire_archive("archive-1", NOW_MS, LEASE_MS)
    first = book.lanes.acquire_rebuild("rebuild-1", NOW_MS, LEASE_MS)
    assert first is not None
    assert book.lanes.acquire_rebuild("rebuild-2", NOW_MS, LEASE_MS) is None
    second = book.lanes.acquire_rebuild("rebuild-2", NOW_MS + LEASE_MS, LEASE_MS)
    assert second is not None
    assert second.fencing_token == first.fencing_token + 1
    with pytest.raises(LeaseLostError):
        book.lanes.renew(first, NOW_MS + LEASE_MS, LEASE_MS)
    assert (book.lanes.holders_so_far(), set(book.lanes.read_until())) == (1, {"0"})


def test_a_batch_of_another_stream_is_none_that_is_begun(book: Book) -> None:
    lease = book.hold()
    book.lanes.begin(lease, {0: (3, 9)}, NOW_MS, LEASE_MS)
    assert book.lanes.begun_batches() == [{0: (3, 9)}]
    assert book.store(stream="another").begun_batches() == []


def test_offsets_belong_to_the_stream_that_was_seen_first(book: Book) -> None:
    book.lanes.require_identity("a1")
    book.lanes.require_identity("a1")
    with pytest.raises(StreamError, match=r"was deleted and made anew .* another stream\.name"):
        book.lanes.require_identity("b2")


@pytest.mark.parametrize("open_book", SQL_BACKENDS, indirect=True)
def test_a_database_of_an_earlier_version_gets_the_columns_that_have_come_since(open_book: OpenBook) -> None:
    with open_book().engine.begin() as connection:
        row = {"lane": "0", "holder": "", "fencing_token": 7, "evaluated_until_ms": 5}
        connection.execute(sa.insert(lanes).values(row))
        connection.exec_driver_sql("ALTER TABLE lanes DROP COLUMN lane_count")
        connection.exec_driver_sql("ALTER TABLE sends DROP COLUMN lane")
    again = open_book()
    assert again.hold().fencing_token == 8
    assert "lane" in {column["name"] for column in sa.inspect(again.engine).get_columns("sends")}
