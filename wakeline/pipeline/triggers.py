"""Trigger models as the pipeline sees them: compiled SQL, its hash, and the contract of its columns."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wakeline.errors import ConfigError
from wakeline.settings import Settings
from wakeline.warehouse.manifest import read_manifest

#: Every trigger model returns these; what else it returns is the context of the mail.
CONTRACT_COLUMNS = ("profile_id", "occurrence_key", "occurred_at", "expires_at")

_TRIGGER_FOLDER = "models/triggers/"


@dataclass(frozen=True, slots=True)
class LiveModel:
    """A model compiled for micro-batches: SQL with the parameters and tables of `wakeline.warehouse.evaluation`."""

    name: str
    path: str
    sql: str

    @property
    def definition_hash(self) -> str:
        """Identifies the definition that a send was decided by."""
        return hashlib.sha256(self.sql.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class LiveModels:
    """What a lane asks the warehouse: who is a candidate, what fired, how to reach the person, who was looked at."""

    candidates: LiveModel
    contacts: LiveModel
    looks: LiveModel
    triggers: tuple[LiveModel, ...]


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One row of a trigger: something that happened to a profile, identified by business facts."""

    trigger: str
    trigger_hash: str
    profile_id: str
    occurrence_key: str
    occurred_at_ms: int
    expires_at_ms: int
    context: Mapping[str, Any]


def load_live_models(settings: Settings) -> LiveModels:
    """The live models of the last deployment. Raises ConfigError when nothing is deployed."""
    return live_models(read_manifest(settings, "live"))


def live_models(manifest: Mapping[str, Any]) -> LiveModels:
    """The live models of a dbt manifest, triggers by name."""
    live = {
        node["name"]: LiveModel(node["name"], f"dbt_project/{node['original_file_path']}", node["compiled_code"])
        for node in manifest["nodes"].values()
        if node["resource_type"] == "model" and _is_live(node)
    }
    triggers = (model for model in live.values() if model.path.startswith(f"dbt_project/{_TRIGGER_FOLDER}"))
    try:
        in_order = tuple(sorted(triggers, key=lambda model: model.name))
        return LiveModels(live["candidates"], live["contacts"], live["looks"], in_order)
    except KeyError as missing:
        raise ConfigError(f"The dbt project has no model {missing} with the tag 'live'; restore it.") from missing


def _is_live(node: Mapping[str, Any]) -> bool:
    return "live" in node["tags"] and bool(node.get("compiled_code"))
