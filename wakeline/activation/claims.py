"""What goes into the ledger and what comes out of it."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wakeline.activation.gates import Rules


@dataclass(frozen=True, slots=True)
class Stages:
    """When the causing event passed each stage, in epoch milliseconds; None where a wake-up was the cause."""

    received_at_ms: int | None
    appended_at_ms: int | None
    read_at_ms: int | None
    ingested_at_ms: int | None
    evaluated_at_ms: int


@dataclass(frozen=True, slots=True)
class Person:
    """Whom a send is for, as known when its gates are asked."""

    #: All ids of the profile; a claim under any of them stands for the person.
    ids: tuple[str, ...]
    #: The columns of the contacts model; empty where nothing is known.
    contact: Mapping[str, Any]

    @property
    def address(self) -> str:
        """Where mail goes, '' when that is not known."""
        return str(self.contact.get("email") or "")

    @property
    def time_zone(self) -> str:
        """What the person's device or a CRM called it, '' when nothing did."""
        return str(self.contact.get("timezone") or "")

    def stored(self, profile_id: str) -> dict[str, Any]:
        """The contact that the ledger keeps and mails are rendered from, with all ids."""
        return {"profile_id": profile_id, **self.contact, "ids": list(self.ids)}


@dataclass(frozen=True, slots=True)
class Intended:
    """A send that a campaign asks for, with everything its ledger row will tell."""

    campaign: str
    campaign_class: str
    purpose: str | None
    campaign_hash: str
    rules: Rules
    #: Which of the campaign's variants the person gets, '' where it has none.
    variant: str
    profile_id: str
    person: Person
    occurrence_key: str
    occurred_at_ms: int
    expires_at_ms: int
    trigger_hash: str
    message_ids: tuple[str, ...]
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
    variant: str
    #: Which attempt this is, from 1.
    attempts: int
    claimed_at_ms: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """A send that waited and is due: whose it was when it was decided last."""

    key: str
    campaign: str
    profile_id: str
    person: Person


@dataclass(frozen=True, slots=True)
class Decided:
    """What became of a send: its state in the ledger, with a claim or the reason of the gate that said no."""

    campaign: str
    claim: Claim | None
    state: str
    reason: str


def idempotency_key(campaign: str, profile_id: str, occurrence_key: str) -> str:
    """Identity of a send, from business facts only: 32 hex digits."""
    identity = "\x1f".join((campaign, profile_id, occurrence_key))
    return hashlib.sha256(identity.encode()).hexdigest()[:32]
