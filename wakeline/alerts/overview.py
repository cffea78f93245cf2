"""What `wakeline alerts` shows: what is open, what was told, how the channels fare."""

from collections.abc import Collection
from typing import Any

from rich.table import Table
from rich.text import Text

from wakeline.alerts.alert import Alert
from wakeline.alerts.book import Book
from wakeline.alerts.concerns import CONCERNS, Concern
from wakeline.alerts.delivery import describe
from wakeline.alerts.last_looks import LastLook, blind
from wakeline.alerts.outbox import ChannelState
from wakeline.alerts.problem import Severity
from wakeline.alerts.silences import Silence
from wakeline.alerts.text import duration, moment
from wakeline.clock import to_iso

_RECENT = 20
_BLIND = "Concerns that have not looked for long: alerts of these are as they were then"
_NEVER = {"waiting": 0, "attempts": 0, "waiting_since_ms": None, "error": "", "delivered_ms": None, "given_up": 0}


def build_overview(book: Book, now_ms: int) -> dict[str, Any]:
    """Everything as JSON has it; times are ISO 8601."""
    found = sorted(book.store.alerts().values(), key=lambda alert: (-alert.problem.severity, alert.seen_ms))
    states, looks = book.outbox.states(), book.store.looks()
    unseen = blind(looks, now_ms)
    return {
        "open": [_alert(alert, now_ms, unseen) for alert in found if alert.is_open],
        "waiting": [_alert(alert, now_ms, unseen) for alert in found if alert.is_pending],
        "concerns": [_concern(one, looks[one.name], now_ms) for one in CONCERNS if one.name in looks],
        "recent": [_message(row) for row in book.store.messages(_RECENT)],
        "channels": [_channel(name, states.get(name), now_ms) for name in sorted({*book.channels, *states})],
        "silences": [described_silence(one) for one in book.store.silences(now_ms)],
    }


def overview_tables(found: dict[str, Any]) -> list[Table | str]:
    """The same for a terminal."""
    shown: list[Table | str] = [
        _table("Open alerts", found["open"], ("severity", "key", "lasts", "summary"))
        if found["open"]
        else "No alert is open.",
        _table("Told last", found["recent"], ("at", "title")) if found["recent"] else "Nothing was told yet.",
        _table("Channels", found["channels"], ("channel", "state"))
        if found["channels"]
        else "There is no channel: nobody is told. See docs/alerts.md.",
    ]
    if unseen := [{**one, "looked": one["looked"] or "never"} for one in found["concerns"] if one["blind"]]:
        shown.insert(1, _table(_BLIND, unseen, ("concern", "sensor", "looked")))
    if found["waiting"]:
        shown.insert(1, _table("Seen, not told", found["waiting"], ("severity", "key", "lasts", "why", "summary")))
    if found["silences"]:
        shown.append(_table("Silences", found["silences"], ("silence", "concern", "key", "until", "by", "reason")))
    return shown


def _concern(concern: Concern, last: LastLook, now_ms: int) -> dict[str, Any]:
    return {
        "concern": concern.name,
        "sensor": concern.sensor,
        "looked": None if last.looked_ms is None else to_iso(last.looked_ms),
        "blind": last.is_blind(now_ms),
    }


def _alert(alert: Alert, now_ms: int, unseen: Collection[str]) -> dict[str, Any]:
    problem = alert.problem
    severity = problem.severity if alert.is_pending else max(alert.severity, problem.severity)
    return {
        "key": alert.key,
        "concern": alert.concern,
        "severity": Severity(severity).label,
        "summary": problem.summary,
        "since": to_iso(alert.began_ms),
        "lasts": duration(now_ms - alert.began_ms),
        "opened": None if alert.opened_ms is None else to_iso(alert.opened_ms),
        "why": "its cause is told" if alert.inhibited else "it may pass, or is silenced",
        "well_since": None if alert.well_since_ms is None else to_iso(alert.well_since_ms),
        "flapping": alert.flapping,
        "blind": alert.concern in unseen,
        "first_action": problem.first_action,
        "affected": list(problem.affected),
        "owner": problem.owner,
        "links": dict(problem.links),
    }


def _message(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "at": moment(row["created_ms"]),
        "kind": row["kind"],
        "severity": Severity(row["severity"]).label,
        "keys": row["keys"],
        "title": row["title"],
    }


def _channel(name: str, state: ChannelState | None, now_ms: int) -> dict[str, Any]:
    found = state or ChannelState(channel=name, **_NEVER)  # type: ignore[arg-type]
    return {
        "channel": name,
        "state": describe(found, now_ms),
        "waiting": found.waiting,
        "attempts": found.attempts,
        "error": found.error,
        "delivered": None if found.delivered_ms is None else to_iso(found.delivered_ms),
        "given_up": found.given_up,
    }


def described_silence(one: Silence) -> dict[str, Any]:
    """A silence as JSON has it."""
    return {
        "silence": one.silence_id,
        "concern": one.concern or "all",
        "key": one.key or "all",
        "until": to_iso(one.until_ms),
        "by": one.silenced_by,
        "reason": one.reason,
    }


def _table(title: str, rows: list[dict[str, Any]], columns: tuple[str, ...]) -> Table:
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(str(row[column])) for column in columns))  # Brackets are no markup.
    return table
