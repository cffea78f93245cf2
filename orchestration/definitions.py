"""The code location: what there is, in one place."""

import dagster as dg

from orchestration.archive import archive_hours, archive_schedule, described_archive, restore_hours, s3_resource
from orchestration.campaigns import pause_campaign, resume_campaign
from orchestration.dbt_models import build_dbt_assets, dbt_resource
from orchestration.deliverability_checks import build_deliverability_checks
from orchestration.jobs import batch_models, check_dbt_models, rebuild_dbt_models
from orchestration.lane_checks import no_lane_is_paused
from orchestration.lane_jobs import drain_and_stop, pause_lane, resume_lane
from orchestration.rebuilding import rebuild_profiles
from orchestration.replay_jobs import reactivate_window, replay_quarantine, reset_lane, withdraw_reactivation
from orchestration.resident import resident_lane
from orchestration.retention import clean_up, clean_up_schedule
from orchestration.sla_checks import build_sla_checks
from orchestration.stream_checks import stream_can_be_read
from orchestration.streaming import streaming_specs
from sensors.alerts.build import build_alert_sensors
from sensors.batch_models import batch_models_sensor
from sensors.deliverability import deliverability_sensor
from sensors.lanes import lane_sensor
from sensors.sla import sla_sensor


@dg.definitions
def definitions() -> dg.Definitions:
    return dg.Definitions(
        asset_checks=[stream_can_be_read, no_lane_is_paused, build_deliverability_checks(), build_sla_checks()],
        assets=[*streaming_specs(), build_dbt_assets(), described_archive()],
        jobs=[
            resident_lane,
            batch_models,
            rebuild_dbt_models,
            check_dbt_models,
            archive_hours,
            restore_hours,
            pause_campaign,
            resume_campaign,
            rebuild_profiles,
            pause_lane,
            resume_lane,
            drain_and_stop,
            reactivate_window,
            withdraw_reactivation,
            replay_quarantine,
            reset_lane,
            clean_up,
        ],
        schedules=[archive_schedule, clean_up_schedule],
        sensors=[lane_sensor, batch_models_sensor, deliverability_sensor, sla_sensor, *build_alert_sensors()],
        resources={"dbt": dbt_resource(), "s3": s3_resource()},
    )
