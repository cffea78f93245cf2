"""Builds the batch models when their input has changed, and so often that they keep their service level."""

from contextlib import closing
from functools import cache

import dagster as dg

from orchestration.configuration import settings
from orchestration.jobs import BATCH_GROUP, batch_models
from wakeline.clock import system_clock
from wakeline.errors import WakelineError
from wakeline.sla.freshness import freshness_of, models_of
from wakeline.sla.measuring import last_customer_ms
from wakeline.warehouse.client import connect
from wakeline.warehouse.manifest import read_manifest

_OUTPUT = dg.AssetKey("product_recommendations")


@dg.sensor(
    job=batch_models,
    minimum_interval_seconds=1,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Starts the batch models when profiles have changed since they were built, at most every few minutes,"
    " and before they miss their service level.",
)
def batch_models_sensor(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    built = context.instance.get_latest_materialization_event(_OUTPUT)
    built_ms = 0 if built is None else round(built.timestamp * 1000)
    if system_clock() < built_ms + settings().dagster.batch_minutes * 60_000:
        return dg.SkipReason("The batch models are as new as they need to be.")
    if _in_progress(context.instance):
        return dg.SkipReason("The batch models are being built.")
    try:
        with closing(connect(settings().warehouse)) as client:
            changed_ms = last_customer_ms(client)
    except WakelineError as error:
        context.log.error(str(error))
        return dg.SkipReason(str(error))
    if changed_ms <= built_ms and system_clock() < built_ms + _longest_ms():
        return dg.SkipReason("No profile has changed since the batch models were built.")
    return dg.RunRequest() if changed_ms else dg.SkipReason("No profile has changed yet.")


@cache
def _longest_ms() -> float:
    """Half of the shortest window in which a batch model must be built, however quiet it is."""
    nodes = [node for node in models_of(read_manifest(settings(), "everyone")) if node.get("group") == BATCH_GROUP]
    found = [one.warn_after_seconds or one.fail_after_seconds for node in nodes if (one := freshness_of(node))]
    return min(found, default=float("inf")) * 1000 / 2


def _in_progress(instance: dg.DagsterInstance) -> bool:
    unfinished = [
        dg.DagsterRunStatus.QUEUED,
        dg.DagsterRunStatus.NOT_STARTED,
        dg.DagsterRunStatus.STARTING,
        dg.DagsterRunStatus.STARTED,
    ]
    return instance.get_runs_count(dg.RunsFilter(job_name=batch_models.name, statuses=unfinished)) > 0
