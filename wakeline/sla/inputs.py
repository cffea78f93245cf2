"""What the mails of a campaign rest on: the models upstream of its trigger, and how old each of them may be."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wakeline.activation.campaigns import Campaign
from wakeline.activation.gates import MARKETING
from wakeline.sla.freshness import freshness_of, is_streamed, models_of

#: The model of what a mail needs to know of a person.
_CONTACTS = "contacts"


@dataclass(frozen=True, slots=True)
class Input:
    """A model with rows, and the age at which marketing mail does not go by them any more.

    A streamed one is as old as the oldest event that the lanes have not read; a built one as its last build.
    """

    model: str
    is_streamed: bool
    fail_after_seconds: float


def inputs_of(manifest: Mapping[str, Any], campaigns: Mapping[str, Campaign]) -> dict[str, tuple[Input, ...]]:
    """Marketing campaign -> its inputs that have a service level, by name. Raises ConfigError for a wrong meta."""
    nodes = {node["name"]: node for node in models_of(manifest)}
    return {
        name: tuple(
            Input(node["name"], is_streamed(node), freshness.fail_after_seconds)
            for node in _upstream(manifest, [nodes[campaign.trigger], nodes[_CONTACTS]])
            if (freshness := freshness_of(node))
        )
        for name, campaign in campaigns.items()
        if campaign.kind == MARKETING and campaign.trigger in nodes
    }


def stale_inputs(
    inputs: Mapping[str, Sequence[Input]], built_at_ms: Mapping[str, int], read_until_ms: int, now_ms: int
) -> dict[str, Mapping[str, Any]]:
    """Campaign -> the record of its input that is furthest beyond its service level, of those that have such.

    A table that is not known was never built: nothing can be read of it, so it holds nothing up.
    """
    found: dict[str, Mapping[str, Any]] = {}
    for campaign, own in inputs.items():
        ages = [(one, read_until_ms if one.is_streamed else built_at_ms.get(one.model, now_ms)) for one in own]
        late = [(now_ms - at_ms - one.fail_after_seconds * 1000, one, at_ms) for one, at_ms in ages]
        over = max((one for one in late if one[0] > 0), key=lambda one: one[0], default=None)
        if over:
            found[campaign] = _record(over[1], over[2])
    return found


def _record(one: Input, at_ms: int) -> Mapping[str, Any]:
    when = {"read_until_ms" if one.is_streamed else "built_at_ms": at_ms}
    return {"input": one.model, **when, "fail_after_seconds": one.fail_after_seconds}


def _upstream(manifest: Mapping[str, Any], nodes: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = {}
    waiting = [node["unique_id"] for node in nodes]
    while waiting:
        unique_id = waiting.pop()
        if unique_id in manifest["nodes"] and unique_id not in found:
            found[unique_id] = manifest["nodes"][unique_id]
            waiting += manifest["parent_map"].get(unique_id, ())
    return sorted(found.values(), key=lambda node: str(node["name"]))
