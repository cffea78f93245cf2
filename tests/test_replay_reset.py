"""A lane set to another offset: what is read again counts once, what is passed over is kept in quarantine."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from typing import Any

import pytest
from support.clocks import HOUR_MS, NOW_MS
from support.messages import Message, append, identify, track
from support.sending import LANE, LEASE_MS, RecordingEsp
from support.stack import await_that
from support.warehouse import Site

from wakeline.errors import ReplayError, WarehouseError
from wakeline.pipeline.lanes import LanePause
from wakeline.pipeline.microbatch import MicroBatches
from wakeline.replay.resetting import PASSED_OVER, Asked, Resetter
from wakeline.warehouse.client import connect
from wakeline.warehouse.fence import comment_of, current_epoch

pytestmark = pytest.mark.stack

ESP = RecordingEsp()


def views(first: int, count: int) -> list[Message]:
    return [track("Product Viewed", f"m{n}", user="ann", product_id="p1") for n in range(first, first + count)]


@pytest.fixture
def alone(site: Site) -> Site:
    """The site with one partition: offsets are easy to tell."""
    return site.with_settings(stream={"partitions": 1})


def pause(site: Site) -> None:
    site.book.lanes.pause(LanePause(LANE, "ann", "a reset", NOW_MS, 0))


@contextmanager
def resetter(site: Site, said: list[str] | None = None) -> Iterator[Resetter]:
    with site.micro_batches(ESP) as batches:
        log = (said if said is not None else []).append
        yield Resetter(site.settings, site.clock, log, batches, "reset", patience_seconds=0)


def reset(site: Site, offset: int, said: list[str] | None = None, **asked: Any) -> dict[str, Any]:
    with resetter(site, said) as opened:
        return opened.reset(Asked(0, offset, **asked))


def unread(site: Site, *messages: Message) -> None:
    with site.micro_batches(ESP) as batches:
        append(batches.stream, messages, site.clock())


def test_earlier_nothing_changes_where_landing_has_every_event(alone: Site) -> None:
    alone.play(views(0, 5), ESP)
    counts, profiles, said = alone.counts(), alone.profiles(), list[str]()
    pause(alone)
    found = reset(alone, 2, said)
    assert (found["events"], found["in_landing"], found["missing"]) == (3, 3, 0)
    assert "3 are in landing and count once" in said[0]
    reset(alone, 0, execute=True)
    alone.book.lanes.resume(LANE)
    alone.play(views(5, 1), ESP)
    assert alone.profiles() != profiles
    assert alone.counts()["landing"] == counts["landing"] + 1


def test_earlier_what_landing_lost_is_processed_and_counts_once(alone: Site) -> None:
    alone.play([*views(0, 2), *views(10, 1), *views(2, 3)], ESP)
    counts, profiles = alone.counts(), alone.profiles()
    lost = [*views(0, 2), *views(10, 1), *views(2, 3)]
    lose(alone, lost, 1, 3)
    assert alone.counts()["landing"] == counts["landing"] - 2
    pause(alone)
    assert reset(alone, 0, execute=True)["missing"] == 2
    assert (alone.counts(), alone.profiles()) == (counts, profiles)
    assert alone.book.lanes.committed() == {0: 6}


def lose(site: Site, messages: list[Message], first: int, end: int) -> None:
    """Landing as if it had been restored without these offsets."""
    from support.warehouse import empty

    from wakeline.pipeline.reading import read_ranges

    empty(site.client)
    with site.micro_batches(ESP) as batches:
        lease = site.hold(batches, "losing")
        for span in ((0, first), (end, len(messages))):
            batches.process_missing(lease, read_ranges(batches.stream, {0: span}))
        batches.lanes.release(lease)


def test_later_the_events_between_are_in_quarantine_and_nothing_comes_of_them(alone: Site) -> None:
    alone.play([identify("m1", user="ann", email="ann@example.com")], ESP)
    unread(alone, *views(2, 3))
    pause(alone)
    said = list[str]()
    assert reset(alone, 3, said)["skipped_events"] == 2
    assert "skip_events: 2" in said[1]
    with pytest.raises(ReplayError, match="2 events would be passed over: type that number in as skip_events"):
        reset(alone, 3, execute=True, skip_events=1)
    assert alone.statuses() == {"accepted": 1}
    reset(alone, 3, execute=True, skip_events=2)
    alone.book.lanes.resume(LANE)
    alone.play([], ESP)
    assert alone.statuses() == {"accepted": 2, "quarantined": 2}
    rows = alone.rows("SELECT offset FROM landing WHERE reason = {reason:String} ORDER BY offset", reason=PASSED_OVER)
    assert rows == [(1,), (2,)]
    gaps = alone.rows("SELECT partition FROM landing GROUP BY partition HAVING count() != max(offset) + 1")
    assert gaps == []


def test_a_batch_that_landing_never_took_can_be_passed_over(alone: Site) -> None:
    """The lane fails at the same batch again and again; without a reset it would for ever."""
    alone.play(views(0, 1), ESP)
    unread(alone, *views(1, 2))
    with alone.micro_batches(ESP) as batches:
        lease = alone.hold(batches)
        batches.recover(lease)
        batches.landing.insert = refuse  # type: ignore[method-assign]
        with pytest.raises(WarehouseError):
            batches.step(lease)
        batches.lanes.release(lease)
    assert alone.book.begun() == {0: (1, 3)}
    pause(alone)
    reset(alone, 3, execute=True, skip_events=2)
    assert alone.book.begun() == {}
    alone.book.lanes.resume(LANE)
    alone.play(views(3, 1), ESP)
    assert alone.statuses() == {"accepted": 2, "quarantined": 2}


def refuse(*_: Any) -> None:
    raise WarehouseError("ClickHouse did not take a batch of landing")


def begun_before(site: Site, batches: MicroBatches, *messages: Message) -> Callable[[], None]:
    """A run begins a batch of these; the answer is its insert, which is yet to come."""
    append(batches.stream, messages, site.clock())
    lease = site.hold(batches)
    batches.recover(lease)
    insert, late = batches.landing.insert, list[Callable[[], None]]()

    def put_off(*arguments: Any) -> None:
        late.append(lambda: insert(*arguments))
        raise WarehouseError("The run is gone.")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches.landing, "insert", put_off)
        with pytest.raises(WarehouseError, match="The run is gone"):
            batches.step(lease)
    batches.lanes.release(lease)
    return late[0]


def test_an_insert_that_wakes_up_after_its_batch_was_passed_over_is_refused(alone: Site) -> None:
    alone.play(views(0, 1), ESP)
    with alone.micro_batches(ESP) as sleeper:
        insert = begun_before(alone, sleeper, *views(1, 2))
        pause(alone)
        reset(alone, 3, execute=True, skip_events=2)
        with pytest.raises(WarehouseError, match="inserts_of_this_epoch"):
            insert()
    assert alone.statuses() == {"accepted": 1, "quarantined": 2}


def test_an_insert_that_is_still_inside_clickhouse_is_waited_for(alone: Site) -> None:
    """Of a run that was killed: it comes to its end, and then landing has the batch."""
    alone.play(views(0, 1), ESP)
    with alone.micro_batches(ESP) as batches:
        begun_before(alone, batches, *views(1, 2))
    pause(alone)
    with slow_insert(alone, first=1, end=3):
        with pytest.raises(ReplayError, match="has begun a batch that is in landing already"):
            reset(alone, 3, execute=True, skip_events=2)
        assert alone.statuses() == {"accepted": 3}


_SLOW = """
    INSERT INTO landing (stream, partition, offset, status, message_id)
    SELECT {stream:String}, 0, number, 'accepted', concat('m', toString(number))
    FROM numbers({first:UInt64}, {count:UInt64}) WHERE sleepEachRow(1) = 0
    SETTINGS log_comment = {comment:String}, max_block_size = 1
"""


@contextmanager
def slow_insert(site: Site, first: int, end: int) -> Iterator[None]:
    """An insert of a lane that takes seconds, and has begun."""
    client = connect(site.settings.warehouse)
    parameters = {
        "stream": site.settings.stream.name, "first": first, "count": end - first,
        "comment": comment_of(current_epoch(client)),
    }  # fmt: skip
    thread = threading.Thread(target=client.command, args=(_SLOW, parameters))
    thread.start()
    under_way = "SELECT count() FROM system.processes WHERE query_kind = 'Insert' AND query LIKE '%sleepEachRow%'"
    await_that("the insert has begun", lambda: site.rows(under_way) == [(1,)], 10)
    yield
    thread.join()
    client.close()


@pytest.mark.parametrize("method", ["begin", "insert"])
def test_a_reset_that_is_cut_off_counts_what_is_repeated_later_once(
    alone: Site, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    messages = [*views(20, 1), *views(0, 2), *views(10, 1), *views(0, 2)]
    alone.play(messages, ESP)
    lose(alone, messages, 1, 4)
    assert alone.statuses() == {"accepted": 3}, "Of what is lost the repetition counts."
    counts = alone.counts()["events"]
    pause(alone)
    with resetter(alone) as opened:
        part = opened.batches.lanes if method == "begin" else opened.batches.landing
        monkeypatch.setattr(part, method, cut_off_after(getattr(part, method)))
        with pytest.raises(CrashError):
            opened.reset(Asked(0, 0, execute=True))
    monkeypatch.undo()
    alone.book.lanes.resume(LANE)
    alone.play([], ESP)
    assert alone.statuses() == {"accepted": 4, "duplicate": 2}
    assert alone.counts()["events"] == counts + 1


def test_a_page_that_was_cut_off_when_it_was_passed_over_is_done_again_as_a_batch(
    alone: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone.play(views(0, 1), ESP)
    unread(alone, *views(1, 2))
    pause(alone)
    with resetter(alone) as opened:
        monkeypatch.setattr(opened.batches.lanes, "begin", cut_off_after(opened.batches.lanes.begin))
        with pytest.raises(CrashError):
            opened.reset(Asked(0, 3, skip_events=2, execute=True))
    assert alone.book.begun() == {0: (1, 3)}
    alone.book.lanes.resume(LANE)
    alone.play([], ESP)
    assert alone.statuses() == {"accepted": 3}


def test_a_pass_over_that_was_cut_off_behind_an_insert_is_done_again(
    alone: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were the lane to be resumed for that, it would process what is to be passed over."""
    short = alone.with_settings(lane={"batch_rows": 2})
    short.play(views(0, 1), ESP)
    unread(short, *views(1, 4))
    pause(short)
    with resetter(short) as opened:
        monkeypatch.setattr(opened.batches.landing, "insert", cut_off_after(opened.batches.landing.insert))
        with pytest.raises(CrashError):
            opened.reset(Asked(0, 5, skip_events=4, execute=True))
    assert short.book.begun() == {0: (1, 3)}
    assert reset(short, 5, execute=True, skip_events=2)["from_offset"] == 3
    short.book.lanes.resume(LANE)
    short.play(views(5, 1), ESP)
    assert short.statuses() == {"accepted": 2, "quarantined": 4}
    assert short.book.lanes.committed() == {0: 6}


@pytest.mark.parametrize(("method", "call"), [("committed", 2), ("earlier", 1), ("statuses", 1)])
def test_an_insert_of_a_killed_reset_that_ends_while_the_batch_is_done_again_is_heard_all_the_same(
    alone: Site, monkeypatch: pytest.MonkeyPatch, method: str, call: int
) -> None:
    no = track("Unsubscribed", "no", user="ann", email="ann@example.com")
    messages = [identify("m1", user="ann", email="ann@example.com", marketing=True), no, *views(2, 1)]
    unread(alone, *messages)
    lose(alone, messages, 1, 2)
    pause(alone)
    late: list[Callable[[], None]] = []
    with resetter(alone) as opened:
        insert = opened.batches.landing.insert

        def put_off(*arguments: Any) -> None:
            late.append(lambda: insert(*arguments))
            raise CrashError

        monkeypatch.setattr(opened.batches.landing, "insert", put_off)
        with pytest.raises(CrashError):
            opened.reset(Asked(0, 0, execute=True))
        alone.book.lanes.resume(LANE)
        with alone.micro_batches(ESP) as batches:
            at_call(monkeypatch, batches.landing, method, call, late[0])
            [redone, *_] = alone.work(batches)
    assert [row.status for row in redone.rows] == ["accepted"]
    assert alone.statuses() == {"accepted": 3}
    assert redone.rows[0].parsed is not None


def at_call(monkeypatch: pytest.MonkeyPatch, part: Any, method: str, call: int, then: Callable[[], None]) -> None:
    """Something happens once, right behind a call of a method."""
    original, calls = getattr(part, method), count(1)

    def called(*arguments: Any) -> Any:
        found = original(*arguments)
        if next(calls) == call:
            then()
        return found

    monkeypatch.setattr(part, method, called)


class CrashError(BaseException):
    """The process is gone; nothing of it runs any more, so no handler may catch this."""


def cut_off_after(original: Callable[..., Any]) -> Callable[..., None]:
    def crash(*arguments: Any) -> None:
        original(*arguments)
        raise CrashError

    return crash


def test_the_lane_must_stand_still(alone: Site) -> None:
    alone.play(views(0, 3), ESP)
    with pytest.raises(ReplayError, match=r"^Lane 0 is not paused; run pause_lane first"):
        reset(alone, 0, execute=True)
    lease = alone.book.lanes.acquire(LANE, "run-7", alone.clock(), LEASE_MS)
    assert lease is not None
    pause(alone)
    with pytest.raises(ReplayError, match=r"^Run run-7 is still at work on lane 0"):
        reset(alone, 0, execute=True)


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        (Asked(9, 0), r"^There is no partition 9; known are 0\.$"),
        (Asked(0, 3), "goes on at offset 3 already"),
        (Asked(0, 9), "ends at offset 3; give an offset that is not after that"),
    ],
)
def test_bad_input_is_one_sentence(alone: Site, asked: Asked, sentence: str) -> None:
    alone.play(views(0, 3), ESP)
    pause(alone)
    alone.clock.now_ms += HOUR_MS
    with resetter(alone) as opened, pytest.raises(ReplayError, match=sentence):
        opened.reset(replace(asked, execute=True))
    assert alone.counts()["landing"] == 3
