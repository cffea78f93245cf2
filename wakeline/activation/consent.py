"""What an accepted event says about consent and about addresses that must not be mailed.

The write key of a page is public: whoever has it may say no for anybody, and yes for the ids of the event. A yes of an
address alone, and that an address cannot be mailed, is believed of trusted sources only (`Settings.trusted_sources`).
A source may ask for double opt-in (`Settings.double_opt_in`): its yes says nothing here. The person's press in the mail
that asks is another event, of a source that is believed.

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
#: No campaign has a purpose with such a name, and databases have no room for it in a key.
_MAX_PURPOSE_LENGTH = 255
SUPPRESSING = {"Email Bounced": "hard_bounce", "Email Marked as Spam": "complaint"}

_NONE_ASKS: Mapping[str, Collection[str]] = {}


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
    rows: Sequence[LandingRow], trusted: Collection[str], double_opt_in: Mapping[str, Collection[str]]
) -> tuple[list[Consent], list[Suppression], list[RecordAddress]]:
    """All that the accepted rows say to the ledger; see `consents`, `suppressions` and `record_addresses`."""
    return consents(rows, trusted, double_opt_in), suppressions(rows, trusted), record_addresses(rows, trusted)


def consents(
    rows: Iterable[LandingRow], trusted: Collection[str], double_opt_in: Mapping[str, Collection[str]] = _NONE_ASKS
) -> list[Consent]:
    """Every word on consent in the accepted rows that counts, in order.

    `trusted` are the names of trusted sources; `double_opt_in` has the purposes of which a source's yes counts for
    nothing until it is confirmed.
    """
    return [
        one
        for row in rows
        if row.parsed is not None
        for one in _consents_of(row, row.parsed, row.source in trusted)
        if len(one.purpose) <= _MAX_PURPOSE_LENGTH
        if not one.granted or (_may_agree(one, row, trusted) and one.purpose not in double_opt_in.get(row.source, ()))
    ]


def _may_agree(one: Consent, row: LandingRow, trusted: Collection[str]) -> bool:
    return row.source in trusted or not one.subject.startswith(ADDRESS_KIND)


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


def _consents_of(row: LandingRow, message: dict[str, Any], is_trusted: bool) -> Iterator[Consent]:
    key = str(_at(message, "properties", "idempotency_key") or "")
    preferences = _at(message, "context", "consent", "categoryPreferences")
    if isinstance(preferences, dict):
        stamp = row.event != PREFERENCE_UPDATED
        # A page could name anybody's mail, and so agree for its address.
        said_on = key if is_trusted and not stamp else ""
        for purpose, granted in preferences.items():
            if isinstance(granted, bool):
                yield Consent(row.id, purpose, granted, row.occurred_at_ms, row.message_id, said_on, stamp)
    if row.event in UNSUBSCRIBED:
        purpose = str(_at(message, "properties", "purpose") or "marketing")
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
