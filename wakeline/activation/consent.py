"""What an accepted event says about consent and about addresses that must not be mailed.

The write key of a page is public: whoever has it may say no for anybody, and yes for the ids of the event. A yes of an
address alone, and that an address cannot be mailed, is believed of trusted sources only (`Settings.trusted_sources`).

Specs: Segment consent spec (`context.consent.categoryPreferences`), Segment email events ("Unsubscribed",
"Email Bounced", "Email Marked as Spam").
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wakeline.events import ADDRESS_KIND, address_of, address_subject, normalised
from wakeline.pipeline.classify import LandingRow

#: The event by which a person changes preferences; all others only repeat them.
PREFERENCE_UPDATED = "Segment Consent Preference Updated"
UNSUBSCRIBED = frozenset({"Unsubscribed", "Email Unsubscribed"})
SUPPRESSING = {"Email Bounced": "hard_bounce", "Email Marked as Spam": "complaint"}


@dataclass(frozen=True, slots=True)
class Consent:
    """A person's (or an address's) word on a purpose.

    `key` is the idempotency key of the mail it was said on; the word then counts for that mail's address as well.
    With `stamp` nobody said it just then: an event was marked with the consent in force, which may be an old one that
    a device has kept since.
    """

    subject: str
    purpose: str
    granted: bool
    occurred_at_ms: int
    message_id: str
    key: str = ""
    stamp: bool = False


@dataclass(frozen=True, slots=True)
class Suppression:
    """An address that cannot or must not receive mail."""

    address: str
    reason: str
    occurred_at_ms: int
    message_id: str


@dataclass(frozen=True, slots=True)
class RecordAddress:
    """The address in another system's record, a CRM's contact for one: a no of the record is one of the address."""

    subject: str
    address: str


def prevailing(statement: Mapping[str, Any] | None, stamp: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """The record that decides: the latest statement, or the latest stamp where that may speak.

    A stamp may take a yes back, and may be all there is. It never undoes a no that was stated: the device that repeats
    its old yes has not heard of the opt-out.
    """
    if statement is None or stamp is None:
        return statement or stamp
    later = stamp["occurred_at_ms"] >= statement["occurred_at_ms"]
    return stamp if statement["granted"] and later else statement


def said_in(
    rows: Sequence[LandingRow], trusted: Collection[str]
) -> tuple[list[Consent], list[Suppression], list[RecordAddress]]:
    """All that the accepted rows say to the ledger; `trusted` are the names of trusted sources."""
    return consents(rows, trusted), suppressions(rows, trusted), record_addresses(rows, trusted)


def consents(rows: Iterable[LandingRow], trusted: Collection[str]) -> list[Consent]:
    """Every word on consent in the accepted rows, in order; `trusted` are the names of trusted sources."""
    return [
        one
        for row in rows
        if row.parsed is not None
        for one in _consents_of(row, row.parsed)
        if not one.granted or row.source in trusted or not one.subject.startswith(ADDRESS_KIND)
    ]


def suppressions(rows: Iterable[LandingRow], trusted: Collection[str]) -> list[Suppression]:
    """The addresses that the accepted rows of trusted sources suppress."""
    return [one for row, message in _of_trusted(rows, trusted) for one in _suppressions_of(row, message)]


def record_addresses(rows: Iterable[LandingRow], trusted: Collection[str]) -> list[RecordAddress]:
    """The addresses of records that trusted sources tell of by `identify`.

    Only what is `automated`: of a person who does something, the address is known by the profile.
    """
    return [
        RecordAddress(row.id, normalised(address))
        for row, message in _of_trusted(rows, trusted)
        if row.type == "identify" and _at(message, "properties", "automated") is True
        if (address := address_of(message)) and row.id != address_subject(address)
    ]


def _of_trusted(rows: Iterable[LandingRow], trusted: Collection[str]) -> Iterator[tuple[LandingRow, dict[str, Any]]]:
    return ((row, row.parsed) for row in rows if row.parsed is not None and row.source in trusted)


def _consents_of(row: LandingRow, message: dict[str, Any]) -> Iterator[Consent]:
    preferences = _at(message, "context", "consent", "categoryPreferences")
    if isinstance(preferences, dict):
        for purpose, granted in preferences.items():
            if isinstance(granted, bool):
                stamp = row.event != PREFERENCE_UPDATED
                yield Consent(row.id, purpose, granted, row.occurred_at_ms, row.message_id, stamp=stamp)
    if row.event in UNSUBSCRIBED:
        purpose = str(_at(message, "properties", "purpose") or "marketing")
        key = str(_at(message, "properties", "idempotency_key") or "")
        for subject in _unsubscribed_subjects(row, message):
            yield Consent(subject, purpose, False, row.occurred_at_ms, row.message_id, key)


def _unsubscribed_subjects(row: LandingRow, message: dict[str, Any]) -> list[str]:
    address = address_of(message)
    return sorted({row.id, address_subject(address)}, reverse=True) if address else [row.id]


def _suppressions_of(row: LandingRow, message: dict[str, Any]) -> Iterator[Suppression]:
    address = address_of(message)
    soft = _at(message, "properties", "bounce_type") == "soft"
    if row.event in SUPPRESSING and address and not soft:
        yield Suppression(normalised(address), SUPPRESSING[row.event], row.occurred_at_ms, row.message_id)


def _at(message: dict[str, Any], *path: str) -> Any:
    found: Any = message
    for part in path:
        found = found.get(part) if isinstance(found, dict) else None
    return found
