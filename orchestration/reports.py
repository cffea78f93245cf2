"""Turns the totals of micro-batches into what Dagster shows: one materialization per asset and report."""

from collections.abc import Iterator, Mapping, Sequence

import dagster as dg

from orchestration.streaming import EVENT_STREAM, SENDS, campaign_key
from wakeline.activation.gates import DEFERRED, GATES, HELD
from wakeline.activation.ledger.states import (
    CLAIMED,
    FAILED,
    MISSING_VARIABLE,
    RETRY,
    SENT,
    SKIPPED,
    UNKNOWN,
)
from wakeline.clock import to_iso
from wakeline.pipeline.percentiles import percentiles
from wakeline.pipeline.reporting import Report
from wakeline.pipeline.triggers import LiveModels

#: Profile models that are views over the states.
MERGED_VIEWS = (
    "profile_members",
    "persons",
    "person_categories",
    "person_products",
    "person_sessions",
    "person_emails",
    "person_orders",
)

#: What is counted of sends.
_STATES = (CLAIMED, SENT, SKIPPED, DEFERRED, HELD, RETRY, UNKNOWN, FAILED)
#: A gate that never skips has no count of skips.
_ONLY_WAITS = ("quiet_hours", "stale_inputs", "campaign_paused", "restored_ledger")
_SKIP_REASONS = (*(gate.__name__ for gate in GATES if gate.__name__ not in _ONLY_WAITS), MISSING_VARIABLE)

Metadata = Mapping[str, dg.MetadataValue | int | float | str]


def materializations(report: Report, streamed_models: Sequence[str]) -> Iterator[dg.AssetMaterialization]:
    """An event per asset that the batches changed; assets they did not touch age, as they should."""
    if report.rows:
        yield dg.AssetMaterialization(EVENT_STREAM, metadata=_offsets(report))
        yield dg.AssetMaterialization("landing", metadata={**_landing(report), **_offsets(report)})
    if report.statuses["accepted"]:
        for model in streamed_models:
            yield dg.AssetMaterialization(model, metadata=_profiles(report))
    for campaign in report.campaigns:
        yield dg.AssetMaterialization(campaign_key(campaign), metadata=_sends(report, campaign))
    if report.sends:
        yield dg.AssetMaterialization(SENDS, metadata=_sends(report))


def deployed_views(models: LiveModels) -> Iterator[dg.AssetMaterialization]:
    """Said once per run: views hold no rows, what can change of them is their definition."""
    for model in (models.candidates, models.contacts, *models.triggers):
        yield dg.AssetMaterialization(model.name, metadata={"definition_hash": model.definition_hash})
    for name in MERGED_VIEWS:
        yield dg.AssetMaterialization(name)


def _offsets(report: Report) -> Metadata:
    return {f"offset_p{partition}": end for partition, end in sorted(report.offsets.items())}


def _landing(report: Report) -> Metadata:
    return {
        "received": report.rows,
        **{status: report.statuses[status] for status in ("accepted", "duplicate", "quarantined")},
        "batches": report.batches,
        **{f"latency_{name}_ms": value for name, value in percentiles(report.latencies_ms).items()},
        "max_occurred_at": dg.MetadataValue.timestamp(report.max_occurred_at_ms / 1000),
    }


def _profiles(report: Report) -> Metadata:
    return {
        "events": report.statuses["accepted"],
        "batches": report.batches,
        "max_occurred_at": to_iso(report.max_occurred_at_ms),
    }


def _sends(report: Report, campaign: str | None = None) -> Metadata:
    """The same names every time, of a campaign or of all: Dagster draws a line only through numbers that are there."""
    counts = dict.fromkeys((*_STATES, *(f"{SKIPPED}_{reason}" for reason in _SKIP_REASONS)), 0)
    for (name, state, reason), count in report.sends.items():
        if campaign in (None, name):
            counts[state] += count
            if reason:
                counts[f"{SKIPPED}_{reason}"] += count
    return counts
