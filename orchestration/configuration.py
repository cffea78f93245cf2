"""What the code location is loaded with; read once per process, not at import."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from dagster_dbt import DbtProject

from wakeline.activation.campaigns import Campaign, load_campaigns
from wakeline.engines import open_database
from wakeline.pipeline.factory import lane_store as open_lane_store
from wakeline.pipeline.lanes import LaneStore
from wakeline.pipeline.triggers import LiveModels, load_live_models
from wakeline.settings import Settings, load_settings
from wakeline.warehouse.lineage import Lineage, read_column_lineage
from wakeline.warehouse.manifest import read_manifest, target_dir

#: What a run is about, to filter runs by: stream, models, archive, campaign, lane, replay or maintenance.
KIND_TAG = "wakeline/kind"


@cache
def settings() -> Settings:
    """The settings of this process."""
    return load_settings()


@cache
def campaigns() -> dict[str, Campaign]:
    """The campaigns on disk."""
    return load_campaigns(settings().campaigns_dir)


@cache
def live_models() -> LiveModels:
    """The deployed live models."""
    return load_live_models(settings())


@cache
def lane_store() -> LaneStore:
    """Leases and offsets of the lanes."""
    return open_lane_store(settings(), open_database(settings()))


@cache
def dbt_project() -> DbtProject:
    """The dbt project with the manifest that `wakeline deploy` left."""
    dbt_dir = settings().dbt_dir
    return DbtProject(project_dir=dbt_dir, profiles_dir=dbt_dir, target_path=target_dir(settings(), "everyone"))


@cache
def manifest() -> Mapping[str, Any]:
    """dbt's manifest of the last deployment."""
    return read_manifest(settings(), "everyone")


@cache
def column_lineage() -> Lineage:
    """What columns are made of."""
    return read_column_lineage(settings())
