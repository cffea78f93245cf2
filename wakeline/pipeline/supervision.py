"""Decides whether a lane needs another run, from its lease and the runs in progress."""

from collections.abc import Sequence
from dataclasses import dataclass

from wakeline.pipeline.lanes import LaneState
from wakeline.pipeline.resident import SUCCESSOR_ALIVE_MS
from wakeline.settings import LaneSettings

#: A run that has neither the lease nor a place in the queue for it this long after its creation never will.
_START_MS = 120_000
#: A run that handed over still writes its last report; one that takes longer than this hangs.
_END_MS = 120_000


@dataclass(frozen=True, slots=True)
class Run:
    """A run of the lane that Dagster believes to be in progress."""

    run_id: str
    created_at_ms: int
    started: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """Start a run or not, why, and which runs are to be marked as failed."""

    start: bool
    reason: str
    dead: tuple[str, ...] = ()


def supervise(
    state: LaneState, runs: Sequence[Run], now_ms: int, settings: LaneSettings, *, is_paused: bool = False
) -> Verdict:
    """A lane without a live lease gets a run; one near its end gets a successor; never two, and none while paused."""
    alive = bool(state.holder) and state.expires_at_ms > now_ms
    standby = now_ms - state.successor_seen_ms < SUCCESSOR_ALIVE_MS
    dead = tuple(run.run_id for run in runs if _is_dead(run, state, alive, standby, now_ms))
    coming = [run for run in runs if run.run_id not in (state.holder, *dead) and not _is_ending(run, state, standby)]
    if is_paused:
        return Verdict(False, "The lane is paused.", dead)
    if coming or standby:
        return Verdict(False, "A run is on its way to the lane.", dead)
    if not alive:
        return Verdict(True, "The lane has no live run.", dead)
    ends_ms = state.held_since_ms + round(settings.run_minutes * 60_000)
    if now_ms < ends_ms:
        return Verdict(False, f"Run {state.holder} holds the lane.", dead)
    return Verdict(True, f"Run {state.holder} is at the end of its time and gets a successor.", dead)


def _is_dead(run: Run, state: LaneState, alive: bool, standby: bool, now_ms: int) -> bool:
    if run.run_id == state.holder:
        return not alive
    if standby and run.run_id == state.successor:
        return False
    if _is_ending(run, state, standby):
        return now_ms - _given_up_ms(state) > _END_MS
    return now_ms - run.created_at_ms > _START_MS


def _given_up_ms(state: LaneState) -> int:
    """When a former holder had to give the lane up, at the latest: to the present one, or as its last lease ended."""
    return state.held_since_ms if state.holder else state.expires_at_ms


def _is_ending(run: Run, state: LaneState, standby: bool) -> bool:
    """Older than the present lease, yet neither its holder nor next: a former holder, which comes no more."""
    waits = standby and run.run_id == state.successor
    return run.run_id != state.holder and not waits and run.created_at_ms < state.held_since_ms
