"""The models behind landing that are filled by its inserts, as the dbt project's manifest has them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wakeline.errors import ConfigError

LANDING = "landing"


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
    """Name of each model that inserts into landing fill -> those of its parents that they fill as well."""
    views = {key: node for key, node in manifest["nodes"].items() if _is_rebuilt(node)}
    filled = {key for key, node in manifest["nodes"].items() if node["name"] == LANDING}
    while new := {key for key, node in views.items() if filled & set(node["depends_on"]["nodes"])} - filled:
        filled |= new
    return {
        node["name"]: {views[parent]["name"] for parent in node["depends_on"]["nodes"] if parent in views}
        for key, node in views.items()
        if key in filled
    }


def _is_rebuilt(node: Mapping[str, Any]) -> bool:
    """Not what knows more than landing still has: the memory of message ids, and how much traffic was usual."""
    if node["resource_type"] != "model" or node["config"]["materialized"] != "materialized_view":
        return False
    return not node["config"].get("meta", {}).get("wakeline", {}).get("outlives_landing", False)


def _ancestors(models: Iterable[str], parents: Mapping[str, set[str]]) -> set[str]:
    found = set(models)
    while new := {parent for name in found for parent in parents[name]} - found:
        found |= new
    return found
