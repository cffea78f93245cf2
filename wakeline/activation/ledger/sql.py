"""The ledger in a SQL database: one row per key, claimed before the ESP is called, settled after it answered.

Each call is one transaction that begins with the lease; whoever changes several sends does so in the order of their
keys, or leaves out those that somebody else is changing: see docs/decisions/0012-locks-on-postgres.md. The states are
in `wakeline.activation.ledger.states`.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from wakeline.activation.claims import Decided, Intended, Person, Waiting, idempotency_key
from wakeline.activation.consent import Consent, RecordAddress, Suppression, prevailing
from wakeline.activation.deliverability import DeliveryReport
from wakeline.activation.esp.protocol import Accepted
from wakeline.activation.gates import (
    DEFERRED,
    FRESH,
    HELD,
    MARKETING,
    RESTORED,
    Candidate,
    Cap,
    Facts,
    Rules,
    Stale,
    decide,
    restored_ledger,
)
from wakeline.activation.ledger.rows import (
    candidate_of,
    claim_of,
    claimed_again,
    decide_waiting,
    decided_of,
    decision_row,
    known_person,
    other_keys,
    reported_row,
    waiting_candidate,
)
from wakeline.activation.ledger.states import (
    CLAIMED,
    COUNTED,
    INTERRUPTED,
    NO_ADDRESS,
    OPEN_TO_THE_LOST,
    RETRY,
    SENT,
    SKIPPED,
    UNKNOWN,
    UNSETTLED,
    decided_again,
    lost,
    reopened,
    reported,
    settled,
)
from wakeline.activation.mailer import Answer
from wakeline.database import (
    campaign_pauses,
    campaign_resumes,
    consent_stamps,
    consents,
    early_reports,
    record_addresses,
    sends,
    suppressions,
)
from wakeline.engines import insert, insert_on, lock_everybody, lock_people
from wakeline.events import address_subject, normalised
from wakeline.pipeline.lanes import Lease, Ranges
from wakeline.pipeline.lanes_sql import require
from wakeline.pipeline.triggers import Occurrence

#: Whose decisions are only foreseen.
_NO_LEASE = Lease("", "", 0, 0)
#: SQLite takes at most 32,766 variables in a statement.
_CHUNK = 10_000


@dataclass(frozen=True, slots=True)
class _Moment:
    """What is the same for all sends that are decided in one transaction."""

    now_ms: int
    stale: Stale
    pauses: Mapping[str, Mapping[str, Any]]


class SqlLedger:
    """The ledger of one deployment.

    `key_ms` is how long the ESP knows an idempotency key again, in milliseconds: 0 where it takes none.
    """

    def __init__(self, engine: Engine, key_ms: int) -> None:
        self._engine = engine
        self._key_ms = key_ms

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
        self,
        lease: Lease,
        intended: Sequence[Intended],
        run_id: str,
        batch: Ranges,
        now_ms: int,
        stale: Stale = FRESH,
    ) -> list[Decided]:
        """Decide each intended send, in order, in one transaction; already decided keys are left out.

        `stale` is why marketing mail is held. Raises LeaseLostError, and then nothing was written.
        """
        told = []
        with self._engine.begin() as connection:
            require(connection, lease)
            lock_people(connection, (id_ for one in intended for id_ in one.person.ids))
            moment = _Moment(now_ms, stale, _pauses(connection))
            reports = _early(connection, _all_keys(intended)) if _has_early(connection) else {}
            for one in intended:
                if _is_heard_of(one, reports) or _is_taken(connection, one):
                    continue
                if report := reports.get(one.key):
                    _keep_first_decision(connection, reported_row(one, report, lease, run_id, batch, now_ms))
                    told.append(Decided(one.campaign, None, SENT, ""))
                    continue
                candidate = candidate_of(one)
                decision = decide(candidate, _facts(connection, candidate, one.campaign, one.person.ids, moment))
                row = decision_row(one, decision, lease, run_id, batch, now_ms)
                _keep_first_decision(connection, row)
                told.append(decided_of(one, row, decision))
            _forget_early(connection, reports)
        return told

    def foresee(self, intended: Sequence[Intended], failed: Collection[str], now_ms: int) -> list[Decided]:
        """What `claim` would decide now, in order, in a transaction that is rolled back.

        `failed` are keys that are asked about as well.
        """
        told = []
        with self._engine.connect() as connection:
            lock_people(connection, (id_ for one in intended for id_ in one.person.ids))
            # In the order that answers are written in: a lane may be settling some of them.
            own = sends.c.idempotency_key.in_(failed)
            connection.execute(sa.select(sends.c.state).where(own).order_by(sends.c.idempotency_key).with_for_update())
            moment = _Moment(now_ms, FRESH, _pauses(connection))
            reports = _early(connection, _all_keys(intended)) if _has_early(connection) else {}
            for one in intended:
                if one.key in reports or _is_heard_of(one, reports):
                    continue
                if one.key not in failed and _is_taken(connection, one):
                    continue
                candidate = candidate_of(one)
                decision = decide(candidate, _facts(connection, candidate, one.campaign, one.person.ids, moment))
                row = decision_row(one, decision, _NO_LEASE, "", {}, now_ms)
                _keep_first_decision(connection, row)  # It counts for those after it.
                told.append(decided_of(one, row, decision))
            connection.rollback()
        return told

    def reopen(self, lease: Lease, failed: Sequence[tuple[str, str]], now_ms: int) -> int:
        """Let failed sends, each (profile id, key), wait for their gates again; how many did."""
        changed = 0
        with self._engine.begin() as connection:
            require(connection, lease)
            for key in sorted(key for _, key in failed):
                query = sa.select(sends).where(sends.c.idempotency_key == key).with_for_update()
                row = connection.execute(query).mappings().first()
                values = reopened(dict(row), now_ms) if row else None
                if row and values:
                    _change(connection, dict(row), values, now_ms)
                    changed += 1
        return changed

    def settle(self, answers: Iterable[Answer]) -> None:
        """Write what the ESP answered; a fact about a claim, so it needs no lease.

        Of a claim that another run has taken up since, only that its mail is out is news.
        """
        ordered = sorted(answers, key=lambda answer: answer.claim.key)
        # They are written together, after the last of them: whoever reads changes in their order must not miss one.
        now_ms = max((answer.answered_at_ms for answer in ordered), default=0)
        with self._engine.begin() as connection:
            for answer in ordered:
                claim, at_ms = answer.claim, answer.answered_at_ms
                values = settled(answer.outcome, claim.claimed_at_ms, at_ms, claim.attempts, self._key_ms)
                statement = sa.update(sends).where(sends.c.idempotency_key == claim.key, _is_heard(answer))
                connection.execute(statement.values(**values, changed_at_ms=_later(now_ms)))

    def confirm(self, lease: Lease, reports: Sequence[DeliveryReport], now_ms: int) -> None:
        """Write what the ESP's webhooks told: a mail that it reports on was accepted, whoever lost the answer.

        While a restored ledger does not know what the lost one sent, a report on a send that is not decided on is kept
        for the decision.
        """
        if not reports:
            return
        with self._engine.begin() as connection:
            require(connection, lease)
            is_restored, restored_at_ms = _restored(connection)
            if is_restored:  # Nobody decides on a send between the look for its row and what is kept for it.
                lock_everybody(connection)
            may_be_out = _MAY_BE_OUT | (_MAY_BE_LOST & (sends.c.occurred_at_ms < restored_at_ms))
            for report in sorted(reports, key=lambda report: report.key):
                own = sends.c.idempotency_key == report.key
                values = {**reported(report), "changed_at_ms": _later(now_ms)}
                connection.execute(sa.update(sends).where(own, may_be_out).values(values))
                if is_restored:
                    _keep_early(connection, report)

    def settle_orphans(self, lease: Lease, now_ms: int) -> int:
        """Claims of the lane's earlier holders that were never settled: each may or may not have reached the ESP.

        They are handed to the ESP again while it knows the key again, and else become `unknown`, which only the ESP's
        own word can settle. Returns how many there were.
        """
        earlier = (sends.c.lane == lease.lane) & (sends.c.fencing_token < lease.fencing_token)
        # Where there are fewer lanes than before, nobody will hold the others again.
        abandoned = sa.cast(sends.c.lane, sa.Integer) >= lease.lane_count
        orphaned = (sends.c.state == CLAIMED) & (earlier | abandoned)
        with self._engine.begin() as connection:
            require(connection, lease)
            query = sa.select(sends).where(orphaned).order_by(sends.c.idempotency_key).with_for_update()
            rows = [dict(row) for row in connection.execute(query).mappings()]
            for row in rows:
                values = lost(INTERRUPTED, row["claimed_at_ms"], now_ms, 1, self._key_ms)
                if values["state"] == RETRY:
                    values["next_attempt_at_ms"] = now_ms
                _change(connection, row, values, now_ms)
        return len(rows)

    def due(self, now_ms: int, stale: Stale, limit: int) -> list[Waiting]:
        """Sends whose time has come, or whose obstacle is gone, or that expired while they waited; oldest first."""
        with self._reading() as connection:
            query = sa.select(sends).where(_is_due(_Moment(now_ms, stale, _pauses(connection))))
            rows = connection.execute(query.order_by(*_DUE_ORDER).limit(limit)).mappings().all()
        return [_waiting(dict(row)) for row in rows]

    def reclaim(
        self,
        lease: Lease,
        waiting: Sequence[Waiting],
        rules: Mapping[str, Rules],
        now_ms: int,
        stale: Stale = FRESH,
    ) -> list[Decided]:
        """Ask the gates again about sends that waited, in order, each with the person as known now.

        `rules` are those of the campaigns. What somebody else has decided in the meantime is left out. What a lost
        ledger mailed under another id of the person, as somebody reported, is sent: no gate is asked.
        """
        told = []
        with self._engine.begin() as connection:
            require(connection, lease)
            lock_people(connection, (id_ for one in waiting for id_ in (one.profile_id, *one.person.ids)))
            moment = _Moment(now_ms, stale, _pauses(connection))
            is_due, has_early = _is_due(moment), _has_early(connection)
            for one in waiting:
                query = sa.select(sends).where(sends.c.idempotency_key == one.key, is_due)
                found = connection.execute(query.with_for_update(skip_locked=True)).mappings().first()
                row = dict(found) if found else None
                report = _heard_of_other(connection, row, one.person) if row and has_early else None
                if row and report:
                    _change(connection, row, reported(report), now_ms)
                    told.append(Decided(one.campaign, None, SENT, ""))
                elif row:
                    own = rules.get(one.campaign, Rules())
                    told.append(self._decide_again(connection, lease, row, one.person, own, moment))
        return told

    def _decide_again(
        self,
        connection: Connection,
        lease: Lease,
        row: Mapping[str, Any],
        person: Person,
        rules: Rules,
        moment: _Moment,
    ) -> Decided:
        person = known_person(row, person)
        candidate = waiting_candidate(row, person, rules)
        facts = _facts(connection, candidate, row["campaign"], person.ids, moment)
        decision = decide_waiting(row, candidate, facts, self._key_ms)
        values = decided_again(row, decision) | ({} if decision else claimed_again(row, person, lease, moment.now_ms))
        _change(connection, row, values, moment.now_ms)
        claim = None if decision else claim_of({**row, **values})
        return Decided(row["campaign"], claim, values["state"], decision.reason if decision else "")

    def pause(self, campaign: str, paused_by: str, reason: str, now_ms: int) -> None:
        """Hold every send of a campaign from now on; the first who pauses it stays on record."""
        row = {"campaign": campaign, "paused_by": paused_by, "reason": reason, "paused_at_ms": now_ms}
        with self._engine.begin() as connection:
            connection.execute(insert(connection, campaign_pauses).values(row).on_conflict_do_nothing())

    def resume(self, campaign: str, resumed_by: str, now_ms: int) -> bool:
        """Let a campaign's sends go on, those held as well; whether it was paused."""
        row = {"campaign": campaign, "resumed_by": resumed_by, "resumed_at_ms": now_ms}
        with self._engine.begin() as connection:
            deleted = connection.execute(sa.delete(campaign_pauses).where(campaign_pauses.c.campaign == campaign))
            if deleted.rowcount:
                statement = insert(connection, campaign_resumes).values(row)
                connection.execute(statement.on_conflict_do_update(index_elements=["campaign"], set_=row))
        return deleted.rowcount > 0

    def pauses(self) -> dict[str, Mapping[str, Any]]:
        """The paused campaigns, by name: since when, by whom and why."""
        with self._reading() as connection:
            return _pauses(connection)

    def resumes(self) -> dict[str, Mapping[str, Any]]:
        """The campaigns that were paused once, by name: when they were last let go on, and by whom."""
        with self._reading() as connection:
            rows = connection.execute(sa.select(campaign_resumes)).mappings()
            return {row["campaign"]: dict(row) for row in rows}

    def _reading(self) -> Connection:
        return self._engine.connect().execution_options(read_only=True)


def _reopenable() -> sa.ColumnElement[bool]:
    return (sends.c.state == SKIPPED) & (sends.c.reason == NO_ADDRESS)


# A retry that is certainly not out yet is not what a report is about. What a lost ledger may have mailed is.
_MAY_BE_OUT = sends.c.state.in_((CLAIMED, UNKNOWN)) | (
    (sends.c.state == RETRY) & sends.c.may_be_out_since_ms.is_not(None)
)
_MAY_BE_LOST = sends.c.state.in_(OPEN_TO_THE_LOST) | _reopenable()


_RESTORED = sa.union_all(
    sa.select(sa.true(), campaign_pauses.c.paused_at_ms).where(campaign_pauses.c.campaign == RESTORED),
    sa.select(sa.false(), campaign_resumes.c.resumed_at_ms).where(campaign_resumes.c.campaign == RESTORED),
)


def _restored(connection: Connection) -> tuple[bool, int]:
    """Whether mails are held after a restore; and what occurred before when may have been mailed by a lost ledger.

    0 where none is lost. After somebody has let the held mails go, too: a paused campaign may hold some for longer.
    """
    found: list[tuple[bool, int]] = [(row[0], row[1]) for row in connection.execute(_RESTORED)]
    return any(is_paused for is_paused, _ in found), max((at_ms for _, at_ms in found), default=0)


def _keep_early(connection: Connection, report: DeliveryReport) -> None:
    values = [sa.literal(value, early_reports.c[name].type) for name, value in asdict(report).items()]
    is_known = sa.exists().where(sends.c.idempotency_key == report.key)
    unknown = sa.select(*values).where(sa.not_(is_known))
    statement = insert(connection, early_reports).from_select(list(asdict(report)), unknown)
    connection.execute(statement.on_conflict_do_nothing())


def _early(connection: Connection, wanted: Iterable[str]) -> dict[str, DeliveryReport]:
    """Key -> what was reported on it before it was decided on."""
    keys: list[str] = sorted(set(wanted))
    found: dict[str, DeliveryReport] = {}
    for start in range(0, len(keys), _CHUNK):
        query = sa.select(early_reports).where(early_reports.c.key.in_(keys[start : start + _CHUNK]))
        found |= {row["key"]: DeliveryReport(**row) for row in connection.execute(query).mappings()}
    return found


def _forget_early(connection: Connection, reports: Mapping[str, DeliveryReport]) -> None:
    """Those that a send has heard by now; one under another id stands for the person for ever."""
    for key in sorted(reports):
        is_known = sa.exists().where(sends.c.idempotency_key == key)
        connection.execute(sa.delete(early_reports).where(early_reports.c.key == key, is_known))


# Statements that run for every send are built once: building one takes longer than SQLite takes to run it.

# Before a login the same person may have been mailed under the device's id; a skip there does not bind.
_TAKEN = (
    sa.select(sa.literal(1))
    .where(
        ((sends.c.idempotency_key == sa.bindparam("key")) & sa.not_(_reopenable()))
        | (sends.c.idempotency_key.in_(sa.bindparam("others", expanding=True)) & (sends.c.state != SKIPPED))
    )
    .limit(1)
)


_ANY_EARLY = sa.select(sa.literal(1)).select_from(early_reports).limit(1)


def _has_early(connection: Connection) -> bool:
    """Whether anything is kept for later decisions: most ledgers never were restored."""
    return connection.execute(_ANY_EARLY).first() is not None


def _heard_of_other(connection: Connection, row: Mapping[str, Any], person: Person) -> DeliveryReport | None:
    """What was reported on the same send under another id of the person."""
    keys = other_keys(row["campaign"], row["profile_id"], row["occurrence_key"], person.ids)
    reports = _early(connection, keys)
    return next((reports[key] for key in keys if key in reports), None)


def _is_taken(connection: Connection, one: Intended) -> bool:
    return connection.execute(_TAKEN, {"key": one.key, "others": _other_keys(one)}).first() is not None


def _is_heard_of(one: Intended, reports: Mapping[str, DeliveryReport]) -> bool:
    """A mail under another id of the person is out, as somebody reported."""
    return bool(reports) and not reports.keys().isdisjoint(_other_keys(one))


def _all_keys(intended: Iterable[Intended]) -> Iterator[str]:
    return (key for one in intended for key in (one.key, *_other_keys(one)))


def _other_keys(one: Intended) -> list[str]:
    return other_keys(one.campaign, one.profile_id, one.occurrence_key, one.person.ids)


def _is_heard(answer: Answer) -> sa.ColumnElement[bool]:
    if isinstance(answer.outcome, Accepted):
        return sends.c.state.in_(UNSETTLED)
    return sends.c.state.in_((CLAIMED, UNKNOWN)) & (sends.c.attempts == answer.claim.attempts)


def _keep_first_decision(connection: Connection, row: dict[str, Any]) -> None:
    connection.execute(_first_decision(connection.dialect.name, tuple(row)), row)


@cache
def _first_decision(dialect: str, names: tuple[str, ...]) -> sa.Insert:
    statement = insert_on(dialect, sends)
    changed: dict[str, Any] = {name: statement.excluded[name] for name in names if name != "idempotency_key"}
    changed["changed_at_ms"] = _later(statement.excluded.changed_at_ms)
    return statement.on_conflict_do_update(index_elements=["idempotency_key"], set_=changed, where=_reopenable())


def _change(connection: Connection, row: Mapping[str, Any], values: Mapping[str, Any], now_ms: int) -> None:
    own = sends.c.idempotency_key == row["idempotency_key"]
    connection.execute(sa.update(sends).where(own).values(**values, changed_at_ms=_later(now_ms)))


def _later(now_ms: int | sa.ColumnElement[int]) -> sa.ColumnElement[int]:
    """The time of a change, after that of the row's last: copies of the row go by it."""
    return sa.case((sends.c.changed_at_ms >= now_ms, sends.c.changed_at_ms + 1), else_=now_ms)


_DUE_ORDER = (sends.c.next_attempt_at_ms, sends.c.priority.desc(), sends.c.occurred_at_ms, sends.c.idempotency_key)


def _is_due(moment: _Moment) -> sa.ColumnElement[bool]:
    """What is held comes up when nothing holds it any more, or when it has expired: not at every look."""
    at_its_time = sends.c.state.in_((RETRY, DEFERRED)) & (sends.c.next_attempt_at_ms <= moment.now_ms)
    stale = sa.true() if moment.stale.of_all else sends.c.campaign.in_(list(moment.stale.of_campaigns))
    not_stale = (sends.c.campaign_class != MARKETING) | sa.not_(stale)
    restored = moment.pauses.get(RESTORED)
    # One that was held for something else before is told its new reason once.
    known = sends.c.reason != restored_ledger.__name__ if restored else sa.true()
    let_go = sends.c.campaign.not_in(list(moment.pauses)) & not_stale & known
    return at_its_time | ((sends.c.state == HELD) & (let_go | (sends.c.expires_at_ms <= moment.now_ms)))


def _pauses(connection: Connection) -> dict[str, Mapping[str, Any]]:
    rows = connection.execute(sa.select(campaign_pauses)).mappings()
    return {row["campaign"]: dict(row) for row in rows}


def _waiting(row: Mapping[str, Any]) -> Waiting:
    ids = tuple(row["contact"].get("ids") or [row["profile_id"]])
    return Waiting(row["idempotency_key"], row["campaign"], row["profile_id"], Person(ids, row["contact"]))


def _facts(connection: Connection, candidate: Candidate, campaign: str, ids: Sequence[str], moment: _Moment) -> Facts:
    address = normalised(candidate.address)
    is_marketing = candidate.campaign_class == MARKETING
    return Facts(
        now_ms=moment.now_ms,
        consent=_consent(connection, ids, address, candidate.purpose) if candidate.purpose else None,
        suppression=_suppression(connection, address) if address else None,
        caps=_caps(connection, candidate.rules, campaign, ids, moment.now_ms) if is_marketing else (),
        rival=_rival(connection, candidate.rules, ids, moment.now_ms) if is_marketing else None,
        stale=moment.stale.of(campaign),
        pause=moment.pauses.get(campaign),
        restored=moment.pauses.get(RESTORED),
    )


def _caps(
    connection: Connection, rules: Rules, campaign: str, ids: Sequence[str], now_ms: int
) -> tuple[tuple[Cap, int], ...]:
    of_campaign, of_marketing = sends.c.campaign == campaign, sends.c.campaign_class == MARKETING
    caps = ((rules.marketing_cap, of_marketing), (rules.cap, of_campaign))
    return tuple((cap, _count(connection, ids, scope, now_ms - cap.window_ms)) for cap, scope in caps if cap)


_WITHIN = sends.c.state.in_(COUNTED) & (sends.c.claimed_at_ms > sa.bindparam("since_ms"))
_OF_PERSON = sends.c.profile_id.in_(sa.bindparam("ids", expanding=True))
_SENT_COUNT = sa.select(sa.func.count()).where(_OF_PERSON, _WITHIN | (sends.c.state == RETRY))


def _count(connection: Connection, ids: Sequence[str], scope: sa.ColumnElement[bool], since_ms: int) -> int:
    query = _SENT_COUNT.where(scope)
    return int(connection.execute(query, {"ids": list(ids), "since_ms": since_ms}).scalar_one())


_RIVAL = (
    sa.select(sends.c.idempotency_key, sends.c.campaign, sends.c.priority)
    .where(
        _OF_PERSON,
        sends.c.campaign_class == MARKETING,
        sends.c.priority > sa.bindparam("priority"),
        _WITHIN | sends.c.state.in_((RETRY, DEFERRED)),
    )
    .order_by(sends.c.priority.desc(), sends.c.claimed_at_ms.desc(), sends.c.idempotency_key)
    .limit(1)
)


def _rival(connection: Connection, rules: Rules, ids: Sequence[str], now_ms: int) -> Mapping[str, Any] | None:
    if not rules.priority_window_ms:
        return None
    asked = {"ids": list(ids), "priority": rules.priority, "since_ms": now_ms - rules.priority_window_ms}
    row = connection.execute(_RIVAL, asked).mappings().first()
    return dict(row) if row else None


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


def _consent(connection: Connection, ids: Sequence[str], address: str, purpose: str | None) -> Mapping[str, Any] | None:
    subjects = [*ids, *([address_subject(address)] if address else [])]
    statement, stamp = (_latest(connection, table, subjects, purpose) for table in (consents, consent_stamps))
    return prevailing(statement, stamp)


_LATEST = {
    table: sa.select(table)
    .where(
        table.c.subject.in_(sa.bindparam("subjects", expanding=True)),
        table.c.purpose == sa.bindparam("of"),
    )
    .order_by(table.c.occurred_at_ms.desc(), table.c.granted, table.c.subject)
    .limit(1)
    for table in (consents, consent_stamps)
}


def _latest(
    connection: Connection, table: sa.Table, subjects: list[str], purpose: str | None
) -> Mapping[str, Any] | None:
    row = connection.execute(_LATEST[table], {"subjects": subjects, "of": purpose}).mappings().first()
    return {**row, "stamp": table is consent_stamps} if row else None


_SUPPRESSION = sa.select(suppressions).where(suppressions.c.address == sa.bindparam("of"))


def _suppression(connection: Connection, address: str) -> Mapping[str, Any] | None:
    row = connection.execute(_SUPPRESSION, {"of": address}).mappings().first()
    return dict(row) if row else None
