"""The gates in front of a claim: pure functions, asked in a fixed order, each with the record it decided by.

A gate answers None (let it pass) or a Skip. Later gates (holdout, quiet hours, priority, stale inputs) have their
places in GATES between the frequency cap and the claim.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

MARKETING = "marketing"


@dataclass(frozen=True, slots=True)
class Cap:
    """At most `sends` in any `window_ms` that ends now."""

    sends: int
    window_ms: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """An occurrence that a campaign would mail about."""

    campaign_class: str
    purpose: str | None
    address: str
    expires_at_ms: int


@dataclass(frozen=True, slots=True)
class Facts:
    """What the ledger knows of the person at the moment of the claim, read in the claim's own transaction."""

    now_ms: int
    consent: Mapping[str, Any] | None = None
    suppression: Mapping[str, Any] | None = None
    #: (cap, how many sends of it fall into its window now), for every cap that applies.
    caps: tuple[tuple[Cap, int], ...] = field(default_factory=tuple)


@dataclass(frozen=True, slots=True)
class Skip:
    """Why nothing is sent: the gate's reason code and the record it read."""

    reason: str
    record: Mapping[str, Any] | None = None


Gate = Callable[[Candidate, Facts], Skip | None]


def expired(candidate: Candidate, facts: Facts) -> Skip | None:
    """Too late to be of use."""
    return Skip("expired") if candidate.expires_at_ms <= facts.now_ms else None


def no_address(candidate: Candidate, _facts: Facts) -> Skip | None:
    """Nobody knows where to send it."""
    return Skip("no_address") if not candidate.address else None


def suppressed(_candidate: Candidate, facts: Facts) -> Skip | None:
    """The address cannot receive mail, or its owner complained; transactional mail is stopped as well."""
    return Skip("suppressed", facts.suppression) if facts.suppression else None


def no_consent(candidate: Candidate, facts: Facts) -> Skip | None:
    """The person has not agreed to the purpose, or has taken it back; no word at all is a no."""
    if candidate.purpose is None or (facts.consent and facts.consent["granted"]):
        return None
    return Skip("no_consent", facts.consent)


def frequency_cap(candidate: Candidate, facts: Facts) -> Skip | None:
    """Enough mail in a rolling window; transactional mail is exempt."""
    if candidate.campaign_class != MARKETING:
        return None
    for cap, count in facts.caps:
        if count >= cap.sends:
            return Skip("frequency_cap", {"sends": count, "cap": cap.sends, "window_ms": cap.window_ms})
    return None


#: Order is part of the contract: the first gate that says no gives the recorded reason.
GATES: tuple[Gate, ...] = (expired, no_address, suppressed, no_consent, frequency_cap)


def decide(candidate: Candidate, facts: Facts) -> Skip | None:
    """The first gate's no, or None when the send may be claimed."""
    return next((skip for gate in GATES if (skip := gate(candidate, facts))), None)
