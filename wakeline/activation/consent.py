"""What an accepted event says about consent and about addresses that must not be mailed.

Sources: Segment consent spec (`context.consent.categoryPreferences`), Segment email events ("Unsubscribed",
"Email Bounced", "Email Marked as Spam").
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from wakeline.pipeline.classify import LandingRow

UNSUBSCRIBED = frozenset({"Unsubscribed", "Email Unsubscribed"})
SUPPRESSING = {"Email Bounced": "hard_bounce", "Email Marked as Spam": "complaint"}


@dataclass(frozen=True, slots=True)
class Consent:
    """A person's (or an address's) word on a purpose."""

    subject: str
    purpose: str
    granted: bool
    occurred_at_ms: int
    message_id: str


@dataclass(frozen=True, slots=True)
class Suppression:
    """An address that cannot or must not receive mail."""

    address: str
    reason: str
    occurred_at_ms: int
    message_id: str


def normalised(address: str) -> str:
    """Addresses are compared without case and surrounding blanks."""
    return address.strip().lower()


def address_subject(address: str) -> str:
    """The consent subject of an address."""
    return f"email:{normalised(address)}"


def consents(rows: Iterable[LandingRow]) -> list[Consent]:
    """Every word on consent in the accepted rows, in order."""
    return [one for row in rows if row.parsed is not None for one in _consents_of(row, row.parsed)]


def suppressions(rows: Iterable[LandingRow]) -> list[Suppression]:
    """The addresses that the accepted rows suppress."""
    return [one for row in rows if row.parsed is not None for one in _suppressions_of(row, row.parsed)]


def _consents_of(row: LandingRow, message: dict[str, Any]) -> Iterator[Consent]:
    preferences = _at(message, "context", "consent", "categoryPreferences")
    if isinstance(preferences, dict):
        for purpose, granted in preferences.items():
            if isinstance(granted, bool):
                yield Consent(row.id, purpose, granted, row.occurred_at_ms, row.message_id)
    if row.event in UNSUBSCRIBED:
        purpose = _at(message, "properties", "purpose") or "marketing"
        for subject in _unsubscribed_subjects(row, message):
            yield Consent(subject, str(purpose), False, row.occurred_at_ms, row.message_id)


def _unsubscribed_subjects(row: LandingRow, message: dict[str, Any]) -> list[str]:
    address = _address(message)
    return [row.id, address_subject(address)] if address else [row.id]


def _suppressions_of(row: LandingRow, message: dict[str, Any]) -> Iterator[Suppression]:
    address = _address(message)
    soft = _at(message, "properties", "bounce_type") == "soft"
    if row.event in SUPPRESSING and address and not soft:
        yield Suppression(normalised(address), SUPPRESSING[row.event], row.occurred_at_ms, row.message_id)


def _address(message: dict[str, Any]) -> str:
    for path in (("properties", "email"), ("context", "traits", "email")):
        address = _at(message, *path)
        if isinstance(address, str) and address:
            return address
    return ""


def _at(message: dict[str, Any], *path: str) -> Any:
    found: Any = message
    for part in path:
        found = found.get(part) if isinstance(found, dict) else None
    return found
