"""Looks at lanes, databases, campaigns, the collector and disks; each raises WakelineError when it cannot say."""

import shutil
from contextlib import closing
from dataclasses import replace
from functools import cache

import dagster as dg
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph

from orchestration.configuration import lane_store, settings
from orchestration.deliverability_checks import WATCH
from orchestration.reporting import STREAMED_MODELS
from orchestration.resident import LANE_TAG, resident_lane
from orchestration.streaming import EVENT_STREAM, campaign_key
from sensors.alerts.failures import failure_of
from sensors.alerts.lineage import asset_graph, downstream, owner_of
from wakeline.activation.ledger.protocol import Ledger
from wakeline.alerts.collector_look import look_at_collector
from wakeline.alerts.disk_look import Disk, look_at_disks
from wakeline.alerts.lane_look import LaneRun, lane_problem, unmended_failure
from wakeline.alerts.links import collector_url, links
from wakeline.alerts.problem import Look, Problem, Severity
from wakeline.clock import system_clock, to_iso
from wakeline.engines import open_database
from wakeline.errors import LedgerError, WarehouseError
from wakeline.pipeline.factory import open_ledger
from wakeline.pipeline.lanes import FIRST_LANE
from wakeline.warehouse.client import connect
from wakeline.warehouse.disks import free_space

#: Of each lane so many runs are looked at: the last that failed, and those that came after it.
_RUNS_OF_A_LANE = 8
#: One that hangs does not answer; Dagster cuts a tick off after a minute, and then nobody would be told.
_PATIENCE_SECONDS = 10


def look_at_lanes(context: dg.SensorEvaluationContext) -> Look:
    """Lanes that nobody processes, or whose last run failed."""
    now_ms, graph = system_clock(), asset_graph(context)
    runs = _lane_runs(context.instance)
    affected = downstream(graph, [EVENT_STREAM]) or STREAMED_MODELS
    found = []
    for lane in lane_store().names():
        failed = unmended_failure([run for run in runs if run.lane == lane], now_ms)
        error = failure_of(context.instance, failed.run_id).error if failed else ""
        found.append(lane_problem(lane, lane_store().state(lane), failed, error, now_ms, affected, links(settings())))
    return _owned(Look(tuple(problem for problem in found if problem is not None)), graph)


def _owned(look: Look, graph: AssetGraph) -> Look:
    """The same with the owner of the stream: whoever looks after it looks after what fills and reads it."""
    owner = owner_of(graph, EVENT_STREAM)
    return replace(look, problems=tuple(replace(one, owner=owner) for one in look.problems))


def _lane_runs(instance: dg.DagsterInstance) -> list[LaneRun]:
    limit = _RUNS_OF_A_LANE * len(lane_store().names())
    records = instance.get_run_records(dg.RunsFilter(job_name=resident_lane.name), limit=limit)
    return [
        LaneRun(
            record.dagster_run.run_id,
            record.dagster_run.tags.get(LANE_TAG, FIRST_LANE),
            record.dagster_run.status is dg.DagsterRunStatus.FAILURE,
            _ms(record.start_time),
            _ms(record.end_time or record.update_timestamp.timestamp()) if record.dagster_run.is_finished else None,
        )
        for record in records
    ]


def _ms(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)


def look_at_databases(context: dg.SensorEvaluationContext) -> Look:
    """Databases that do not answer: that they do not is what is looked for."""
    asked = (("warehouse", _ask_warehouse), ("ledger", _ask_ledger))
    return Look(tuple(_unanswered(name, error) for name, ask in asked if (error := ask())))


def _ask_warehouse() -> str:
    try:
        connect(settings().warehouse, patience_seconds=_PATIENCE_SECONDS).close()
    except WarehouseError as error:
        return str(error)
    return ""


def _ask_ledger() -> str:
    try:
        lane_store().state(FIRST_LANE)
    except LedgerError as error:
        return str(error)
    return ""


def _unanswered(name: str, error: str) -> Problem:
    return Problem(
        f"database/{name}",
        Severity.CRITICAL,
        error,
        affected=("every lane", "every mail", "every dbt model"),
        cause="it is down or overloaded, its disk is full, or its address or password was changed.",
        first_action="look at its log (logs/warehouse.log of the embedded ClickHouse); events wait in the stream"
        " meanwhile.",
    )


def look_at_pauses(context: dg.SensorEvaluationContext) -> Look:
    """Campaigns that are paused."""
    graph = asset_graph(context)
    return Look(
        tuple(
            Problem(
                f"pause/{name}",
                Severity.WARNING if pause["paused_by"] == WATCH else Severity.INFO,
                f"The campaign {name} is paused since {to_iso(pause['paused_at_ms'])} by {pause['paused_by']}:"
                f" {pause['reason']}",
                owner=owner_of(graph, campaign_key(name)),
                affected=(f"mails of {name}",),
                links=(("Asset", links(settings()).asset(campaign_key(name).to_user_string())),),
                first_action=f"when the reason is gone: wakeline resume {name}, or the job resume_campaign.",
                since_ms=pause["paused_at_ms"],
            )
            for name, pause in _ledger().pauses().items()
        )
    )


@cache
def _ledger() -> Ledger:
    return open_ledger(open_database(settings()), 0)  # Nothing is settled through it.


def look_at_backpressure(context: dg.SensorEvaluationContext) -> Look:
    """What the collector says of itself."""
    return _owned(look_at_collector(collector_url(settings())), asset_graph(context))


def look_at_disk(context: dg.SensorEvaluationContext) -> Look:
    """The disk of the data folder, and those of a ClickHouse elsewhere."""
    usage = shutil.disk_usage(settings().data_dir)
    disks = [Disk("data_dir", usage.free, usage.total, ("everything",))]
    if not settings().warehouse.embedded:
        with closing(connect(settings().warehouse, patience_seconds=_PATIENCE_SECONDS)) as client:
            disks += [Disk(f"warehouse/{name}", *space, ("every table",)) for name, *space in free_space(client)]
    return look_at_disks(disks, settings().alerts.min_free_percent)
