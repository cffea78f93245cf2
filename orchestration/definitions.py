"""The code location: what there is, in one place."""

import dagster as dg

from orchestration.archive import archive_hours, archive_schedule, described_archive, restore_hours, s3_resource
from orchestration.campaigns import pause_campaign, resume_campaign
from orchestration.dbt_models import build_dbt_assets, dbt_resource
from orchestration.deliverability_checks import build_deliverability_checks
from orchestration.jobs import batch_models, check_dbt_models, rebuild_dbt_models
from orchestration.resident import resident_lane
from orchestration.retention import clean_up, clean_up_schedule
from orchestration.stream_checks import stream_can_be_read
from orchestration.streaming import streaming_specs
from sensors.batch_models import batch_models_sensor
from sensors.deliverability import deliverability_sensor
from sensors.lanes import lane_sensor


@dg.definitions
def definitions() -> dg.Definitions:
    return dg.Definitions(
        assets=[*streaming_specs(), build_dbt_assets(), described_archive()],
        asset_checks=[stream_can_be_read, build_deliverability_checks()],
        jobs=[
            resident_lane,
            batch_models,
            rebuild_dbt_models,
            check_dbt_models,
            archive_hours,
            restore_hours,
            pause_campaign,
            resume_campaign,
            clean_up,
        ],
        schedules=[archive_schedule, clean_up_schedule],
        sensors=[lane_sensor, batch_models_sensor, deliverability_sensor],
        resources={"dbt": dbt_resource(), "s3": s3_resource()},
    )
