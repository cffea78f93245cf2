"""Stale assets and failed checks."""

from collections.abc import Mapping, Sequence

import dagster as dg
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph
from dagster._core.definitions.freshness import FreshnessState, FreshnessStateRecord
from dagster._core.storage.asset_check_execution_record import (
    AssetCheckExecutionRecord,
    AssetCheckExecutionRecordStatus,
)

from orchestration.configuration import settings
from sensors.alerts.lineage import asset_graph, downstream, owner_of
from wakeline.alerts.checks import text_of
from wakeline.alerts.links import links
from wakeline.alerts.problem import Look, Problem, Severity
from wakeline.alerts.text import duration
from wakeline.clock import system_clock

#: Text of a check's metadata that says what is wrong, where it has no description.
_SENTENCES = ("reason", "error")
_FIGURES = 6


def look_at_freshness(context: dg.SensorEvaluationContext) -> Look:
    """Assets that are older than their policy allows; one that was never made is none."""
    graph, now_ms = asset_graph(context), system_clock()
    keys = [key for key in graph.get_all_asset_keys() if graph.get(key).freshness_policy is not None]
    states = freshness_states(context.instance, keys)
    jobs = _jobs_of(context)
    found = [
        _stale(graph, key, since_ms, now_ms, jobs.get(key, ()))
        for key, (state, since_ms) in states.items()
        if state is FreshnessState.FAIL
    ]
    unknown = {_freshness_key(key) for key, (state, _) in states.items() if state is FreshnessState.UNKNOWN}
    return Look(tuple(found), frozenset(unknown))


def freshness_states(
    instance: dg.DagsterInstance, keys: Sequence[dg.AssetKey]
) -> dict[dg.AssetKey, tuple[FreshnessState, int]]:
    """How fresh assets are, and since when they are. Not public in Dagster: this is the only place that asks."""
    records: Mapping[dg.AssetKey, FreshnessStateRecord] = instance.get_freshness_state_records(list(keys))
    return {
        key: (record.freshness_state, round(record.updated_at.timestamp() * 1000)) for key, record in records.items()
    }


def _freshness_key(key: dg.AssetKey) -> str:
    return f"freshness/{key.to_user_string()}"


def _jobs_of(context: dg.SensorEvaluationContext) -> dict[dg.AssetKey, tuple[str, ...]]:
    """The jobs that build each asset by themselves: while one of them fails, that the asset is stale is no news."""
    found: dict[dg.AssetKey, tuple[str, ...]] = {}
    repository = context.repository_def
    if repository is None:
        return found
    started = {target.job_name for sensor in repository.sensor_defs for target in sensor.targets}
    started |= {schedule.job_name for schedule in repository.schedule_defs}
    for job in repository.get_all_jobs():
        for key in job.asset_layer.selected_asset_keys if job.name in started else ():
            found[key] = (*found.get(key, ()), f"run/{job.name}")
    return found


def _stale(graph: AssetGraph, key: dg.AssetKey, since_ms: int, now_ms: int, jobs: tuple[str, ...]) -> Problem:
    name, node = key.to_user_string(), graph.get(key)
    policy = node.freshness_policy
    window = getattr(policy, "fail_window", None)
    allowed = f" (allowed {duration(round(window.to_timedelta().total_seconds() * 1000))})" if window else ""
    return Problem(
        _freshness_key(key),
        Severity.ERROR,
        f"{name} is stale for {duration(now_ms - since_ms)}{allowed}.",
        owner=owner_of(graph, key),
        affected=downstream(graph, [key]),
        links=(("Asset", links(settings()).asset("/".join(key.path))),),
        cause="its input stands still, or what builds it does not run.",
        first_action="open the asset: its last materialization names the run that made it; start that job again.",
        since_ms=since_ms,
        because=(*jobs, *(_freshness_key(parent) for parent in _ancestors(graph, key))),
    )


def _ancestors(graph: AssetGraph, key: dg.AssetKey) -> list[dg.AssetKey]:
    """What the asset is made of: the first that is stale is told, not all that follow."""
    found: dict[dg.AssetKey, None] = {}
    edge = [key]
    while edge:
        edge = [parent for one in edge for parent in graph.get(one).parent_keys if parent not in found]
        found |= dict.fromkeys(edge)
    return list(found)


def look_at_checks(context: dg.SensorEvaluationContext) -> Look:
    """Checks that failed when they were last evaluated; of one that is being evaluated nothing is known."""
    graph = asset_graph(context)
    keys = list(graph.asset_check_keys)
    records = context.instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
    found = [_failed(graph, key, found) for key, record in records.items() if (found := _failure(record))]
    planned = AssetCheckExecutionRecordStatus.PLANNED
    unknown = {_check_key(key) for key, record in records.items() if record.status is planned}
    return Look(tuple(found), frozenset(unknown))


def _failure(record: AssetCheckExecutionRecord) -> tuple[dg.AssetCheckEvaluation, AssetCheckExecutionRecord] | None:
    event = record.event.dagster_event if record.event else None
    evaluation = event.event_specific_data if event else None
    if record.status is not AssetCheckExecutionRecordStatus.FAILED or not isinstance(
        evaluation, dg.AssetCheckEvaluation
    ):
        return None
    return evaluation, record


def _check_key(key: dg.AssetCheckKey) -> str:
    return f"check/{key.asset_key.to_user_string()}/{key.name}"


def _failed(
    graph: AssetGraph, key: dg.AssetCheckKey, found: tuple[dg.AssetCheckEvaluation, AssetCheckExecutionRecord]
) -> Problem:
    evaluation, record = found
    about, asset, link = text_of(key.name), key.asset_key.to_user_string(), links(settings())
    runs = (("Run", link.run(record.run_id)),) if record.run_id else ()
    return Problem(
        _check_key(key),
        Severity.ERROR if evaluation.severity is dg.AssetCheckSeverity.ERROR else Severity.WARNING,
        f"{key.name} of {asset} failed: {_said(evaluation)}",
        owner=owner_of(graph, key.asset_key),
        affected=downstream(graph, [key.asset_key]),
        links=(("Check", link.check("/".join(key.asset_key.path), key.name)), *runs),
        cause=about.cause,
        first_action=about.first_action,
        open_after_seconds=about.open_after_seconds,
    )


def _said(evaluation: dg.AssetCheckEvaluation) -> str:
    """Its own sentence, or the figures in its metadata."""
    if evaluation.description:
        return evaluation.description
    values = {name: value.value for name, value in evaluation.metadata.items()}
    sentences = [str(values[name]) for name in _SENTENCES if values.get(name)]
    figures = [f"{name.rpartition('/')[2]} {value}" for name, value in values.items() if isinstance(value, int | float)]
    return (sentences or [", ".join(figures[:_FIGURES])])[0] or "it gives no figures."
