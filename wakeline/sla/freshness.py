"""What the YAML of a dbt model promises of its age: `meta: freshness:`."""

from collections.abc import Iterator, Mapping
from typing import Any, Self

from pydantic import Field, ValidationError, model_validator

from wakeline.errors import ConfigError
from wakeline.section import Section

#: Dagster's freshness policies take no shorter window: a shorter one is judged by the check `fresh_within_sla`.
SHORTEST_POLICY_SECONDS = 60.0

_STREAMED = ("materialized_view", "incremental")
_KEY = "freshness"


class Freshness(Section):
    """For how long a model may have been without news before it is late, and before it fails its service level."""

    warn_after_seconds: float | None = Field(None, gt=0, allow_inf_nan=False)
    fail_after_seconds: float = Field(gt=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _warns_first(self) -> Self:
        if self.warn_after_seconds is not None and self.warn_after_seconds >= self.fail_after_seconds:
            raise ValueError("fail_after_seconds must be more than warn_after_seconds")
        return self

    @property
    def is_short(self) -> bool:
        """Whether a freshness policy of Dagster cannot say it."""
        return (self.warn_after_seconds or self.fail_after_seconds) < SHORTEST_POLICY_SECONDS


def freshness_of(node: Mapping[str, Any]) -> Freshness | None:
    """What the meta of a model of dbt's manifest says; None where it says nothing, and of views, which hold no rows.

    Raises ConfigError naming the model's file and the key.
    """
    declared = node["config"].get("meta", {}).get(_KEY)
    if declared is None or not holds_rows(node):
        return None
    try:
        return Freshness.model_validate(declared)
    except ValidationError as error:
        raise ConfigError(_sentence(node, error)) from error


def all_freshness(manifest: Mapping[str, Any]) -> dict[str, Freshness]:
    """Model -> what its meta says, of those where it says something. Raises ConfigError, as above."""
    found = {node["name"]: freshness_of(node) for node in models_of(manifest)}
    return {name: freshness for name, freshness in found.items() if freshness is not None}


def models_of(manifest: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The models of dbt's manifest."""
    return (node for node in manifest["nodes"].values() if node["resource_type"] == "model")


def holds_rows(node: Mapping[str, Any]) -> bool:
    """Whether a model has rows of its own that can age."""
    return is_streamed(node) or node["config"].get("materialized") == "table"


def is_streamed(node: Mapping[str, Any]) -> bool:
    """Whether the insert of a micro-batch fills the model; the others are built by dbt."""
    return node["config"].get("materialized") in _STREAMED


def _sentence(node: Mapping[str, Any], error: ValidationError) -> str:
    file = str(node.get("patch_path") or node["original_file_path"]).partition("://")[2] or node["original_file_path"]
    first = error.errors()[0]
    key = ".".join(str(part) for part in (_KEY, *first["loc"]))
    reasons = {"extra_forbidden": "is not a key; remove it", "missing": "is missing; add it"}
    reason = reasons.get(first["type"], f"is wrong: {first['msg'].removeprefix('Value error, ')}")
    return f"dbt_project/{file}: model {node['name']}: meta key '{key}' {reason} (there, or in dbt_project.yml)."
