"""Jobs to start by hand or on a schedule."""

import dagster as dg

BATCH_GROUP = "marts"

batch_models = dg.define_asset_job(
    "batch_models",
    selection=dg.AssetSelection.groups(BATCH_GROUP) | dg.AssetSelection.all_asset_checks(),
    description="Builds the batch models (products, recommendations) and runs the dbt tests of all models.",
    executor_def=dg.in_process_executor,
)

rebuild_dbt_models = dg.define_asset_job(
    "rebuild_dbt_models",
    selection=dg.AssetSelection.groups("landing", "profiles", "pipeline", "triggers", "analytics", BATCH_GROUP),
    description="dbt build: deploys every model again and runs all tests; landing and profile states keep their rows.",
    executor_def=dg.in_process_executor,
)

check_dbt_models = dg.define_asset_job(
    "check_dbt_models",
    selection=dg.AssetSelection.all_asset_checks(),
    description="Runs the dbt tests of all models.",
    executor_def=dg.in_process_executor,
)
