"""The code location: what there is, in one place."""

import dagster as dg

from orchestration.dbt_models import build_dbt_assets, dbt_resource
from orchestration.jobs import batch_models, check_dbt_models, rebuild_dbt_models
from orchestration.resident import resident_lane
from orchestration.streaming import streaming_specs
from sensors.batch_models import batch_models_sensor
from sensors.lanes import lane_sensor


@dg.definitions
def definitions() -> dg.Definitions:
    return dg.Definitions(
        assets=[*streaming_specs(), build_dbt_assets()],
        jobs=[resident_lane, batch_models, rebuild_dbt_models, check_dbt_models],
        sensors=[lane_sensor, batch_models_sensor],
        resources={"dbt": dbt_resource()},
    )
