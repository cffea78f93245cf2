"""Column schemas and column lineage, as Dagster shows them; those of dbt's models are in the manifest and beside it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import dagster as dg

from orchestration.configuration import column_lineage, manifest
from wakeline.database import sends

Metadata = Mapping[str, Any]
#: Column -> the columns it is made of, as (asset, column).
Sources = Mapping[str, Iterable[tuple[dg.AssetKey, str]]]

#: What of landing is the stream's own; everything else is read from the envelope.
_OF_THE_STREAM = ("partition", "offset", "appended_at")
_OF_THE_SETTINGS = ("stream", "schema_version")
_PLACE = ("stream", "partition", "offset")
_LANDING = "model.wakeline.landing"


def schema(*columns: tuple[str, str, str | None]) -> dg.TableSchema:
    """Columns as (name, type, description)."""
    return dg.TableSchema([dg.TableColumn(*column) for column in columns])


def metadata(columns: dg.TableSchema, sources: Sources) -> Metadata:
    """Columns and what they are made of.

    The open-source UI shows no column lineage, only Dagster's API has it: so it stands in the descriptions as well.
    """
    deps = {
        name: [dg.TableColumnDep(asset_key=key, column_name=of) for key, of in made_of]
        for name, made_of in sources.items()
    }
    described = [dg.TableColumn(one.name, one.type, _description(one, deps)) for one in columns.columns]
    return {
        "dagster/column_schema": dg.TableSchema(described),
        **({"dagster/column_lineage": dg.TableColumnLineage(deps_by_column=deps)} if deps else {}),
    }


def sends_columns() -> Sequence[tuple[str, str, str | None]]:
    """The ledger's columns."""
    return [(column.name, str(column.type), column.comment) for column in sends.columns]


def landing_sources(columns: Iterable[str], stream: dg.AssetKey) -> Sources:
    """Landing is written by the pipeline, which dbt does not see."""
    return {
        name: [] if name in _OF_THE_SETTINGS else [(stream, name if name in _OF_THE_STREAM else "value")]
        for name in columns
    }


def mirror_sources(columns: Iterable[str], ledger: dg.AssetKey) -> Sources:
    """So is the copy of the ledger."""
    known = sends.columns.keys()
    return {name: [(ledger, name if name in known else f"{name}_ms")] for name in columns}


def replay_sources(columns: Iterable[str], landing: dg.AssetKey) -> Sources:
    """And what was replayed of quarantine, which is known by its place in landing."""
    return {name: [(landing, name)] if name in _PLACE else [] for name in columns}


def archive_columns() -> Metadata:
    """A file of the archive has the columns of landing."""
    columns = manifest()["nodes"][_LANDING]["columns"]
    described = schema(*((name, one["data_type"], one["description"]) for name, one in columns.items()))
    return metadata(described, {name: [(dg.AssetKey("landing"), name)] for name in columns})


def model_sources(unique_id: str, key_of: Mapping[str, dg.AssetKey]) -> Sources:
    """What the deployment has read from the SQL of a model."""
    found = column_lineage().get(unique_id, {})
    return {column: [(key_of[model], name) for model, name in of] for column, of in found.items()}


def _description(column: dg.TableColumn, deps: Mapping[str, Sequence[dg.TableColumnDep]]) -> str | None:
    names = (f"`{dep.asset_key.to_user_string()}.{dep.column_name}`" for dep in deps.get(column.name, ()))
    made_of = ", ".join(names)
    return " ".join(filter(None, (column.description, made_of and f"From {made_of}."))) or None
