from typing import Any

from support.clocks import HOUR_MS, MINUTE_MS, NOW_MS, SECOND_MS

from wakeline.pipeline.lanes import LaneState
from wakeline.pipeline.resident import SUCCESSOR_ALIVE_MS
from wakeline.pipeline.supervision import Run, Verdict, supervise
from wakeline.settings import LaneSettings

SETTINGS = LaneSettings(run_minutes=30)
FREE = LaneState("", 0, 0, 0, "", 0, 0)


def held(since_ms: int = NOW_MS - MINUTE_MS, **changes: Any) -> LaneState:
    """Run-1 holds the lane, and its lease is alive."""
    known = {"holder": "run-1", "fencing_token": 4, "held_since_ms": since_ms, "expires_at_ms": NOW_MS + SECOND_MS}
    return LaneState(**{**known, "successor": "", "successor_seen_ms": 0, "evaluated_until_ms": NOW_MS, **changes})


def run(run_id: str, age_ms: int, *, started: bool = True) -> Run:
    return Run(run_id, NOW_MS - age_ms, started)


def verdict(state: LaneState, *runs: Run) -> Verdict:
    return supervise(state, runs, NOW_MS, SETTINGS)


def test_a_lane_that_nobody_holds_gets_a_run() -> None:
    assert verdict(FREE) == Verdict(True, "The lane has no live run.")


def test_a_lane_gets_no_second_run_while_one_is_on_its_way() -> None:
    for coming in (run("run-1", 0, started=False), run("run-1", 20 * SECOND_MS)):
        assert not verdict(FREE, coming).start


def test_a_lane_that_is_held_needs_nothing() -> None:
    assert verdict(held(), run("run-1", MINUTE_MS)) == Verdict(False, "Run run-1 holds the lane.")


def test_a_run_at_the_end_of_its_time_gets_one_successor() -> None:
    old = held(since_ms=NOW_MS - 30 * MINUTE_MS)
    mine = run("run-1", 31 * MINUTE_MS)
    assert verdict(old, mine).start
    assert not verdict(old, mine, run("run-2", SECOND_MS, started=False)).start
    waiting = held(since_ms=NOW_MS - 30 * MINUTE_MS, successor="run-2", successor_seen_ms=NOW_MS)
    assert not verdict(waiting, mine, run("run-2", 5 * MINUTE_MS)).start


def test_a_run_that_let_its_lease_expire_is_dead_and_replaced_at_once() -> None:
    expired = held(expires_at_ms=NOW_MS)
    assert verdict(expired, run("run-1", HOUR_MS)) == Verdict(True, "The lane has no live run.", ("run-1",))


def test_a_dead_run_is_not_replaced_while_its_successor_stands_by() -> None:
    expired = held(expires_at_ms=NOW_MS, successor="run-2", successor_seen_ms=NOW_MS - SECOND_MS)
    found = verdict(expired, run("run-1", HOUR_MS), run("run-2", HOUR_MS))
    assert (found.start, found.dead) == (False, ("run-1",))


def test_a_successor_that_is_no_longer_seen_does_not_hold_up_another() -> None:
    old = held(since_ms=NOW_MS - HOUR_MS, successor="run-2", successor_seen_ms=NOW_MS - SUCCESSOR_ALIVE_MS)
    found = verdict(old, run("run-1", HOUR_MS), run("run-2", HOUR_MS))
    assert (found.start, found.dead) == (True, ("run-2",))


def test_a_run_that_never_reaches_the_lane_is_given_up() -> None:
    stuck = run("run-2", 3 * MINUTE_MS, started=False)
    assert verdict(FREE, stuck) == Verdict(True, "The lane has no live run.", ("run-2",))
    assert verdict(held(since_ms=NOW_MS - 5 * MINUTE_MS), run("run-1", 6 * MINUTE_MS), stuck).dead == ("run-2",)


def test_a_run_that_has_just_handed_over_may_end_in_peace() -> None:
    # Marked as failed while it writes its last report, every handover could raise an alert.
    found = verdict(held(since_ms=NOW_MS - SECOND_MS), run("run-1", 40 * SECOND_MS), run("run-0", HOUR_MS))
    assert found == Verdict(False, "Run run-1 holds the lane.")


def test_a_run_that_does_not_end_after_it_handed_over_is_failed_in_the_end() -> None:
    found = verdict(held(since_ms=NOW_MS - 5 * MINUTE_MS), run("run-1", HOUR_MS), run("run-0", HOUR_MS))
    assert found.dead == ("run-0",)


def test_a_run_that_was_stopped_after_a_long_time_may_end_in_peace_too() -> None:
    released = held(since_ms=NOW_MS - 20 * MINUTE_MS, holder="")
    mine = run("run-1", 21 * MINUTE_MS)
    assert verdict(released, mine) == Verdict(True, "The lane has no live run.")
    long_ago = held(since_ms=NOW_MS - 20 * MINUTE_MS, holder="", expires_at_ms=NOW_MS - 3 * MINUTE_MS)
    assert verdict(long_ago, mine).dead == ("run-1",)


def test_a_run_that_still_ends_does_not_keep_a_dead_holder_from_being_replaced() -> None:
    expired = held(since_ms=NOW_MS - 20 * SECOND_MS, expires_at_ms=NOW_MS)
    found = verdict(expired, run("run-1", 40 * SECOND_MS), run("run-0", HOUR_MS))
    assert (found.start, found.dead) == (True, ("run-1",))


def test_however_a_lane_stands_a_live_one_loses_neither_its_holder_nor_its_successor() -> None:
    state = held(since_ms=NOW_MS - HOUR_MS, successor="run-2", successor_seen_ms=NOW_MS)
    found = verdict(state, run("run-1", HOUR_MS), run("run-2", HOUR_MS), run("run-3", HOUR_MS))
    assert (found.start, found.dead) == (False, ("run-3",))


def test_a_paused_lane_gets_no_run_and_dead_ones_are_marked_all_the_same() -> None:
    stuck = run("run-2", 3 * MINUTE_MS, started=False)
    found = supervise(FREE, [stuck], NOW_MS, SETTINGS, is_paused=True)
    assert found == Verdict(False, "The lane is paused.", ("run-2",))
