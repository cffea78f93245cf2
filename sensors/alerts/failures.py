"""Why a run failed, in one line."""

from dataclasses import dataclass
from functools import lru_cache

import dagster as dg
from dagster import DagsterEventType

from wakeline.alerts.gist import UNKNOWN, gist

_KINDS = {DagsterEventType.STEP_FAILURE, DagsterEventType.RUN_FAILURE, DagsterEventType.ASSET_CHECK_EVALUATION}


@dataclass(frozen=True, slots=True)
class Failure:
    """`step` is empty when no step failed; `checks` are those that failed in the run."""

    step: str
    error: str
    checks: tuple[dg.AssetCheckKey, ...]


@lru_cache(500)
def failure_of(instance: dg.DagsterInstance, run_id: str) -> Failure:
    """What the log of a failed run says. It does not change any more, so one look is enough."""
    events = [entry.dagster_event for entry in instance.all_logs(run_id, of_type=_KINDS) if entry.dagster_event]
    steps = [event for event in events if event.event_type is DagsterEventType.STEP_FAILURE]
    ended = [event for event in events if event.event_type is DagsterEventType.RUN_FAILURE]
    told = [*steps, *ended]
    return Failure(
        step=steps[0].step_key or "" if steps else "",
        error=_error(told[0]) if told else UNKNOWN,
        checks=tuple(one.asset_check_key for one in map(_evaluation, events) if one is not None and not one.passed),
    )


def _evaluation(event: dg.DagsterEvent) -> dg.AssetCheckEvaluation | None:
    found = event.event_specific_data
    return found if isinstance(found, dg.AssetCheckEvaluation) else None


def _error(event: dg.DagsterEvent) -> str:
    """What was raised, not Dagster's wrapping around it."""
    error = getattr(event.event_specific_data, "error", None)
    while error is not None and error.cause is not None:
        error = error.cause
    return gist(error.message if error is not None else event.message or "")
