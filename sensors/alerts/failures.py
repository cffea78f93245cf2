"""Why a run failed, in one line."""

from dataclasses import dataclass

import dagster as dg
from dagster import DagsterEventType

from wakeline.alerts.gist import UNKNOWN, gist

_MOST_KNOWN = 500
_KINDS = {DagsterEventType.STEP_FAILURE, DagsterEventType.RUN_FAILURE, DagsterEventType.ASSET_CHECK_EVALUATION}


@dataclass(frozen=True, slots=True)
class Failure:
    """`step` is empty when no step failed; `checks` are those that failed in the run."""

    step: str
    error: str
    checks: tuple[dg.AssetCheckKey, ...]


#: By run only: Dagster gives every tick an instance of its own, which must not be kept.
_known: dict[str, Failure] = {}


def failure_of(instance: dg.DagsterInstance, run_id: str) -> Failure:
    """What the log of a failed run says. It does not change any more, so one look is enough."""
    found = _known.get(run_id)
    if found is None:
        if len(_known) >= _MOST_KNOWN:
            _known.clear()
        found = _known[run_id] = _read(instance, run_id)
    return found


def _read(instance: dg.DagsterInstance, run_id: str) -> Failure:
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
