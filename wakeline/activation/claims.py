"""What goes into the ledger and what comes out of it."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wakeline.activation.gates import Cap


@dataclass(frozen=True, slots=True)
class Stages:
    """When the causing event passed each stage, in epoch milliseconds; None where a wake-up was the cause."""

    received_at_ms: int | None
    appended_at_ms: int | None
    read_at_ms: int | None
    ingested_at_ms: int | None
    evaluated_at_ms: int


@dataclass(frozen=True, slots=True)
class Intended:
    """A send that a campaign asks for, with everything its ledger row will tell."""

    campaign: str
    campaign_class: str
    purpose: str | None
    campaign_hash: str
    cap: Cap | None
    profile_id: str
    #: All ids of the profile; a claim under any of them stands for the person.
    ids: tuple[str, ...]
    occurrence_key: str
    occurred_at_ms: int
    expires_at_ms: int
    trigger_hash: str
    message_ids: tuple[str, ...]
    address: str
    contact: Mapping[str, Any]
    context: Mapping[str, Any]
    stages: Stages

    @property
    def key(self) -> str:
        return idempotency_key(self.campaign, self.profile_id, self.occurrence_key)


@dataclass(frozen=True, slots=True)
class Claim:
    """A claimed send: the right, and the duty, to hand it to the ESP once."""

    key: str
    campaign: str
    profile_id: str
    contact: Mapping[str, Any]
    context: Mapping[str, Any]
    attempts: int


@dataclass(frozen=True, slots=True)
class Decided:
    """What became of an intended send: a claim, or the reason it was skipped."""

    campaign: str
    claim: Claim | None
    reason: str


def idempotency_key(campaign: str, profile_id: str, occurrence_key: str) -> str:
    """Identity of a send, from business facts only: 32 hex digits."""
    identity = "\x1f".join((campaign, profile_id, occurrence_key))
    return hashlib.sha256(identity.encode()).hexdigest()[:32]
