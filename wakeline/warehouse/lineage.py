"""Which columns a model's columns are made of, read from the SQL that dbt has compiled.

Computed at deployment, where dbt's import takes seconds anyway, and kept beside the manifest: the code location only
reads it. See docs/decisions/0020-what-dagster-keeps.md for what sqlglot cannot read.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wakeline.settings import Settings
from wakeline.warehouse.manifest import read_manifest, target_dir

#: A column of a model, by the model's unique id.
Column = tuple[str, str]
#: Column -> the columns it is made of.
Columns = dict[str, list[Column]]
#: The same of each model, by its unique id.
Lineage = dict[str, Columns]

_DIALECT = "clickhouse"
# sqlglot reads `groupArraySorted(4) ((a, b))` only without the parameter, which is no column.
_PARAMETER = re.compile(r"\b(\w+)\(\d+\)\s*\(")


def write_column_lineage(settings: Settings) -> dict[str, str]:
    """Write what is found beside the manifest, unless the models are the same; model -> why it cannot be read."""
    manifest = read_manifest(settings, "everyone")
    version = _version(manifest)
    if _read(settings).get("version") == version:
        return {}
    found, unread = column_lineage(manifest)
    _path(settings).write_text(json.dumps({"version": version, "lineage": found}), encoding="utf-8")
    return unread


def read_column_lineage(settings: Settings) -> Lineage:
    """What the last deployment has found; nothing where there was none."""
    found: Lineage = _read(settings).get("lineage", {})
    return found


def _read(settings: Settings) -> dict[str, Any]:
    try:
        return dict(json.loads(_path(settings).read_bytes()))
    except FileNotFoundError:
        return {}


def _version(manifest: Mapping[str, Any]) -> str:
    nodes = manifest["nodes"].items()
    read = {name: (node.get("compiled_code"), sorted(node["columns"])) for name, node in nodes if "columns" in node}
    return hashlib.sha256(json.dumps(read, sort_keys=True).encode()).hexdigest()


def column_lineage(manifest: Mapping[str, Any]) -> tuple[Lineage, dict[str, str]]:
    """The lineage of every model by its unique id, and of those that cannot be read the reason."""
    from sqlglot.errors import SqlglotError  # Half a second, which only a deployment has.

    found: Lineage = {}
    unread: dict[str, str] = {}
    for unique_id, node in manifest["nodes"].items():
        if node["resource_type"] == "model" and node.get("compiled_code"):
            try:
                found[unique_id] = _lineage_of(manifest, node)
            except (SqlglotError, ValueError, RecursionError) as error:
                unread[unique_id] = str(error).splitlines()[0]
    return found, unread


def _lineage_of(manifest: Mapping[str, Any], node: Mapping[str, Any]) -> Columns:
    from sqlglot import parse_one
    from sqlglot.lineage import lineage
    from sqlglot.optimizer.qualify import qualify
    from sqlglot.optimizer.scope import build_scope

    parents = _parents(manifest, node)
    if not parents:
        return {column: [] for column in node["columns"]}
    schema = {node["schema"]: {name: dict.fromkeys(one["columns"], "UNKNOWN") for name, one in parents.items()}}
    options: dict[str, Any] = {"schema": schema, "dialect": _DIALECT}
    written = parse_one(_PARAMETER.sub(r"\1(", node["compiled_code"]), dialect=_DIALECT)
    joined = _joined(written)
    tree: Any = qualify(written, validate_qualify_columns=False, **options)
    scope = build_scope(tree)
    return {
        column: _leaves(lineage(column, tree, scope=scope, **options), parents, joined) for column in tree.named_selects
    }


def _leaves(root: Any, parents: Mapping[str, Mapping[str, Any]], joined: Mapping[str, list[str]]) -> list[Column]:
    """The parents' columns at the end of a column's lineage."""
    from sqlglot import exp

    found: set[Column] = set()
    for leaf in root.walk():
        table = leaf.expression.find(exp.Table)
        if leaf.downstream or not table or table.name not in parents:
            continue
        parent, name = parents[table.name], exp.to_column(leaf.name).name
        names = [name] if name in parent["columns"] else joined.get(name, [])
        found |= {(parent["unique_id"], one) for one in names if one in parent["columns"]}
    return sorted(found)


def _joined(tree: Any) -> dict[str, list[str]]:
    """What ARRAY JOIN calls an element -> the columns of its array; sqlglot takes these names for columns."""
    from sqlglot import exp

    joins = (join for join in tree.find_all(exp.Join) if join.args.get("kind") == "ARRAY")
    elements = (one for join in joins for one in (join.this, *join.expressions) if isinstance(one, exp.Alias))
    return {one.alias: [column.name for column in one.find_all(exp.Column)] for one in elements}


def _parents(manifest: Mapping[str, Any], node: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Name -> the models that it selects from; what the pipeline writes selects from nothing."""
    names = node["depends_on"]["nodes"]
    return {manifest["nodes"][id_]["name"]: manifest["nodes"][id_] for id_ in names if id_ in manifest["nodes"]}


def _path(settings: Settings) -> Path:
    return target_dir(settings, "everyone") / "column_lineage.json"
