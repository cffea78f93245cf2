"""What the gates are told, read from DynamoDB: everything as it is now, many items at once."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wakeline.activation.consent import prevailing
from wakeline.activation.gates import DEFERRED, MARKETING, RESTORED, Candidate, Cap, Facts, Rules, Stale
from wakeline.activation.ledger.dynamodb_items import of_id, said_key, subjects_of, suppression_key
from wakeline.activation.ledger.states import COUNTED, RETRY
from wakeline.dynamodb import Key, Table
from wakeline.events import normalised

_SAID = ("subject", "purpose", "granted", "occurred_at_ms", "message_id")
_SUPPRESSION = ("address", "reason", "occurred_at_ms", "message_id")


@dataclass(frozen=True, slots=True)
class Asked:
    """A candidate, with all that facts are looked up by."""

    candidate: Candidate
    campaign: str
    ids: tuple[str, ...]
    #: The keys of the same send under the person's other ids.
    other_keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Moment:
    """What is the same for all sends of a call."""

    now_ms: int
    stale: Stale
    pauses: Mapping[str, Mapping[str, Any]]


def keys_of(asked: Asked) -> list[Key]:
    """The items that hold what was said about it."""
    purpose, address = asked.candidate.purpose, normalised(asked.candidate.address)
    subjects = subjects_of(asked.ids, address) if purpose else []
    keys = [said_key(subject, purpose, stamp) for subject in subjects for stamp in (False, True) if purpose]
    return [*keys, *([suppression_key(address)] if address else [])]


def read_counted(table: Table, asked: Iterable[Asked], now_ms: int) -> dict[str, list[dict[str, Any]]]:
    """id -> its sends that count against some cap, or for a priority, of those who ask."""
    since: dict[str, int] = {}
    for one in asked:
        if one.candidate.campaign_class == MARKETING:
            for id_ in one.ids:
                since[id_] = min(since.get(id_, now_ms), now_ms - _longest_ms(one.candidate.rules))
    found = table.each(lambda pair: table.recent(of_id(pair[0]), pair[1]), list(since.items()))
    return dict(zip(since, found, strict=True))


def facts_of(
    asked: Asked, items: Mapping[Key, Mapping[str, Any]], counted: Mapping[str, Sequence[Mapping[str, Any]]], at: Moment
) -> Facts:
    """The facts, of what was read."""
    candidate, is_marketing = asked.candidate, asked.candidate.campaign_class == MARKETING
    address = normalised(candidate.address)
    suppression = items.get(suppression_key(address)) if address else None
    others = [row for id_ in dict.fromkeys(asked.ids) for row in counted.get(id_, ())]
    return Facts(
        now_ms=at.now_ms,
        consent=_consent(asked, items) if candidate.purpose else None,
        suppression={name: suppression[name] for name in _SUPPRESSION} if suppression else None,
        caps=_caps(candidate.rules, asked.campaign, others, at.now_ms) if is_marketing else (),
        rival=_rival(candidate.rules, others, at.now_ms) if is_marketing else None,
        stale=at.stale.of(asked.campaign),
        pause=at.pauses.get(asked.campaign),
        restored=at.pauses.get(RESTORED),
    )


def _longest_ms(rules: Rules) -> int:
    windows = [cap.window_ms for cap in (rules.marketing_cap, rules.cap) if cap]
    return max([rules.priority_window_ms, *windows])


def _consent(asked: Asked, items: Mapping[Key, Mapping[str, Any]]) -> Mapping[str, Any] | None:
    statement, stamp = (_latest(asked, items, is_stamp) for is_stamp in (False, True))
    return prevailing(statement, stamp)


def _latest(asked: Asked, items: Mapping[Key, Mapping[str, Any]], stamp: bool) -> Mapping[str, Any] | None:
    purpose = asked.candidate.purpose or ""
    keys = [said_key(subject, purpose, stamp) for subject in subjects_of(asked.ids, asked.candidate.address)]
    said = [items[key] for key in keys if key in items]
    latest = min(said, key=lambda one: (-one["occurred_at_ms"], one["granted"], one["subject"]), default=None)
    return {**{name: latest[name] for name in _SAID}, "stamp": stamp} if latest else None


def _caps(rules: Rules, campaign: str, others: Sequence[Mapping[str, Any]], now_ms: int) -> tuple[tuple[Cap, int], ...]:
    of_campaign = [row for row in others if row["campaign"] == campaign]
    of_marketing = [row for row in others if row["campaign_class"] == MARKETING]
    caps = ((rules.marketing_cap, of_marketing), (rules.cap, of_campaign))
    return tuple((cap, sum(_counts(row, now_ms - cap.window_ms) for row in rows)) for cap, rows in caps if cap)


def _counts(row: Mapping[str, Any], since_ms: int) -> bool:
    return row["state"] == RETRY or (row["state"] in COUNTED and row["claimed_at_ms"] > since_ms)


def _rival(rules: Rules, others: Sequence[Mapping[str, Any]], now_ms: int) -> Mapping[str, Any] | None:
    if not rules.priority_window_ms:
        return None
    since_ms = now_ms - rules.priority_window_ms
    better = [
        row
        for row in others
        if row["campaign_class"] == MARKETING
        and row["priority"] > rules.priority
        and (row["state"] == DEFERRED or _counts(row, since_ms))
    ]
    best = min(better, key=lambda row: (-row["priority"], -row["claimed_at_ms"], row["idempotency_key"]), default=None)
    return {name: best[name] for name in ("idempotency_key", "campaign", "priority")} if best else None
