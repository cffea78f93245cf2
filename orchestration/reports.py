"""Turns the totals of micro-batches into what Dagster shows.

An event costs Dagster some kilobytes, twice on SQLite, and is kept for days: so the two assets that people look at are
reported often, and all others seldom. See docs/decisions/0020-what-dagster-keeps.md.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import dagster as dg

from orchestration.streaming import EVENT_STREAM, MIRROR, SENDS, campaign_key
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
from wakeline.pipeline.percentiles import percentiles
from wakeline.pipeline.reporting import Report
from wakeline.pipeline.triggers import LiveModels
from wakeline.pipeline.warnings import Warnings

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
_STATUSES = ("accepted", "duplicate", "quarantined")

Metadata = Mapping[str, dg.MetadataValue | int | float | str]


def figures(report: Report, lag_seconds: float) -> Iterator[dg.AssetMaterialization]:
    """What people look at: how much came in and how late, and what became of sends."""
    if report.rows:
        yield dg.AssetMaterialization("landing", metadata=_landing(report, lag_seconds))
    if report.sends:
        yield dg.AssetMaterialization(SENDS, metadata=_sends(report))


def states(report: Report, streamed_models: Sequence[str]) -> Iterator[dg.AssetMaterialization]:
    """An event for each other asset that the batches changed; assets they did not touch age, as they should.

    Heartbeats change no profile. But a batch is inserted into all streamed models or into none, so each batch proves
    that all of them are up to date: they age when none arrives, and not because there was no customer.
    """
    if report.rows:
        yield dg.AssetMaterialization(EVENT_STREAM, metadata=_stream(report))
        for model in streamed_models:
            yield dg.AssetMaterialization(model, metadata={"events": report.accepted_of_customers})
    for campaign in report.campaigns:
        yield dg.AssetMaterialization(campaign_key(campaign), metadata=_sends(report, campaign))
    if report.copied:
        yield dg.AssetMaterialization(MIRROR, metadata={"copied": report.copied})


def deployed_views(models: LiveModels) -> Iterator[dg.AssetMaterialization]:
    """Said once per run: views hold no rows, what can change of them is their definition."""
    for model in (models.candidates, models.contacts, models.looks, *models.triggers):
        yield dg.AssetMaterialization(model.name, metadata={"definition_hash": model.definition_hash})
    for name in MERGED_VIEWS:
        yield dg.AssetMaterialization(name)


def story(report: Report, warnings: Warnings, ended: str) -> Metadata:
    """A whole run in a few lines, for its page."""
    sends = Counter[str]()
    for (_, state, _), count in report.sends.items():
        sends[state] += count
    # Dagster's page shows the first seven, the rest at a click.
    told = {
        "ended": ended,
        "last_warning": warnings.last or "none",
        "batches": report.batches,
        "received": report.rows,
        "quarantined": report.statuses["quarantined"],
        SENT: sends[SENT],
        SKIPPED: sends[SKIPPED],
    }
    counted = {
        **{status: report.statuses[status] for status in _STATUSES},
        **{state: sends[state] for state in _STATES},
    }
    return {**told, **counted, "events_per_second": report.events_per_second, "warnings": warnings.count}


def _stream(report: Report) -> Metadata:
    offsets = {str(partition): end for partition, end in sorted(report.offsets.items())}
    return {"events": report.rows, "offsets": dg.MetadataValue.json(offsets)}


def _landing(report: Report, lag_seconds: float) -> Metadata:
    newest = {"max_occurred_at": dg.MetadataValue.timestamp(report.max_occurred_at_ms / 1000)}
    return {
        "received": report.rows,
        **{status: report.statuses[status] for status in _STATUSES},
        "heartbeats": report.heartbeats,
        "batches": report.batches,
        "events_per_second": report.events_per_second,
        "lag_seconds": lag_seconds,
        **{f"latency_{name}_ms": value for name, value in percentiles(report.latencies_ms).items()},
        **(newest if report.max_occurred_at_ms else {}),
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
