"""The models behind landing that are filled by its inserts, as the dbt project's manifest has them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wakeline.errors import ConfigError

LANDING = "landing"
#: What is never rebuilt: landing, and what may know more than it still has: message ids, and traffic by the minute.
_KEPT_FOLDER = "models/landing/"


@dataclass(frozen=True, slots=True)
class Chain:
    """The models to rebuild, and those that must be filled on the way to them, each by name, in order."""

    models: tuple[str, ...]
    on_the_way: tuple[str, ...]

    @property
    def all(self) -> tuple[str, ...]:
        return (*self.on_the_way, *self.models)


def chain_of(manifest: Mapping[str, Any], wanted: Sequence[str] = ()) -> Chain:
    """What a rebuild of the wanted models takes; of all of them when none is named.

    Raises ConfigError for a name that is no such model.
    """
    parents = _parents(manifest)
    unknown = [name for name in wanted if name not in parents]
    if unknown:
        raise ConfigError(
            f"There is no model '{unknown[0]}' to rebuild; known are {', '.join(sorted(parents))}. Others keep no rows"
            " of their own, or are built by dbt as a whole."
        )
    models = set(wanted or parents)
    needed = _ancestors(models, parents)
    return Chain(tuple(sorted(models)), tuple(sorted(needed - models)))


def _parents(manifest: Mapping[str, Any]) -> dict[str, set[str]]:
    """Name of each model that a view fills -> those of its parents that are filled so."""
    views = {key: node for key, node in manifest["nodes"].items() if _is_filled_by_a_view(node)}
    nodes = {key: node for key, node in views.items() if _is_behind_landing(key, manifest, views)}
    return {
        node["name"]: {nodes[parent]["name"] for parent in node["depends_on"]["nodes"] if parent in nodes}
        for node in nodes.values()
    }


def _is_behind_landing(key: str, manifest: Mapping[str, Any], views: Mapping[str, Any]) -> bool:
    """Others are filled by inserts into other tables, such as the copy of the ledger."""
    parents = manifest["nodes"][key]["depends_on"]["nodes"]
    names = {manifest["nodes"][parent]["name"] for parent in parents if parent in manifest["nodes"]}
    return LANDING in names or any(_is_behind_landing(one, manifest, views) for one in parents if one in views)


def _is_filled_by_a_view(node: Mapping[str, Any]) -> bool:
    return (
        node["resource_type"] == "model"
        and node["config"]["materialized"] == "materialized_view"
        and not node["original_file_path"].startswith(_KEPT_FOLDER)
    )


def _ancestors(models: Iterable[str], parents: Mapping[str, set[str]]) -> set[str]:
    found = set(models)
    while new := {parent for name in found for parent in parents[name]} - found:
        found |= new
    return found
