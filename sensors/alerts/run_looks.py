"""Failed runs, and sensors and schedules whose ticks fail."""

from collections.abc import Iterable, Sequence

import dagster as dg
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, InstigatorTick, TickStatus

from orchestration.configuration import settings
from orchestration.resident import resident_lane
from sensors.alerts.failures import Failure, failure_of
from sensors.alerts.lineage import asset_graph, downstream, owner_of
from wakeline.alerts.gist import gist
from wakeline.alerts.links import links
from wakeline.alerts.problem import Look, Problem, Severity

_ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE]
_DONE = [TickStatus.SUCCESS, TickStatus.SKIPPED, TickStatus.FAILURE]


def look_at_runs(context: dg.SensorEvaluationContext) -> Look:
    """Jobs of whose runs the last to end failed, but for cancelled ones. Lanes are a concern of their own."""
    found, unknown = [], set()
    for job in _jobs(context):
        last = _last_ended(context.instance, job.name)
        if last is None:  # None ever, or deleted since: that is no success.
            unknown.add(f"run/{job.name}")
        elif last.dagster_run.status is dg.DagsterRunStatus.FAILURE:
            found.append(_failed(context, job, last))
    return Look(tuple(found), frozenset(unknown))


def _last_ended(instance: dg.DagsterInstance, job_name: str) -> dg.RunRecord | None:
    """Of two runs at the same time the younger may end first; Dagster's own order is that of their beginnings."""
    ended = dg.RunsFilter(job_name=job_name, statuses=_ENDED)
    return next(iter(instance.get_run_records(ended, limit=1, order_by="end_time")), None)


def _jobs(context: dg.SensorEvaluationContext) -> list[dg.JobDefinition]:
    repository = context.repository_def
    return [job for job in repository.get_all_jobs() if job.name != resident_lane.name] if repository else []


def _failed(context: dg.SensorEvaluationContext, job: dg.JobDefinition, record: dg.RunRecord) -> Problem:
    run, graph, link = record.dagster_run, asset_graph(context), links(settings())
    failure = failure_of(context.instance, run.run_id)
    built = sorted(run.asset_selection or job.asset_layer.selected_asset_keys)
    where = f" in the step {failure.step}" if failure.step else ""
    owners = dict.fromkeys(owner for key in built if (owner := owner_of(graph, key)))
    return Problem(
        f"run/{job.name}",
        Severity.ERROR,
        f"The last run of {job.name} failed{where}: {failure.error}",
        owner=", ".join(owners),
        affected=(*(key.to_user_string() for key in built), *downstream(graph, built)),
        links=(("Run", link.run(run.run_id)), ("Job", link.job(job.name))),
        first_action="open the run, mend what its error names, and press 'Re-execute'.",
        since_ms=round((record.end_time or record.update_timestamp.timestamp()) * 1000),
        because=_checks(failure),
    )


def _checks(failure: Failure) -> tuple[str, ...]:
    """dbt fails the run of a test that fails; the check says it better."""
    return tuple(f"check/{key.asset_key.to_user_string()}/{key.name}" for key in failure.checks)


def look_at_sensors(context: dg.SensorEvaluationContext) -> Look:
    """Sensors and schedules that are on and whose last ticks failed: Dagster itself says nothing of them."""
    states = [state for state in context.instance.all_instigator_state() if _is_on(context, state)]
    failing = ((state, ticks) for state in states if (ticks := _failing_ticks(context.instance, state)))
    return Look(tuple(_tick_problem(state, ticks) for state, ticks in failing))


def _is_on(context: dg.SensorEvaluationContext, state: InstigatorState) -> bool:
    repository = context.repository_def
    known: Iterable[str] = (
        [*(one.name for one in repository.sensor_defs), *(one.name for one in repository.schedule_defs)]
        if repository
        else []
    )
    return state.name in known and state.status is not InstigatorStatus.STOPPED


def _failing_ticks(instance: dg.DagsterInstance, state: InstigatorState) -> Sequence[InstigatorTick]:
    """The last ticks, if all of them failed; a schedule that ticks once an hour has no time for a second."""
    limit = 1 if state.instigator_type is InstigatorType.SCHEDULE else settings().alerts.failed_ticks
    ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=limit, statuses=_DONE)
    failed = [tick for tick in ticks if tick.status is TickStatus.FAILURE]
    return failed if len(failed) == limit else []


def _tick_problem(state: InstigatorState, ticks: Sequence[InstigatorTick]) -> Problem:
    is_schedule = state.instigator_type is InstigatorType.SCHEDULE
    kind, link = "schedule" if is_schedule else "sensor", links(settings())
    error = gist(ticks[0].error.message) if ticks[0].error else "no reason is known"
    count = "The last tick" if len(ticks) == 1 else f"The last {len(ticks)} ticks"
    return Problem(
        f"tick/{state.name}",
        Severity.ERROR,
        f"{count} of the {kind} {state.name} failed: {error}",
        links=((kind.capitalize(), link.schedule(state.name) if is_schedule else link.sensor(state.name)),),
        first_action="open its ticks, mend what the error names; it goes on by itself with the next tick.",
        since_ms=round(min(tick.timestamp for tick in ticks) * 1000),
    )
