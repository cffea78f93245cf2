"""From occurrences to intended sends: which campaign, to whom, and caused by what."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wakeline.activation.campaigns import Campaign
from wakeline.activation.claims import Intended, Stages
from wakeline.activation.gates import Cap
from wakeline.pipeline.classify import LandingRow
from wakeline.pipeline.triggers import Occurrence

#: Event ids kept with a send; a person can have hundreds of heartbeats in one batch.
_MAX_MESSAGE_IDS = 20
_MS_PER_HOUR = 3_600_000


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a profile was looked at: its ids, its events in the batch, and when the batch passed each stage."""

    ids: tuple[str, ...]
    events: Sequence[LandingRow]
    read_at_ms: int
    ingested_at_ms: int
    evaluated_at_ms: int


def intended_sends(
    occurrences: Iterable[Occurrence],
    campaigns: Mapping[str, Campaign],
    contacts: Mapping[str, Mapping[str, Any]],
    causes: Mapping[str, Cause],
) -> list[Intended]:
    """One intended send per occurrence and campaign of its trigger, oldest occurrence first."""
    ordered = sorted(occurrences, key=lambda one: (one.occurred_at_ms, one.profile_id, one.occurrence_key))
    return [
        _intended(one, campaign, contacts.get(one.profile_id, {}), causes[one.profile_id])
        for one in ordered
        for campaign in campaigns.values()
        if campaign.trigger == one.trigger
    ]


def _intended(one: Occurrence, campaign: Campaign, contact: Mapping[str, Any], cause: Cause) -> Intended:
    latest = max(cause.events, key=lambda row: row.received_at_ms, default=None)
    newest_first = sorted(cause.events, key=lambda row: row.occurred_at_ms, reverse=True)
    return Intended(
        campaign=campaign.name,
        campaign_class=campaign.kind,
        purpose=campaign.purpose,
        campaign_hash=campaign.definition_hash,
        cap=_cap(campaign),
        profile_id=one.profile_id,
        ids=cause.ids,
        occurrence_key=one.occurrence_key,
        occurred_at_ms=one.occurred_at_ms,
        expires_at_ms=one.expires_at_ms,
        trigger_hash=one.trigger_hash,
        message_ids=tuple(row.message_id for row in newest_first[:_MAX_MESSAGE_IDS]),
        address=str(contact.get("email", "")),
        # With all ids, because a retry asks again what the person said under any of them.
        contact={"profile_id": one.profile_id, "ids": list(cause.ids), **contact},
        context=one.context,
        stages=Stages(
            latest.received_at_ms if latest else None,
            latest.appended_at_ms if latest else None,
            cause.read_at_ms if latest else None,
            cause.ingested_at_ms if latest else None,
            cause.evaluated_at_ms,
        ),
    )


def _cap(campaign: Campaign) -> Cap | None:
    cap = campaign.frequency_cap
    return None if cap is None else Cap(cap.sends, round(cap.hours * _MS_PER_HOUR))
