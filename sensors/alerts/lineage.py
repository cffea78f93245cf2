"""What Dagster knows of the assets around a problem."""

from collections.abc import Iterable

import dagster as dg
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph

_FEW = 200


def asset_graph(context: dg.SensorEvaluationContext) -> AssetGraph:
    """The assets of this code location."""
    repository = context.repository_def
    if repository is None:
        raise dg.DagsterInvariantViolationError("An alert sensor needs the definitions of its code location.")
    return repository.asset_graph


def downstream(graph: AssetGraph, keys: Iterable[dg.AssetKey]) -> tuple[str, ...]:
    """Assets that are made of these, the nearest first."""
    known = set(graph.get_all_asset_keys())
    begun = [key for key in keys if key in known]
    found, edge = dict.fromkeys(begun), begun
    while edge and len(found) < _FEW:
        edge = sorted({child for key in edge for child in graph.get(key).child_keys} - set(found))
        found |= dict.fromkeys(edge)
    return tuple(key.to_user_string() for key in found if key not in begun)


def owner_of(graph: AssetGraph, key: dg.AssetKey) -> str:
    """Owners of an asset, with commas; empty for an asset without one."""
    return ", ".join(graph.get(key).owners) if graph.has(key) else ""
