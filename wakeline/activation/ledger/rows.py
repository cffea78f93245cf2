"""What a send's row holds, whatever database it is in."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from typing import Any

from wakeline.activation.claims import Claim, Decided, Intended, Person, idempotency_key
from wakeline.activation.deliverability import DeliveryReport
from wakeline.activation.gates import Candidate, Decision, Facts, Rules, Skip, decide
from wakeline.activation.ledger.states import RETRY, decided, reported
from wakeline.pipeline.lanes import Lease, Ranges


def other_keys(campaign: str, profile_id: str, occurrence_key: str, ids: Iterable[str]) -> list[str]:
    """The keys of the same send under the person's other ids: before a login, one of them may have been mailed."""
    others = dict.fromkeys(id_ for id_ in ids if id_ != profile_id)
    return [idempotency_key(campaign, id_, occurrence_key) for id_ in others]


def candidate_of(one: Intended) -> Candidate:
    """What the gates are asked about a new send."""
    return Candidate(
        one.campaign_class,
        one.purpose,
        one.profile_id,
        one.person.address,
        one.person.time_zone,
        one.occurred_at_ms,
        one.expires_at_ms,
        one.rules,
    )


def waiting_candidate(row: Mapping[str, Any], person: Person, rules: Rules) -> Candidate:
    """What the gates are asked about a send that waited: the person as known now, the campaign's rules of now."""
    return Candidate(
        row["campaign_class"],
        row["purpose"],
        row["profile_id"],
        person.address,
        person.time_zone,
        row["occurred_at_ms"],
        row["expires_at_ms"],
        rules,
    )


def decide_waiting(row: Mapping[str, Any], candidate: Candidate, facts: Facts, key_ms: int) -> Decision:
    """The gates' word on a send that waited.

    A retry's first claim counts against the caps already, and stands before its rivals. What may be out is only asked
    for, so it does not wait; and only while the ESP knows the key again (`key_ms`).
    """
    if row["state"] == RETRY:
        facts = replace(facts, caps=(), rival=None)
    since_ms = row["may_be_out_since_ms"]
    if since_ms is None:
        return decide(candidate, facts)
    if facts.now_ms - since_ms >= key_ms:
        return Skip("key_expired")
    return decide(replace(candidate, rules=Rules()), replace(facts, stale=None, pause=None, restored=None))


def known_person(row: Mapping[str, Any], person: Person) -> Person:
    """Whom the send of a row is for: what may be out is asked for with the very mail that was handed over."""
    return person if row["may_be_out_since_ms"] is None else replace(person, contact=row["contact"])


def claimed_again(row: Mapping[str, Any], person: Person, lease: Lease, now_ms: int) -> dict[str, Any]:
    """The columns of a new claim on a send that waited, besides those of its state."""
    uncertain = row["may_be_out_since_ms"] is not None
    return {
        "lane": lease.lane,
        "fencing_token": lease.fencing_token,
        "run_id": lease.holder,
        "attempts": row["attempts"] + 1,
        "claimed_at_ms": row["claimed_at_ms"] if uncertain else now_ms,
        "address": person.address,
        "contact": person.stored(row["profile_id"]),
    }


def decision_row(
    one: Intended, decision: Decision, lease: Lease, run_id: str, batch: Ranges, now_ms: int
) -> dict[str, Any]:
    """The row of a new send."""
    return {
        "idempotency_key": one.key,
        "campaign": one.campaign,
        "profile_id": one.profile_id,
        "occurrence_key": one.occurrence_key,
        "campaign_class": one.campaign_class,
        "purpose": one.purpose,
        "variant": one.variant,
        "priority": one.rules.priority,
        "holdout_draws": {holdout.scope: holdout.draw(one.profile_id) for holdout in one.rules.holdouts},
        "address": one.person.address,
        "occurred_at_ms": one.occurred_at_ms,
        "expires_at_ms": one.expires_at_ms,
        "trigger_hash": one.trigger_hash,
        "campaign_hash": one.campaign_hash,
        "message_ids": list(one.message_ids),
        "contact": one.person.stored(one.profile_id),
        "context": one.context,
        "run_id": run_id,
        "lane": lease.lane,
        "fencing_token": lease.fencing_token,
        "batch": {str(partition): list(bounds) for partition, bounds in batch.items()},
        "claimed_at_ms": now_ms,
        "changed_at_ms": now_ms,
        "attempts": 0 if decision else 1,
        **decided(decision),
        **asdict(one.stages),
    }


def reported_row(
    one: Intended, report: DeliveryReport, lease: Lease, run_id: str, batch: Ranges, now_ms: int
) -> dict[str, Any]:
    """The row of a new send that is out already: a ledger that is lost has sent it, and no gate is asked."""
    return {**decision_row(one, None, lease, run_id, batch, now_ms), "attempts": 0, **reported(report)}


def decided_of(one: Intended, row: Mapping[str, Any], decision: Decision) -> Decided:
    """What the lane is told of a new send."""
    claim = None if decision else claim_of(row)
    return Decided(one.campaign, claim, row["state"], decision.reason if decision else "")


def claim_of(row: Mapping[str, Any]) -> Claim:
    """The right to hand the send of a row to the ESP."""
    return Claim(
        key=row["idempotency_key"],
        campaign=row["campaign"],
        profile_id=row["profile_id"],
        contact=row["contact"],
        context=row["context"],
        variant=row["variant"],
        attempts=row["attempts"],
        claimed_at_ms=row["claimed_at_ms"],
    )
