"""Why a mail was not sent, or not yet, in plain words: from the row of the ledger and the record its gate had read."""

from collections.abc import Callable, Mapping
from typing import Any

from wakeline.activation.gates import DEFERRED, HELD, RESTORED
from wakeline.activation.ledger.states import FAILED, RETRY, SKIPPED, UNKNOWN
from wakeline.clock import to_iso

Row = Mapping[str, Any]

_MS_PER_HOUR = 3_600_000
_WAITED_FOR = {
    "quiet_hours": "for the night to end",
    "lower_priority": "for a mail of higher priority",
    "stale_inputs": "for what it rests on to be up to date",
    "campaign_paused": "for its campaign to be resumed",
    "restored_ledger": f"for somebody to resume {RESTORED}",
}


def in_words(row: Row) -> str:
    """A sentence or two about a send that is not out; the code of a reason that has no words here."""
    if row["state"] in _STATES:
        return _STATES[row["state"]](row)
    words = _REASONS.get(row["reason"])
    sentence = words(row) if words else f"{row['reason']}."
    return f"{sentence} {_until(row)}".rstrip()


def moment(epoch_ms: int) -> str:
    """A time to the minute, UTC."""
    return f"{to_iso(epoch_ms)[:16].replace('T', ' ')} UTC"


def _until(row: Row) -> str:
    if row["state"] == DEFERRED:
        return f"Looked at again at {moment(row['next_attempt_at_ms'])}."
    return "" if row["state"] == SKIPPED else "Waits until that is over."


def _record(row: Row) -> Mapping[str, Any]:
    return row["record"] or {}


def _expired(row: Row) -> str:
    waited_for = _WAITED_FOR.get(_record(row).get("waited_for", ""))
    return f"Came too late: it was of use until {moment(row['expires_at_ms'])}" + (
        f", and had to wait {waited_for}." if waited_for else "."
    )


def _suppressed(row: Row) -> str:
    record = _record(row)
    why = {"hard_bounce": "mail to it bounced", "complaint": "its owner marked a mail as spam"}
    said = why.get(record.get("reason", ""), record.get("reason", "it is suppressed"))
    return f"The address gets no mail: {said}{_when(record)}."


def _no_consent(row: Row) -> str:
    record = _record(row)
    if not record:
        return f"Has never agreed to {row['purpose']}."
    return f"Said no to {row['purpose']}{_when(record)}."


def _held_out(row: Row) -> str:
    record = _record(row)
    what = "marketing mail" if record["scope"] == "all" else f"mail of {record['scope']}"
    return f"Belongs to the {record['percent']:g}% who get no {what}, to compare with (drew {record['draw']:.2f})."


def _frequency_cap(row: Row) -> str:
    record = _record(row)
    hours = record["window_ms"] / _MS_PER_HOUR
    return f"Has had {record['sends']} of the {record['cap']} mails that are allowed in {hours:g} hours."


def _quiet_hours(row: Row) -> str:
    record = _record(row)
    start, end = (f"{minute // 60:02}:{minute % 60:02}" for minute in (record["start_minute"], record["end_minute"]))
    return f"It was night for the person: {start} to {end} in {record['time_zone']}."


def _lower_priority(row: Row) -> str:
    rival = _record(row).get("campaign")
    return f"A mail of {rival} goes before it." if rival else "A mail of higher priority may still come."


def _stale_inputs(row: Row) -> str:
    record = _record(row)
    if "built_at_ms" in record:
        return f"What it rests on, {record['input']}, was last built at {moment(record['built_at_ms'])}."
    who = f"lane {record['lane']}" if "lane" in record else record["input"]
    return f"Events after {moment(record['read_until_ms'])} were not read yet ({who})."


def _campaign_paused(row: Row) -> str:
    record = _record(row)
    return f"The campaign was paused by {record['paused_by']} at {moment(record['paused_at_ms'])}: {record['reason']}."


def _restored_ledger(row: Row) -> str:
    record = _record(row)
    until = moment(record["paused_at_ms"])
    return f"What occurred before {until} may have been mailed before the ledger was restored: {record['reason']}."


def _when(record: Mapping[str, Any]) -> str:
    at_ms, message_id = record.get("occurred_at_ms"), record.get("message_id")
    return (f" at {moment(at_ms)}" if at_ms else "") + (f" (event {message_id})" if message_id else "")


_REASONS: Mapping[str, Callable[[Row], str]] = {
    "expired": _expired,
    "no_address": lambda _row: "No address is known; decided again when one is.",
    "suppressed": _suppressed,
    "no_consent": _no_consent,
    "held_out": _held_out,
    "frequency_cap": _frequency_cap,
    "quiet_hours": _quiet_hours,
    "lower_priority": _lower_priority,
    "stale_inputs": _stale_inputs,
    "campaign_paused": _campaign_paused,
    "restored_ledger": _restored_ledger,
    "reopened": lambda _row: "The provider had refused it; somebody has it tried again.",
    "missing_variable": lambda row: f"The mail could not be written: {_record(row)['problem']}",
}
_STATES: Mapping[str, Callable[[Row], str]] = {
    FAILED: lambda row: f"Will never be sent: {row['reason']}",
    RETRY: lambda row: f"Will be tried again at {moment(row['next_attempt_at_ms'])}: {row['reason']}",
    UNKNOWN: lambda row: f"May be out, and is not tried again: {row['reason']}",
}
#: Of which sends there is something to say: not those that are out or on their way.
TOLD = (SKIPPED, DEFERRED, HELD, *_STATES)
