"""Every dbt model as an asset, its tests as checks, built by dbt's own command line."""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_dbt import DagsterDbtTranslator, DbtCliResource, DbtProject, dbt_assets

from orchestration.check_descriptions import test_description
from orchestration.columns import Sources, landing_sources, metadata, mirror_sources, model_sources, replay_sources
from orchestration.configuration import dbt_project, settings
from orchestration.streaming import EVENT_STREAM, LANDING, SENDS
from wakeline.sla.freshness import freshness_of
from wakeline.warehouse.manifest import dbt_environment, dbt_variables

#: Batch work yields to the resident run, which shares the machine with it.
_NICENESS = 10


class WakelineTranslator(DagsterDbtTranslator):
    """dbt's groups, owners and folders as Dagster shows them."""

    def get_asset_spec(self, manifest: Mapping[str, Any], unique_id: str, project: DbtProject | None) -> dg.AssetSpec:
        spec = super().get_asset_spec(manifest, unique_id, project)
        node = self.get_resource_props(manifest, unique_id)
        return spec.replace_attributes(
            group_name=node.get("group") or spec.group_name,
            owners=_owners(manifest, node) or spec.owners,
            kinds={"clickhouse", "dbt", *_materialization_kind(node)},
            freshness_policy=_freshness_policy(node),
        ).merge_attributes(metadata=metadata(_schema(spec), self._sources(manifest, unique_id)))

    def get_asset_check_spec(
        self, asset_spec: dg.AssetSpec, manifest: Mapping[str, Any], unique_id: str, project: DbtProject | None
    ) -> dg.AssetCheckSpec | None:
        spec = super().get_asset_check_spec(asset_spec, manifest, unique_id, project)
        node = manifest["nodes"][unique_id]
        return spec and spec._replace(description=test_description(node))

    def _sources(self, manifest: Mapping[str, Any], unique_id: str) -> Sources:
        columns = self.get_resource_props(manifest, unique_id)["columns"]
        written_by_the_pipeline = {
            "landing": (landing_sources, EVENT_STREAM),
            "sends": (mirror_sources, SENDS),
            "quarantine_replays": (replay_sources, LANDING),
        }
        name = self.get_resource_props(manifest, unique_id)["name"]
        if name in written_by_the_pipeline:
            sources_of, written_from = written_by_the_pipeline[name]
            return sources_of(columns, written_from)
        return model_sources(unique_id, {id_: self.get_asset_key(node) for id_, node in manifest["nodes"].items()})


def _schema(spec: dg.AssetSpec) -> dg.TableSchema:
    found: dg.TableSchema = spec.metadata.get("dagster/column_schema") or dg.TableSchema([])
    return found


def _owners(manifest: Mapping[str, Any], node: Mapping[str, Any]) -> list[str]:
    groups = {group["name"]: group["owner"]["email"] for group in manifest["groups"].values()}
    return [groups[node["group"]]] if node.get("group") in groups else []


def _materialization_kind(node: Mapping[str, Any]) -> set[str]:
    kinds = {"materialized_view": "materializedview", "view": "view", "table": "table", "incremental": "table"}
    materialized = node.get("config", {}).get("materialized", "")
    return {kinds[materialized]} if materialized in kinds else set()


def _freshness_policy(node: Mapping[str, Any]) -> dg.FreshnessPolicy | None:
    """What the model's meta promises; shorter windows are those of the check `fresh_within_sla`."""
    freshness = freshness_of(node)
    if freshness is None or freshness.is_short:
        return None
    warn_after_seconds = freshness.warn_after_seconds
    return dg.FreshnessPolicy.time_window(
        fail_window=timedelta(seconds=freshness.fail_after_seconds),
        warn_window=None if warn_after_seconds is None else timedelta(seconds=warn_after_seconds),
    )


def build_dbt_assets() -> dg.AssetsDefinition:
    """The asset definition over the deployed manifest."""
    project = dbt_project()

    @dbt_assets(manifest=project.manifest_path, project=project, dagster_dbt_translator=WakelineTranslator())
    def dbt_models(context: dg.AssetExecutionContext, dbt: DbtCliResource) -> Iterator[Any]:
        os.nice(_NICENESS)
        os.environ.update(dbt_environment(settings()))
        variables = json.dumps(dbt_variables(settings(), evaluation="everyone"))
        yield from dbt.cli(["build", "--vars", variables], context=context).stream()

    return dbt_models


def dbt_resource() -> DbtCliResource:
    """The dbt of this environment; a `dbtf` that happens to be on PATH must not be taken."""
    os.environ.update(dbt_environment(settings()))
    return DbtCliResource(project_dir=dbt_project(), dbt_executable=str(Path(sys.executable).with_name("dbt")))
