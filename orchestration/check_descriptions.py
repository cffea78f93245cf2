"""What dbt's tests check, in plain words: the checks tab is the page that says whether all is well."""

from collections.abc import Mapping
from typing import Any

_SAID = {
    "not_null": "`{column}` is never null.",
    "unique": "No two rows have the same `{column}`.",
    "accepted_values": "`{column}` is one of {values}.",
    "relationships": "Every `{column}` is a `{field}` of {to}.",
}


def test_description(node: Mapping[str, Any]) -> str:
    """The description in the YAML, else what a test that comes with dbt means, else the comment a test begins with."""
    if node.get("description"):
        return str(node["description"])
    test = node.get("test_metadata")
    if not test:
        return _first_comment(node["raw_code"]) or f"The dbt test `{node['name']}` finds no row."
    said = _SAID.get(test["name"], "The dbt test `{test}` finds no row.")
    arguments = {"field": "", "to": "", **test["kwargs"], **test["kwargs"].get("arguments", {})}
    values = ", ".join(f"`{value}`" for value in arguments.pop("values", ()))
    return said.format(test=test["name"], column=node.get("column_name") or "", values=values, **arguments)


def _first_comment(sql: str) -> str:
    first, _, _ = sql.strip().partition("\n")
    return first.removeprefix("--").strip() if first.startswith("--") else ""
