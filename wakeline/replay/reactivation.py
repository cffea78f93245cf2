"""Activating a past window again: what was missed or failed is decided now, what was decided stays as it is.

The job only finds and counts; the lanes decide what it leaves in the queue (`wakeline.replay.requests`), each under its
own lease and by the ledger's keys. See docs/decisions/0019-replay-by-hand.md.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wakeline.activation.campaigns import Campaign
from wakeline.activation.claims import Decided, Intended, idempotency_key
from wakeline.activation.gates import DEFERRED, HELD, Rules
from wakeline.activation.intents import Cause, intended_sends
from wakeline.activation.ledger.protocol import Ledger
from wakeline.activation.ledger.reading import states_of
from wakeline.activation.ledger.states import CLAIMED, FAILED, NO_ADDRESS, RETRY, SENT, SKIPPED
from wakeline.engines import Database
from wakeline.pipeline.triggers import Occurrence
from wakeline.replay.asking import Span
from wakeline.replay.finding import Found, find
from wakeline.replay.requests import Request
from wakeline.warehouse.evaluation import Evaluator

MISSED = "missed"
_UNDER_WAY = (CLAIMED, RETRY, DEFERRED, HELD)
#: Sends foreseen in one transaction, and occurrences in one part of the queue.
_PART = 50

State = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """What would be done: nothing is written yet."""

    #: By the state the ledger has of it; `missed` where it has none.
    counts: Mapping[str, int]
    #: What the gates would say now to the missed and the failed, by state and reason.
    foreseen: Mapping[tuple[str, str], int]
    #: (occurrence, campaign) without a decision.
    missed: Sequence[tuple[Occurrence, str]]
    #: campaign -> (profile id, key) of sends that failed and certainly are not out.
    failed: Mapping[str, Sequence[tuple[str, str]]]

    @property
    def to_decide(self) -> int:
        """How many sends the lanes would decide on."""
        return len(self.missed) + sum(map(len, self.failed.values()))

    @property
    def keys(self) -> list[tuple[str, str]]:
        """(profile id, key) of each of these."""
        missed = [
            (one.profile_id, idempotency_key(campaign, one.profile_id, one.occurrence_key))
            for one, campaign in self.missed
        ]
        return [*missed, *(pair for pairs in self.failed.values() for pair in pairs)]

    def described(self) -> dict[str, Any]:
        """The counts under the names that people read."""
        skips = {reason: rows for (state, reason), rows in sorted(self.foreseen.items()) if state == SKIPPED}
        waits = {reason: rows for (state, reason), rows in sorted(self.foreseen.items()) if state in (DEFERRED, HELD)}
        return {
            "occurrences": sum(self.counts.values()),
            "already_sent": self.counts.get(SENT, 0),
            "already_skipped": self.counts.get(SKIPPED, 0),
            "under_way": sum(self.counts.get(state, 0) for state in _UNDER_WAY),
            "unknown": self.counts.get("unknown", 0),
            MISSED: self.counts.get(MISSED, 0),
            FAILED: self.counts.get(FAILED, 0),
            "to_decide": self.to_decide,
            "would_send": sum(rows for (state, _), rows in self.foreseen.items() if state == CLAIMED),
            "would_expire": skips.pop("expired", 0),
            "would_skip": skips,
            "would_wait": waits,
        }


@dataclass(frozen=True, slots=True)
class Reactivation:
    """Plans a window; `campaigns` are those that are looked at."""

    database: Database
    ledger: Ledger
    evaluator: Evaluator
    campaigns: Mapping[str, Campaign]
    rules: Mapping[str, Rules]

    def plan(self, span: Span, only_failed: bool, now_ms: int) -> Plan:
        """What the ledger has of the window's occurrences, and what the gates would say to the rest."""
        found = find(self.evaluator, span, now_ms)
        pairs = [
            (one, campaign.name)
            for one in found.occurrences
            for campaign in self.campaigns.values()
            if campaign.trigger == one.trigger
        ]
        known = states_of(self.database, (pair for one, name in pairs for pair in _keys(one, name, found)))
        counts: Counter[str] = Counter()
        missed: list[tuple[Occurrence, str]] = []
        failed: dict[str, list[tuple[str, str]]] = {}
        again: list[tuple[Occurrence, str]] = []
        for one, name in pairs:
            pair, state = _known(_keys(one, name, found), known)
            counts[state] += 1
            if state == MISSED and not only_failed:
                missed.append((one, name))
            elif state == FAILED and known[pair[1]]["may_be_out_since_ms"] is None:
                failed.setdefault(name, []).append(pair)
                again.append((one, name))
        foreseen = self._foresee([*missed, *again], found, now_ms)
        return Plan(counts, Counter((one.state, one.reason) for one in foreseen), missed, failed)

    def _foresee(self, pairs: Iterable[tuple[Occurrence, str]], found: Found, now_ms: int) -> list[Decided]:
        intended = self._intended(pairs, found, now_ms)
        told: list[Decided] = []
        for start in range(0, len(intended), _PART):
            part = intended[start : start + _PART]
            told += self.ledger.foresee(part, {one.key for one in part}, now_ms)
        return told

    def _intended(self, pairs: Iterable[tuple[Occurrence, str]], found: Found, now_ms: int) -> list[Intended]:
        of_campaign: dict[str, list[Occurrence]] = {}
        for one, name in pairs:
            of_campaign.setdefault(name, []).append(one)
        profiles = {one.profile_id for occurrences in of_campaign.values() for one in occurrences}
        members = [member for member in found.members if member[0] in profiles]
        contacts = self.evaluator.contacts(members, now_ms) if members else {}
        causes = {id_: Cause(tuple(found.ids[id_]), (), now_ms, now_ms, now_ms) for id_ in profiles}
        intended = [
            one
            for name, occurrences in of_campaign.items()
            for one in intended_sends(occurrences, {name: self.campaigns[name]}, self.rules, contacts, causes)
        ]
        # The order of a lane, but all of a person together: what they are sent counts for the next.
        return sorted(intended, key=lambda one: (one.profile_id, one.occurred_at_ms, -one.rules.priority))


def requests_of(plan: Plan, run_id: str, lane_count: int, rules: Mapping[str, Rules]) -> list[Request]:
    """The plan in parts for the lanes' queue, campaigns of high priority first."""
    names = {*plan.failed, *(name for _, name in plan.missed)}
    parts = [
        (name, missed, failed)
        for name in sorted(names, key=lambda name: (-rules[name].priority, name))
        for missed, failed in _parts([one for one, own in plan.missed if own == name], plan.failed.get(name, ()))
    ]
    return [
        Request(f"{run_id}/{number}", str(number % lane_count), f"{run_id}/{number:08d}", run_id, name, missed, failed)
        for number, (name, missed, failed) in enumerate(parts)
    ]


def _parts(
    missed: Sequence[Occurrence], failed: Sequence[tuple[str, str]]
) -> list[tuple[Sequence[Occurrence], Sequence[tuple[str, str]]]]:
    starts = range(0, max(len(missed), len(failed)), _PART)
    return [(missed[start : start + _PART], failed[start : start + _PART]) for start in starts]


def _keys(one: Occurrence, campaign: str, found: Found) -> list[tuple[str, str]]:
    """(profile id, key) under the person's own id, then under the others: it may have been sent before a login."""
    ids = [one.profile_id, *(id_ for id_ in found.ids[one.profile_id] if id_ != one.profile_id)]
    return [(id_, idempotency_key(campaign, id_, one.occurrence_key)) for id_ in ids]


def _known(keys: Sequence[tuple[str, str]], known: Mapping[str, State]) -> tuple[tuple[str, str], str]:
    """The send that stands for an occurrence, and its state; a skip under another id, or for want of an address, does
    not bind, and one that failed only where none under another id is out or on its way.
    """
    own = keys[0]
    rows = {pair: row for pair in keys if (row := known.get(pair[1])) and _binds(row, pair == own)}
    pair = next((pair for pair, row in rows.items() if row["state"] != FAILED), next(iter(rows), own))
    return pair, rows[pair]["state"] if rows else MISSED


def _binds(row: State, is_own: bool) -> bool:
    return row["state"] != SKIPPED or (is_own and row["reason"] != NO_ADDRESS)
