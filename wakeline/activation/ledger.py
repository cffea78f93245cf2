"""The ledger: one row per idempotency key, claimed before the ESP is called, settled after it answered.

States and transitions:

    (new) -> skipped                     a gate said no; final, but `no_address` reopens once an address is known
    (new) -> claimed -> sent             the ESP accepted it
                     -> failed           the ESP refused it for good
                     -> retry -> claimed the ESP said later, or the request never left; gated again
                     -> unknown          the answer was lost; never sent again unless the ESP takes the key
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from wakeline.activation.claims import Claim, Decided, Intended, idempotency_key
from wakeline.activation.consent import Consent, RecordAddress, Suppression, prevailing
from wakeline.activation.esp.protocol import Accepted, Outcome, Rejected, TryLater
from wakeline.activation.gates import MARKETING, Candidate, Cap, Facts, Skip, decide
from wakeline.activation.mailer import Answer
from wakeline.database import consent_stamps, consents, record_addresses, sends, suppressions
from wakeline.engines import insert, lock_consents, lock_everybody, lock_people
from wakeline.events import address_subject, normalised
from wakeline.pipeline.lanes import Lease, Ranges, require
from wakeline.pipeline.triggers import Occurrence

CLAIMED, SENT, FAILED, RETRY, UNKNOWN, SKIPPED = "claimed", "sent", "failed", "retry", "unknown", "skipped"
#: Why a send that may already be out is looked at again.
INTERRUPTED = "the run ended before the ESP's answer was recorded"
#: States that count against a frequency cap: the mail is out, or may be.
_COUNTED = (CLAIMED, SENT, RETRY, UNKNOWN)
#: SQLite takes at most 32,766 variables in a statement.
_CHUNK = 10_000


class Ledger:
    """The ledger of one deployment; `marketing_cap` is the cap over all marketing campaigns together."""

    def __init__(self, engine: Engine, marketing_cap: Cap) -> None:
        self._engine = engine
        self._marketing_cap = marketing_cap

    def record(
        self,
        lease: Lease,
        consents_: Sequence[Consent],
        suppressions_: Sequence[Suppression],
        addresses: Sequence[RecordAddress] = (),
    ) -> None:
        """Keep what people said: the latest word wins, a no wins a tie, and a suppression is for ever.

        Any order gives the same result.
        """
        if not consents_ and not suppressions_ and not addresses:
            return
        with self._engine.begin() as connection:
            require(connection, lease)
            lock_everybody(connection)
            for address in addresses:
                _tie(connection, address)
            for consent in consents_:
                for subject in _subjects(connection, consent):
                    _keep_latest(connection, consent, subject)
            for suppression in suppressions_:
                _keep_earliest(connection, suppression)

    def undecided(
        self, occurrences: Sequence[Occurrence], campaigns_of: Mapping[str, Sequence[str]]
    ) -> list[Occurrence]:
        """The occurrences that some campaign of their trigger (`campaigns_of`) has not decided on for good."""
        keys = [
            (one, idempotency_key(campaign, one.profile_id, one.occurrence_key))
            for one in occurrences
            for campaign in campaigns_of.get(one.trigger, ())
        ]
        decided = self._decided({key for _, key in keys})
        return list({id(one): one for one, key in keys if key not in decided}.values())

    def _decided(self, keys: set[str]) -> set[str]:
        ordered: list[str] = sorted(keys)
        found: set[str] = set()
        with self._reading() as connection:
            for start in range(0, len(ordered), _CHUNK):
                chunk = ordered[start : start + _CHUNK]
                query = sa.select(sends.c.idempotency_key).where(
                    sends.c.idempotency_key.in_(chunk), sa.not_(_reopenable())
                )
                found.update(connection.execute(query).scalars())
        return found

    def claim(
        self, lease: Lease, intended: Sequence[Intended], run_id: str, batch: Ranges, now_ms: int
    ) -> list[Decided]:
        """Decide each intended send, in order, in one transaction; already decided keys are left out.

        Raises LeaseLostError, and then nothing was written.
        """
        decided = []
        with self._engine.begin() as connection:
            require(connection, lease)
            lock_people(connection, (id_ for one in intended for id_ in one.ids))
            for one in intended:
                if self._is_taken(connection, one):
                    continue
                skip = decide(_candidate(one), self._facts(connection, one, now_ms))
                _decide(connection, _row(one, skip, lease, run_id, batch, now_ms))
                decided.append(_decided(one, skip))
        return decided

    def _is_taken(self, connection: Connection, one: Intended) -> bool:
        own = sends.c.idempotency_key == one.key
        others = [idempotency_key(one.campaign, id_, one.occurrence_key) for id_ in one.ids if id_ != one.profile_id]
        # Before a login the same person may have been mailed under the device's id; a skip there does not bind.
        under_other_id = sends.c.idempotency_key.in_(others) & (sends.c.state != SKIPPED)
        query = sa.select(sa.literal(1)).where((own & sa.not_(_reopenable())) | under_other_id)
        return connection.execute(query.limit(1)).first() is not None

    def _facts(self, connection: Connection, one: Intended, now_ms: int) -> Facts:
        address = normalised(one.address)
        return Facts(
            now_ms=now_ms,
            consent=_consent(connection, one, address) if one.purpose else None,
            suppression=_suppression(connection, address) if address else None,
            caps=self._caps(connection, one, now_ms) if one.campaign_class == MARKETING else (),
        )

    def _caps(self, connection: Connection, one: Intended, now_ms: int) -> tuple[tuple[Cap, int], ...]:
        everywhere = sends.c.campaign_class == MARKETING
        caps = [(self._marketing_cap, everywhere)]
        if one.cap is not None:
            caps.append((one.cap, sends.c.campaign == one.campaign))
        return tuple((cap, _count(connection, one, scope, now_ms - cap.window_ms)) for cap, scope in caps)

    def settle(self, answers: Iterable[Answer]) -> None:
        """Write what the ESP answered; a fact about a claim, so it needs no lease."""
        with self._engine.begin() as connection:
            # In the order of the keys, as all who change several: nobody waits for a row in a circle.
            for answer in sorted(answers, key=lambda answer: answer.claim.key):
                claim = answer.claim
                connection.execute(
                    sa.update(sends)
                    .where(sends.c.idempotency_key == claim.key, sends.c.state.in_((CLAIMED, UNKNOWN)))
                    .values(attempts=claim.attempts + 1, **_settled(answer.outcome, answer.answered_at_ms))
                )

    def settle_orphans(self, lease: Lease, takes_idempotency_key: bool, now_ms: int) -> int:
        """Claims of the lane's earlier holders that were never settled: each may or may not have reached the ESP.

        They are handed to the ESP again if it takes the key, and else become `unknown`, which only the ESP's own
        word can settle. Returns how many there were.
        """
        earlier = (sends.c.lane == lease.lane) & (sends.c.fencing_token < lease.fencing_token)
        # Where there are fewer lanes than before, nobody will hold the others again.
        abandoned = sa.cast(sends.c.lane, sa.Integer) >= lease.lane_count
        orphaned = (sends.c.state == CLAIMED) & (earlier | abandoned)
        state = RETRY if takes_idempotency_key else UNKNOWN
        with self._engine.begin() as connection:
            require(connection, lease)
            # In the order of the keys, as `settle` does.
            keys = sa.select(sends.c.idempotency_key).where(orphaned).order_by(sends.c.idempotency_key)
            if not connection.execute(keys.with_for_update()).all():
                return 0
            changed = connection.execute(
                sa.update(sends).where(orphaned).values(state=state, reason=INTERRUPTED, next_attempt_at_ms=now_ms)
            )
        return int(changed.rowcount)

    def reclaim_due(self, lease: Lease, now_ms: int, limit: int) -> list[Claim]:
        """Claim again what the ESP put off until now; each passes the gates anew (it may have expired since)."""
        query = (
            sa.select(sends)
            .where(sends.c.state == RETRY, sends.c.next_attempt_at_ms <= now_ms)
            .order_by(sends.c.next_attempt_at_ms)
            .limit(limit)
        )
        with self._reading() as connection:
            if connection.execute(query.limit(1)).first() is None:
                return []
        with self._engine.begin() as connection:
            require(connection, lease)
            lock_consents(connection)
            # Where another lane claims the same again at this moment, it is that lane's.
            rows = connection.execute(query.with_for_update(skip_locked=True)).mappings().all()
            return [claim for row in rows if (claim := self._reclaim(connection, lease, dict(row), now_ms))]

    def _reclaim(self, connection: Connection, lease: Lease, row: Mapping[str, Any], now_ms: int) -> Claim | None:
        address = normalised(row["address"])
        subjects = [*row["contact"].get("ids", [row["profile_id"]]), address_subject(address)]
        consent = _consent_of(connection, subjects, row["purpose"])
        candidate = Candidate(row["campaign_class"], row["purpose"], row["address"], row["expires_at_ms"])
        # Its own first claim already counts against the caps.
        skip = decide(candidate, Facts(now_ms, consent=consent, suppression=_suppression(connection, address)))
        values: dict[str, Any] = {
            "state": CLAIMED,
            "lane": lease.lane,
            "fencing_token": lease.fencing_token,
            "reason": "",
        }
        if skip:
            values = {"state": SKIPPED, "reason": skip.reason, "record": skip.record}
        if skip and row["reason"] == INTERRUPTED:
            values |= {"state": UNKNOWN, "reason": f"{INTERRUPTED}; not tried again: {skip.reason}"}
        connection.execute(sa.update(sends).where(sends.c.idempotency_key == row["idempotency_key"]).values(**values))
        return None if skip else _claim_of(row)

    def _reading(self) -> Connection:
        return self._engine.connect().execution_options(read_only=True)


def _reopenable() -> sa.ColumnElement[bool]:
    return (sends.c.state == SKIPPED) & (sends.c.reason == "no_address")


def _candidate(one: Intended) -> Candidate:
    return Candidate(one.campaign_class, one.purpose, one.address, one.expires_at_ms)


def _decided(one: Intended, skip: Skip | None) -> Decided:
    claim = None if skip else Claim(one.key, one.campaign, one.profile_id, one.contact, one.context, attempts=0)
    return Decided(one.campaign, claim, skip.reason if skip else "")


def _row(one: Intended, skip: Skip | None, lease: Lease, run_id: str, batch: Ranges, now_ms: int) -> dict[str, Any]:
    return {
        "idempotency_key": one.key,
        "campaign": one.campaign,
        "profile_id": one.profile_id,
        "occurrence_key": one.occurrence_key,
        "campaign_class": one.campaign_class,
        "purpose": one.purpose,
        "state": SKIPPED if skip else CLAIMED,
        "reason": skip.reason if skip else "",
        "record": skip.record if skip else None,
        "address": one.address,
        "occurred_at_ms": one.occurred_at_ms,
        "expires_at_ms": one.expires_at_ms,
        "trigger_hash": one.trigger_hash,
        "campaign_hash": one.campaign_hash,
        "message_ids": list(one.message_ids),
        "contact": one.contact,
        "context": one.context,
        "run_id": run_id,
        "lane": lease.lane,
        "fencing_token": lease.fencing_token,
        "batch": {str(partition): list(bounds) for partition, bounds in batch.items()},
        "claimed_at_ms": now_ms,
        **asdict(one.stages),
    }


def _decide(connection: Connection, row: Mapping[str, Any]) -> None:
    statement = insert(connection, sends).values(row)
    changed = {name: statement.excluded[name] for name in row if name != "idempotency_key"}
    connection.execute(
        statement.on_conflict_do_update(index_elements=["idempotency_key"], set_=changed, where=_reopenable())
    )


def _settled(outcome: Outcome, now_ms: int) -> dict[str, Any]:
    if isinstance(outcome, Accepted):
        return {"state": SENT, "provider_id": outcome.provider_id, "esp_accepted_at_ms": now_ms, "reason": ""}
    if isinstance(outcome, Rejected):
        return {"state": FAILED, "reason": outcome.reason}
    if isinstance(outcome, TryLater):
        due = now_ms + round(outcome.after_seconds * 1000)
        return {"state": RETRY, "reason": outcome.reason, "next_attempt_at_ms": due}
    return {"state": UNKNOWN, "reason": outcome.reason}


def _subjects(connection: Connection, consent: Consent) -> list[str]:
    """Whoever said it on a mail, said it for the address the mail went to, whoever else uses that.

    A record's no is one of its addresses as well; what it agrees to, nobody has said on the address.
    """
    of_mail = sa.select(sends.c.address).where(sends.c.idempotency_key == consent.key, sends.c.address != "")
    addresses: list[str] = list(connection.execute(of_mail).scalars()) if consent.key else []
    if not consent.granted:
        of_record = sa.select(record_addresses.c.address).where(record_addresses.c.subject == consent.subject)
        addresses += connection.execute(of_record).scalars()
    return list(dict.fromkeys([consent.subject, *map(address_subject, addresses)]))


def _tie(connection: Connection, record: RecordAddress) -> None:
    """From now on the record's no is the address's; the one it has said already is so at once."""
    connection.execute(insert(connection, record_addresses).values(**asdict(record)).on_conflict_do_nothing())
    for table in (consents, consent_stamps):
        said = sa.select(table).where(table.c.subject == record.subject, sa.not_(table.c.granted))
        for row in connection.execute(said).mappings().all():
            consent = Consent(**row, stamp=table is consent_stamps)
            _keep_latest(connection, consent, address_subject(record.address))


def _keep_latest(connection: Connection, consent: Consent, subject: str) -> None:
    table = consent_stamps if consent.stamp else consents
    statement = insert(connection, table).values(
        subject=subject,
        purpose=consent.purpose,
        granted=consent.granted,
        occurred_at_ms=consent.occurred_at_ms,
        message_id=consent.message_id,
    )
    new, old = statement.excluded, table.c
    # Where two events say the same at the same time, the record is that of the larger message id.
    strength = [sa.tuple_(row.occurred_at_ms, sa.not_(row.granted), row.message_id) for row in (new, old)]
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["subject", "purpose"],
            set_={name: new[name] for name in ("granted", "occurred_at_ms", "message_id")},
            where=strength[0] > strength[1],
        )
    )


def _keep_earliest(connection: Connection, suppression: Suppression) -> None:
    statement = insert(connection, suppressions).values(**asdict(suppression))
    new, old = statement.excluded, suppressions.c
    age = [sa.tuple_(row.occurred_at_ms, row.message_id, row.reason) for row in (new, old)]
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["address"],
            set_={name: new[name] for name in ("reason", "occurred_at_ms", "message_id")},
            where=age[0] < age[1],
        )
    )


def _consent(connection: Connection, one: Intended, address: str) -> Mapping[str, Any] | None:
    subjects = [*one.ids, *([address_subject(address)] if address else [])]
    return _consent_of(connection, subjects, one.purpose)


def _consent_of(connection: Connection, subjects: list[str], purpose: str | None) -> Mapping[str, Any] | None:
    statement, stamp = (_latest(connection, table, subjects, purpose) for table in (consents, consent_stamps))
    return prevailing(statement, stamp)


def _latest(
    connection: Connection, table: sa.Table, subjects: list[str], purpose: str | None
) -> Mapping[str, Any] | None:
    query = (
        sa.select(table)
        .where(table.c.subject.in_(subjects), table.c.purpose == purpose)
        .order_by(table.c.occurred_at_ms.desc(), table.c.granted, table.c.subject)
        .limit(1)
    )
    row = connection.execute(query).mappings().first()
    return {**row, "stamp": table is consent_stamps} if row else None


def _suppression(connection: Connection, address: str) -> Mapping[str, Any] | None:
    row = connection.execute(sa.select(suppressions).where(suppressions.c.address == address)).mappings().first()
    return dict(row) if row else None


def _count(connection: Connection, one: Intended, scope: sa.ColumnElement[bool], since_ms: int) -> int:
    query = sa.select(sa.func.count()).where(
        sends.c.profile_id.in_(one.ids), sends.c.claimed_at_ms > since_ms, sends.c.state.in_(_COUNTED), scope
    )
    return int(connection.execute(query).scalar_one())


def _claim_of(row: Mapping[str, Any]) -> Claim:
    return Claim(
        row["idempotency_key"],
        row["campaign"],
        row["profile_id"],
        row["contact"],
        row["context"],
        row["attempts"],
    )
