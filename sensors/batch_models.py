"""Builds the batch models when their input has changed."""

from datetime import timedelta

import dagster as dg

from orchestration.configuration import settings
from orchestration.jobs import batch_models

_INPUT = dg.AssetKey("product_states")
_OUTPUT = dg.AssetKey("product_recommendations")


@dg.sensor(
    job=batch_models,
    minimum_interval_seconds=1,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Starts the batch models when profiles have changed since they were built, at most every few minutes.",
)
def batch_models_sensor(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    changed = _last_materialized(context.instance, _INPUT)
    if changed is None:
        return dg.SkipReason("No profile has changed yet.")
    built = _last_materialized(context.instance, _OUTPUT)
    if built is not None and changed < built + timedelta(minutes=settings().dagster.batch_minutes).total_seconds():
        return dg.SkipReason("The batch models are as new as they need to be.")
    if _in_progress(context.instance):
        return dg.SkipReason("The batch models are being built.")
    return dg.RunRequest()


def _last_materialized(instance: dg.DagsterInstance, key: dg.AssetKey) -> float | None:
    event = instance.get_latest_materialization_event(key)
    return None if event is None else event.timestamp


def _in_progress(instance: dg.DagsterInstance) -> bool:
    unfinished = [
        dg.DagsterRunStatus.QUEUED,
        dg.DagsterRunStatus.NOT_STARTED,
        dg.DagsterRunStatus.STARTING,
        dg.DagsterRunStatus.STARTED,
    ]
    return instance.get_runs_count(dg.RunsFilter(job_name=batch_models.name, statuses=unfinished)) > 0
