"""Jobs to start by hand or on a schedule."""

import dagster as dg

from orchestration.configuration import KIND_TAG
from orchestration.streaming import EVENT_STREAM, LANDING, SENDS
from wakeline.sla.judging import LATENCY, QUARANTINE

BATCH_GROUP = "marts"
# Sensors look after the other checks: while a run has one before it, it would show as in progress, and not as failed.
_DBT_TESTS = (
    dg.AssetSelection.all_asset_checks()
    - dg.AssetSelection.checks_for_assets(EVENT_STREAM)
    - dg.AssetSelection.checks(dg.AssetCheckKey(LANDING, QUARANTINE), dg.AssetCheckKey(SENDS, LATENCY))
)

batch_models = dg.define_asset_job(
    "batch_models",
    selection=dg.AssetSelection.groups(BATCH_GROUP) | _DBT_TESTS,
    description="Builds the batch models (products, recommendations) and runs the dbt tests of all models.",
    executor_def=dg.in_process_executor,
    tags={KIND_TAG: "models"},
)

rebuild_dbt_models = dg.define_asset_job(
    "rebuild_dbt_models",
    selection=dg.AssetSelection.groups("landing", "profiles", "pipeline", "triggers", "analytics", BATCH_GROUP),
    description="dbt build: deploys every model again and runs all tests; landing and profile states keep their rows.",
    executor_def=dg.in_process_executor,
    tags={KIND_TAG: "models"},
)

check_dbt_models = dg.define_asset_job(
    "check_dbt_models",
    selection=_DBT_TESTS,
    description="Runs the dbt tests of all models.",
    executor_def=dg.in_process_executor,
    tags={KIND_TAG: "models"},
)
