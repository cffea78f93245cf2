"""`wakeline campaigns`: which campaign runs, which is paused and why, and what became of its sends."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

from wakeline.activation.campaigns import Campaign, load_campaigns
from wakeline.activation.ledger.summary import SKIP, Counts, Summary, skips
from wakeline.clock import Clock, to_iso
from wakeline.engines import open_database
from wakeline.pipeline.factory import open_ledger
from wakeline.settings import Settings

_HOUR_MS = 3_600_000
STATES = ("sent", "deferred", "held", "retry", "unknown", "failed")


def build_overview(settings: Settings, hours: float, clock: Clock) -> list[dict[str, Any]]:
    """One entry per campaign, by name: those on disk, and those the ledger still has something of.

    Counts are of the last hours, but for what waits (deferred, held, retry): that is everything that waits now.
    """
    campaigns = load_campaigns(settings.campaigns_dir)
    database = open_database(settings)
    try:
        pauses = open_ledger(database, 0).pauses()
        counts = Summary(database).counts(clock() - round(hours * _HOUR_MS))
    finally:
        database.dispose()
    names = sorted({*campaigns, *pauses, *counts})
    return [_entry(name, campaigns.get(name), pauses.get(name), counts.get(name, {})) for name in names]


def _entry(
    name: str, campaign: Campaign | None, pause: Mapping[str, Any] | None, counts: dict[str, int]
) -> dict[str, Any]:
    return {
        "campaign": name,
        "class": campaign.kind if campaign else None,
        "trigger": campaign.trigger if campaign else None,
        "state": "paused" if pause else "running" if campaign else "removed",
        "paused_at": to_iso(pause["paused_at_ms"]) if pause else None,
        "paused_by": pause["paused_by"] if pause else None,
        "pause_reason": pause["reason"] if pause else None,
        **{state: counts.get(state, 0) for state in STATES},
        "skipped": skips(counts),
    }


def overview_tables(entries: Sequence[Mapping[str, Any]], hours: float) -> list[Table | str]:
    """The same for a terminal: the campaigns, who paused which, and their sends."""
    table = Table(title="Campaigns", title_justify="left")
    for name in ("campaign", "class", "trigger", "state"):
        table.add_column(name, overflow="fold")
    for entry in entries:
        table.add_row(*(escape(entry[name] or "-") for name in ("campaign", "class", "trigger", "state")))
    counts = {entry["campaign"]: {**{name: entry[name] for name in STATES}, **_skipped(entry)} for entry in entries}
    sends = sends_table(counts, f"Sends ({hours:g} h)")
    none = f"No mail was decided on in the last {hours:g} hours, and none waits."
    pauses = [_pause(entry) for entry in entries if entry["state"] == "paused"]
    return [table, *pauses, sends if sends.rows else none]


def _pause(entry: Mapping[str, Any]) -> str:
    since = f"since {entry['paused_at']} by {entry['paused_by']}: {entry['pause_reason']}"
    return escape(f"{entry['campaign']} is paused {since}")


def _skipped(entry: Mapping[str, Any]) -> dict[str, int]:
    return {f"{SKIP}{reason}": count for reason, count in entry["skipped"].items()}


def sends_table(counts: Counts, title: str = "Sends") -> Table:
    """Sends by campaign and state, for a terminal; what there is none of is left out."""
    table = Table(title=title, title_justify="left")
    for name in ("campaign", "state"):
        table.add_column(name, overflow="fold")
    table.add_column("count", justify="right")
    for campaign, states in sorted(counts.items()):
        for state, count in sorted(states.items()):
            if count:
                table.add_row(escape(campaign), escape(state), f"{count:,}")
    return table
