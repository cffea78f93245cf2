"""From occurrences to intended sends: which campaign, to whom, and caused by what."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wakeline.activation.campaigns import Campaign
from wakeline.activation.claims import Intended, Person, Stages
from wakeline.activation.gates import Rules
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
    rules: Mapping[str, Rules],
    contacts: Mapping[str, Mapping[str, Any]],
    causes: Mapping[str, Cause],
) -> list[Intended]:
    """One intended send per occurrence and campaign of its trigger.

    The oldest occurrence first, and of one moment the campaign of the highest priority, so that it is decided first.
    """
    intended = [
        _intended(one, campaign, rules[campaign.name], contacts.get(one.profile_id, {}), causes[one.profile_id])
        for one in occurrences
        for campaign in campaigns.values()
        if campaign.trigger == one.trigger
    ]
    return sorted(
        intended,
        key=lambda one: (one.occurred_at_ms, -one.rules.priority, one.profile_id, one.occurrence_key, one.campaign),
    )


def _intended(one: Occurrence, campaign: Campaign, rules: Rules, contact: Mapping[str, Any], cause: Cause) -> Intended:
    latest = max(cause.events, key=lambda row: row.received_at_ms, default=None)
    newest_first = sorted(cause.events, key=lambda row: row.occurred_at_ms, reverse=True)
    return Intended(
        campaign=campaign.name,
        campaign_class=campaign.kind,
        purpose=campaign.purpose,
        campaign_hash=campaign.definition_hash,
        rules=rules,
        variant=campaign.variant_of(one.profile_id),
        profile_id=one.profile_id,
        person=Person(cause.ids, contact),
        occurrence_key=one.occurrence_key,
        occurred_at_ms=one.occurred_at_ms,
        expires_at_ms=_expires_at_ms(one, campaign),
        trigger_hash=one.trigger_hash,
        message_ids=tuple(row.message_id for row in newest_first[:_MAX_MESSAGE_IDS]),
        context=one.context,
        stages=Stages(
            latest.received_at_ms if latest else None,
            latest.appended_at_ms if latest else None,
            cause.read_at_ms if latest else None,
            cause.ingested_at_ms if latest else None,
            cause.evaluated_at_ms,
        ),
    )


def _expires_at_ms(one: Occurrence, campaign: Campaign) -> int:
    if campaign.expires_after_hours is None:
        return one.expires_at_ms
    return min(one.expires_at_ms, one.occurred_at_ms + round(campaign.expires_after_hours * _MS_PER_HOUR))
