"""What is wrong with a lane, from its lease and its latest runs."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from wakeline.alerts.links import Links
from wakeline.alerts.problem import Problem, Severity
from wakeline.pipeline.lanes import LaneState

#: A run that has gone on for so long after a failure is its recovery.
SERVED_MS = 30_000
#: A stream that cannot be read fails runs as well: the sensor that says so comes every five seconds, the look at its
#: check every ten, and it is the better message.
_FAILED_SECONDS = 16.0
_JOB = "resident_lane"
_FAILED = (
    "the warehouse or the ledger does not answer, the live SQL or a template fails, or the process was killed.",
    "open the run and read its last error; the sensor starts a successor by itself.",
)
_NOBODY = (
    "the sensor lane_sensor or Dagster's daemon is off, or the run cannot start.",
    "look at the ticks of lane_sensor; turn it on, or start resident_lane by hand.",
)


@dataclass(frozen=True, slots=True)
class LaneRun:
    """A resident run: `ended_ms` None while it is in progress, `started_ms` None when it never was."""

    run_id: str
    lane: str
    failed: bool
    started_ms: int | None
    ended_ms: int | None


def unmended_failure(runs: Iterable[LaneRun], now_ms: int) -> LaneRun | None:
    """The lane's last failed run, unless another has gone on for a while since; a run that was cancelled is none."""
    of_lane = list(runs)
    failed = max(
        (run for run in of_lane if run.failed and run.ended_ms), key=lambda run: run.ended_ms or 0, default=None
    )
    if failed is None or any(_has_served(run, failed.ended_ms or 0, now_ms) for run in of_lane if not run.failed):
        return None
    return failed


def lane_problem(
    lane: str, state: LaneState, failed: LaneRun | None, error: str, now_ms: int, affected: Sequence[str], links: Links
) -> Problem | None:
    """None for a lane that somebody holds and whose last run did not fail."""
    alive = bool(state.holder) and state.expires_at_ms > now_ms
    if failed is not None:
        held = "a successor has taken it" if alive and state.holder != failed.run_id else "nobody processes it"
        return _problem(lane, f"The resident run of lane {lane} failed, {held}: {error}", failed, affected, links)
    if not alive:
        return _problem(lane, f"Nobody processes lane {lane}: it has no live resident run.", None, affected, links)
    return None


def _has_served(run: LaneRun, failed_ms: int, now_ms: int) -> bool:
    if run.started_ms is None:
        return False
    return (run.ended_ms or now_ms) - max(run.started_ms, failed_ms) >= SERVED_MS


def _problem(lane: str, summary: str, failed: LaneRun | None, affected: Sequence[str], links: Links) -> Problem:
    words = _FAILED if failed else _NOBODY
    run = (("Run", links.run(failed.run_id)),) if failed else ()
    return Problem(
        f"lane/{lane}",
        Severity.CRITICAL,
        summary,
        affected=tuple(affected),
        links=(*run, ("Job", links.job(_JOB)), ("Sensor", links.sensor("lane_sensor"))),
        cause=words[0],
        first_action=words[1],
        since_ms=failed.ended_ms if failed else None,
        open_after_seconds=_FAILED_SECONDS if failed else None,
    )
