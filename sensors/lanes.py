"""Keeps one resident run per lane alive."""

import time
from functools import cache

import dagster as dg

from orchestration.check_reports import report_checks, text
from orchestration.configuration import lane_store, settings
from orchestration.lane_checks import pause_evaluation, pauses
from orchestration.resident import LANE_TAG, resident_lane
from orchestration.stream_checks import evaluation
from wakeline.clock import system_clock
from wakeline.errors import LedgerError, StreamError
from wakeline.pipeline.lanes import FIRST_LANE
from wakeline.pipeline.stream_check import check_stream
from wakeline.pipeline.supervision import Run, Verdict, supervise
from wakeline.streams.factory import open_stream
from wakeline.streams.protocol import EventStream

_IN_PROGRESS = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


@cache
def _stream() -> EventStream:
    return open_stream(settings(), system_clock)


@dg.sensor(
    job=resident_lane,
    # Dagster looks every 5 s; an interval of 5 s would leave out every look that comes a moment early.
    minimum_interval_seconds=1,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Starts a resident run when a lane has none, and a successor before its time is over.",
)
def lane_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """No run key: Dagster would never start a key again, whatever became of its run; the lease decides instead."""
    try:
        return _supervise(context)
    except LedgerError as error:
        context.log.error(str(error))
        return dg.SensorResult(skip_reason=str(error))


def _supervise(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    _report(context.instance, pause_evaluation(pauses()))
    _check_stream(context.instance)
    runs = _runs(context.instance)
    verdicts = {lane: _verdict(lane, runs.pop(lane, [])) for lane in lane_store().names()}
    # What is left are runs of lanes that there were before lane.count was lowered: nobody else looks after them.
    gone = [_verdict(lane, left) for lane, left in runs.items()]
    for verdict in [*verdicts.values(), *gone]:
        _fail_dead(context.instance, verdict)
    said = " ".join(f"Lane {lane}: {verdict.reason}" for lane, verdict in verdicts.items())
    requests = [dg.RunRequest(tags={LANE_TAG: lane}) for lane, verdict in verdicts.items() if verdict.start]
    if requests:  # As the reason to skip it is kept in the tick; here it would fill a file every five seconds.
        context.log.info(said)
    return dg.SensorResult(run_requests=requests, skip_reason=None if requests else said)


def _check_stream(instance: dg.DagsterInstance) -> None:
    """Fails the tick when the stream cannot be read, and says so in an asset check."""
    try:
        facts = check_stream(_stream(), lane_store())
    except StreamError as error:
        _report(instance, evaluation(str(error), None))
        raise
    _report(instance, evaluation("", facts))


def _report(instance: dg.DagsterInstance, found: dg.AssetCheckEvaluation) -> None:
    report_checks(instance, [found], time.time(), compare=text)


def _verdict(lane: str, runs: list[Run]) -> Verdict:
    store = lane_store()
    is_paused = lane in store.names() and store.is_paused(lane)
    return supervise(store.state(lane), runs, system_clock(), settings().lane, is_paused=is_paused)


def _runs(instance: dg.DagsterInstance) -> dict[str, list[Run]]:
    """Lane -> its runs in progress, also of lanes that there are no more."""
    found: dict[str, list[Run]] = {}
    for record in instance.get_run_records(dg.RunsFilter(job_name=resident_lane.name, statuses=_IN_PROGRESS)):
        run, created_at_ms = record.dagster_run, round(record.create_timestamp.timestamp() * 1000)
        lane = run.tags.get(LANE_TAG, FIRST_LANE)
        found.setdefault(lane, []).append(Run(run.run_id, created_at_ms, record.start_time is not None))
    return found


def _fail_dead(instance: dg.DagsterInstance, verdict: Verdict) -> None:
    for run_id in verdict.dead:
        run = instance.get_run_by_id(run_id)
        if run is not None and not run.is_finished:
            instance.report_run_failed(run, "The run let its lease expire: it hangs, or its process is gone.")
