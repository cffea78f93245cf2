"""The gates in front of a claim: pure functions, asked in a fixed order, each with the record it decided by.

A gate answers None (let it pass), a Skip (never), or a Wait (not now: all gates are asked again later).
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from wakeline.activation.quiet_hours import QuietHours, first_allowed_ms, zone_of

MARKETING = "marketing"
#: What a Wait becomes in the ledger: due at a known time, or when an obstacle is gone.
DEFERRED, HELD = "deferred", "held"

#: Instead of a campaign, in the ledger's pauses: what occurred before that pause may have been mailed by a ledger that
#: is lost. No campaign can have the name.
RESTORED = "restored-mails"

_DRAWS = 2**64


@dataclass(frozen=True, slots=True)
class Cap:
    """At most `sends` in any `window_ms` that ends now."""

    sends: int
    window_ms: int


@dataclass(frozen=True, slots=True)
class Holdout:
    """A share of the people who are mailed nothing, to compare the others with; `scope` is a campaign or `all`."""

    scope: str
    salt: str
    percent: float

    def draw(self, profile_id: str) -> float:
        """The person's number in [0, 100), the same for ever; below `percent` the person is held out."""
        digest = hashlib.sha256(f"{self.salt}\x1f{profile_id}".encode()).digest()
        return int.from_bytes(digest[:8]) / _DRAWS * 100


@dataclass(frozen=True, slots=True)
class Rules:
    """What a campaign, and the deployment around it, ask of its sends. Times are in milliseconds."""

    #: Of this campaign's mails to the person.
    cap: Cap | None = None
    #: Of all marketing mails to the person.
    marketing_cap: Cap | None = None
    holdouts: tuple[Holdout, ...] = ()
    quiet_hours: QuietHours | None = None
    #: IANA name, for people whose own is not known.
    time_zone: str = "UTC"
    #: The higher one wins within `priority_window_ms`.
    priority: int = 0
    priority_window_ms: int = 0
    #: How long a send waits after its occurrence for one of higher priority to come.
    priority_wait_ms: int = 0


@dataclass(frozen=True, slots=True)
class Candidate:
    """An occurrence that a campaign would mail about."""

    campaign_class: str
    purpose: str | None
    profile_id: str
    address: str
    time_zone: str
    occurred_at_ms: int
    expires_at_ms: int
    rules: Rules = Rules()


@dataclass(frozen=True, slots=True)
class Stale:
    """Which inputs of marketing mail are older than they may be: those of all campaigns, or of some by name."""

    of_all: Mapping[str, Any] | None = None
    of_campaigns: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def of(self, campaign: str) -> Mapping[str, Any] | None:
        """The record of the input that holds a campaign; None when nothing does."""
        return self.of_all or self.of_campaigns.get(campaign)

    def holds(self, campaign: str, campaign_class: str) -> bool:
        """Whether a send of the campaign waits for it."""
        return campaign_class == MARKETING and self.of(campaign) is not None


#: Nothing is held.
FRESH = Stale()


@dataclass(frozen=True, slots=True)
class Facts:
    """What the ledger knows at the moment of the claim, read in the claim's own transaction."""

    now_ms: int
    consent: Mapping[str, Any] | None = None
    suppression: Mapping[str, Any] | None = None
    #: (cap, how many sends of it fall into its window now), for every cap that applies.
    caps: tuple[tuple[Cap, int], ...] = ()
    #: The send of higher priority to the person within the window.
    rival: Mapping[str, Any] | None = None
    #: Why marketing must not go by what is known: the inputs are older than they may be.
    stale: Mapping[str, Any] | None = None
    #: Who or what has paused the campaign.
    pause: Mapping[str, Any] | None = None
    #: The pause of what occurred before the ledger was restored from a backup.
    restored: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Skip:
    """Why nothing is sent: the gate's reason code and the record it read."""

    reason: str
    record: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """Why nothing is sent now. `state` is DEFERRED, until `until_ms`, or HELD, until the obstacle is gone."""

    state: str
    reason: str
    until_ms: int
    record: Mapping[str, Any] | None = None


Decision = Skip | Wait | None
Gate = Callable[[Candidate, Facts], Decision]


def expired(candidate: Candidate, facts: Facts) -> Decision:
    """Too late to be of use."""
    return Skip("expired") if candidate.expires_at_ms <= facts.now_ms else None


def no_address(candidate: Candidate, _facts: Facts) -> Decision:
    """Nobody knows where to send it."""
    return Skip("no_address") if not candidate.address else None


def suppressed(_candidate: Candidate, facts: Facts) -> Decision:
    """The address cannot receive mail, or its owner complained; transactional mail is stopped as well."""
    return Skip("suppressed", facts.suppression) if facts.suppression else None


def no_consent(candidate: Candidate, facts: Facts) -> Decision:
    """The person has not agreed to the purpose, or has taken it back; no word at all is a no."""
    if candidate.purpose is None or (facts.consent and facts.consent["granted"]):
        return None
    return Skip("no_consent", facts.consent)


def held_out(candidate: Candidate, _facts: Facts) -> Decision:
    """Belongs to the share of people that is mailed nothing; transactional mail is exempt."""
    if candidate.campaign_class != MARKETING:
        return None
    for holdout in candidate.rules.holdouts:
        draw = holdout.draw(candidate.profile_id)
        if draw < holdout.percent:
            return Skip("held_out", {"scope": holdout.scope, "draw": draw, "percent": holdout.percent})
    return None


def frequency_cap(candidate: Candidate, facts: Facts) -> Decision:
    """Enough mail in a rolling window; transactional mail is exempt."""
    if candidate.campaign_class != MARKETING:
        return None
    for cap, count in facts.caps:
        if count >= cap.sends:
            return Skip("frequency_cap", {"sends": count, "cap": cap.sends, "window_ms": cap.window_ms})
    return None


def quiet_hours(candidate: Candidate, facts: Facts) -> Decision:
    """Night where the person lives: the mail is put off to the first minute that is not."""
    quiet = candidate.rules.quiet_hours
    if quiet is None:
        return None
    zone = zone_of(candidate.time_zone, candidate.rules.time_zone)
    allowed_ms = first_allowed_ms(facts.now_ms, quiet, zone)
    if allowed_ms == facts.now_ms:
        return None
    record = {"time_zone": zone.key, "start_minute": quiet.start_minute, "end_minute": quiet.end_minute}
    return Wait(DEFERRED, "quiet_hours", allowed_ms, record)


def lower_priority(candidate: Candidate, facts: Facts) -> Decision:
    """A mail of higher priority is out or on its way to the person, or there is still time for one to come."""
    if candidate.campaign_class != MARKETING:
        return None
    if facts.rival:
        return Skip("lower_priority", facts.rival)
    wait_ms = candidate.rules.priority_wait_ms
    until_ms = candidate.occurred_at_ms + wait_ms
    return Wait(DEFERRED, "lower_priority", until_ms) if wait_ms and facts.now_ms < until_ms else None


def restored_ledger(candidate: Candidate, facts: Facts) -> Decision:
    """The ledger is that of a backup, and the lost one may have had the mail; stops transactional mail as well."""
    if facts.restored is None or not precedes(candidate.occurred_at_ms, facts.restored):
        return None
    return Wait(HELD, "restored_ledger", facts.now_ms, facts.restored)


def precedes(occurred_at_ms: int, restored: Mapping[str, Any] | None) -> bool:
    """Whether something occurred so early that the lost ledger may have had it."""
    return restored is not None and occurred_at_ms < restored["paused_at_ms"]


def stale_inputs(candidate: Candidate, facts: Facts) -> Decision:
    """What is known of the person is older than it may be: an order, or an opt-out, may not have been seen."""
    if candidate.campaign_class != MARKETING or facts.stale is None:
        return None
    return Wait(HELD, "stale_inputs", facts.now_ms, facts.stale)


def campaign_paused(_candidate: Candidate, facts: Facts) -> Decision:
    """A person, or the watch over bounces and complaints, has paused the campaign; transactional ones as well."""
    return Wait(HELD, "campaign_paused", facts.now_ms, facts.pause) if facts.pause else None


#: Order is part of the contract: the first gate that says no gives the recorded reason.
GATES: tuple[Gate, ...] = (
    expired,
    no_address,
    suppressed,
    no_consent,
    held_out,
    frequency_cap,
    quiet_hours,
    lower_priority,
    restored_ledger,
    stale_inputs,
    campaign_paused,
)


def decide(candidate: Candidate, facts: Facts) -> Decision:
    """The first gate's no, or None when the send may be claimed."""
    return next((no for gate in GATES if (no := gate(candidate, facts))), None)
