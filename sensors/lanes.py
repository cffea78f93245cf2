"""Keeps one resident run per lane alive."""

from functools import cache

import dagster as dg

from orchestration.configuration import settings
from orchestration.resident import LANE_TAG, resident_lane
from wakeline.clock import system_clock
from wakeline.database import open_database
from wakeline.pipeline.factory import LANE
from wakeline.pipeline.lanes import LaneStore
from wakeline.pipeline.supervision import Run, Verdict, supervise

_IN_PROGRESS = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


@cache
def _lane_store() -> LaneStore:
    return LaneStore(open_database(settings().ledger_path), settings().stream.name)


@dg.sensor(
    job=resident_lane,
    # Dagster looks every 5 s; an interval of 5 s would leave out every look that comes a moment early.
    minimum_interval_seconds=1,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Starts a resident run when a lane has none, and a successor before its time is over.",
)
def lane_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """No run key: Dagster would never start a key again, whatever became of its run; the lease decides instead."""
    verdict = supervise(_lane_store().state(LANE), _runs(context.instance), system_clock(), settings().lane)
    _fail_dead(context.instance, verdict)
    if not verdict.start:
        return dg.SkipReason(verdict.reason)
    context.log.info(verdict.reason)
    return dg.SensorResult(run_requests=[dg.RunRequest(tags={LANE_TAG: LANE})])


def _runs(instance: dg.DagsterInstance) -> list[Run]:
    records = instance.get_run_records(dg.RunsFilter(tags={LANE_TAG: LANE}, statuses=_IN_PROGRESS))
    return [
        Run(record.dagster_run.run_id, round(record.create_timestamp.timestamp() * 1000), record.start_time is not None)
        for record in records
    ]


def _fail_dead(instance: dg.DagsterInstance, verdict: Verdict) -> None:
    for run_id in verdict.dead:
        run = instance.get_run_by_id(run_id)
        if run is not None and not run.is_finished:
            instance.report_run_failed(run, "The run let its lease expire: it hangs, or its process is gone.")
