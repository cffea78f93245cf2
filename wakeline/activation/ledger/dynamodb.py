"""The ledger on DynamoDB: what a decision goes by is read first, and it is written only if none of that has changed.

Every transaction checks the lease's fencing token. See docs/decisions/0014-versions-on-dynamodb.md.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import Any

from wakeline.activation.claims import Decided, Intended, Person, Waiting, idempotency_key
from wakeline.activation.consent import Consent, RecordAddress, Suppression
from wakeline.activation.deliverability import DeliveryReport
from wakeline.activation.esp.protocol import Accepted, TryLater
from wakeline.activation.gates import FRESH, HELD, RESTORED, Facts, Rules, Stale, decide, precedes
from wakeline.activation.ledger.dynamodb_facts import Asked, Moment, facts_of, keys_of, read_counted
from wakeline.activation.ledger.dynamodb_items import (
    HELD_KIND,
    SHARDS,
    claimed_kind,
    due_order,
    early_report,
    is_reopenable,
    item_of,
    occurred_at,
    owner_key,
    owner_of,
    packed_report,
    row_of,
    send_key,
    subjects_of,
    timed_kind,
    until,
    version_key,
    versioned,
)
from wakeline.activation.ledger.dynamodb_said import Said
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
    INTERRUPTED,
    OPEN_TO_THE_LOST,
    RETRY,
    SENT,
    SKIPPED,
    UNKNOWN,
    UNSETTLED,
    WAITING,
    decided_again,
    lost,
    reopened,
    reported,
    settled,
)
from wakeline.activation.mailer import Answer
from wakeline.dynamodb import MOST_ACTIONS, Action, ChangedError, Key, Table, check, delete, put, update
from wakeline.errors import LeaseLostError, LedgerError
from wakeline.pipeline.lanes import Lease, Ranges, lease_lost
from wakeline.pipeline.lanes_dynamodb import LANES, fence
from wakeline.pipeline.triggers import Occurrence

#: Whose decisions are only foreseen.
_NO_LEASE = Lease("", "", 0, 0)
_PAUSES, _RESUMES = "pauses", "resumes"
#: Bytes in one transaction; AWS takes 4 MB.
_MOST_BYTES = 2_000_000
# Of an item besides its JSON, at most.
_OTHER_BYTES = 8_000
_MOST_CHANGES = 40
_ATTEMPTS = 50

Row = dict[str, Any]
#: The columns of a row that change, or None.
Change = Callable[[Row], Mapping[str, Any] | None]


@dataclass(frozen=True, slots=True)
class _Task:
    """One send to decide on."""

    profile_id: str
    key: str
    ids: tuple[str, ...]
    #: Sends under the person's other ids: one of them that was not skipped stands for this one.
    others: tuple[Key, ...]
    #: What the gates are asked, of the send's row if there is one; None: it is decided.
    asks: Callable[[Row | None], Asked | None]
    #: The new row, and what the lane is told.
    decides: Callable[[Row | None, Facts], tuple[Row, Decided]]
    #: The row of one that is out already, as somebody reported.
    out: Callable[[Row | None, DeliveryReport], Row]
    #: Whether it waited: then it has a row, which a report on the same send under another id settles.
    waited: bool = False


class DynamoLedger:
    """The ledger of one deployment.

    `key_ms` is how long the ESP knows an idempotency key again, in milliseconds: 0 where it takes none.
    """

    def __init__(self, table: Table, key_ms: int) -> None:
        self._table = table
        self._key_ms = key_ms
        self._said = Said(table)

    def record(
        self,
        lease: Lease,
        consents_: Sequence[Consent],
        suppressions_: Sequence[Suppression],
        addresses: Sequence[RecordAddress] = (),
    ) -> None:
        """Keep what people said: the latest word wins, a no wins a tie, and a suppression is for ever."""
        if consents_ or suppressions_ or addresses:
            self._said.record(lease, consents_, suppressions_, addresses)

    def undecided(
        self, occurrences: Sequence[Occurrence], campaigns_of: Mapping[str, Sequence[str]]
    ) -> list[Occurrence]:
        """The occurrences that some campaign of their trigger (`campaigns_of`) has not decided on for good."""
        keys = [
            (one, send_key(one.profile_id, idempotency_key(campaign, one.profile_id, one.occurrence_key)))
            for one in occurrences
            for campaign in campaigns_of.get(one.trigger, ())
        ]
        found = self._table.get(key for _, key in keys)
        decided = {key for key, item in found.items() if not is_reopenable(item)}
        return list({id(one): one for one, key in keys if key not in decided}.values())

    def claim(
        self,
        lease: Lease,
        intended: Sequence[Intended],
        run_id: str,
        batch: Ranges,
        now_ms: int,
        stale: Stale = FRESH,
    ) -> list[Decided]:
        """Decide each intended send, in order; already decided keys are left out.

        In several transactions, each of sends to different people. When one fails, what the others claimed is given
        back: it was not handed to the ESP. `stale` is why marketing mail is held.
        """
        moment = Moment(now_ms, stale, self.pauses())
        return self._decide(lease, [_new(one, lease, run_id, batch, now_ms) for one in intended], moment)

    def foresee(self, intended: Sequence[Intended], failed: Collection[str], now_ms: int) -> list[Decided]:
        """What `claim` would decide now, in order; `failed` are keys that are asked about as well.

        Each as if it were the only one: a cap that the sends reach together is not seen.
        """
        moment = Moment(now_ms, FRESH, self.pauses())
        tasks = [_new(one, _NO_LEASE, "", {}, now_ms, one.key in failed) for one in intended]
        told = [decided for part in _of_different_people(tasks) for decided in self._prepared(part, moment, True)[0]]
        return [one for one in told if one.state != SENT]

    def reopen(self, lease: Lease, failed: Sequence[tuple[str, str]], now_ms: int) -> int:
        """Let failed sends, each (profile id, key), wait for their gates again; how many did."""

        def change(row: Row) -> Mapping[str, Any] | None:
            values = reopened(row, now_ms)
            return {**values, "changed_at_ms": now_ms} if values else None

        return self._change(lease, [(send_key(profile_id, key), change) for profile_id, key in failed])

    def settle(self, answers: Iterable[Answer]) -> None:
        """Write what the ESP answered; a fact about a claim, so it needs no lease.

        Of a claim that another run has taken up since, only that its mail is out is news.
        """

        def change(answer: Answer) -> Change:
            claim, at_ms = answer.claim, answer.answered_at_ms
            values = settled(answer.outcome, claim.claimed_at_ms, at_ms, claim.attempts, self._key_ms)
            return lambda row: {**values, "changed_at_ms": at_ms} if _is_heard(answer, row) else None

        told = [(send_key(one.claim.profile_id, one.claim.key), change(one)) for one in answers]
        self._change(None, told)

    def confirm(self, lease: Lease, reports: Sequence[DeliveryReport], now_ms: int) -> None:
        """Write what the ESP's webhooks told: a mail that it reports on was accepted, whoever lost the answer.

        While a restored ledger does not know what the lost one sent, a report on a send that is not decided on is kept
        for the decision.
        """
        if not reports:
            return
        owners = self._table.get(owner_key(report.key) for report in reports)
        restored_at_ms = cache(self._restored_at_ms)

        def change(report: DeliveryReport) -> Change:
            values = {**reported(report), "changed_at_ms": now_ms}
            return lambda row: values if _may_be_out(row, restored_at_ms) else None

        known = [(owner, one) for one in reports if (owner := owner_of(owners, one.key))]
        self._change(lease, [(send_key(owner, one.key), change(one)) for owner, one in known])
        new = {one.key: one for one in reversed(reports) if owner_key(one.key) not in owners}
        if new and RESTORED in self.pauses():
            self._keep_early(lease, list(new.values()), now_ms)

    def _keep_early(self, lease: Lease, reports: Sequence[DeliveryReport], now_ms: int) -> None:
        """For the decisions to come; reports on different sends, on which nothing is kept yet: the first stays."""
        for start in range(0, len(reports), MOST_ACTIONS - 1):
            chunk = reports[start : start + MOST_ACTIONS - 1]
            nothing = {"profile_id": None, "report": None}
            kept = [update(owner_key(one.key), {"report": packed_report(one)}, nothing) for one in chunk]
            try:
                self._table.write([fence(lease), *kept])
            except ChangedError as changed:
                if 0 in changed.failed:
                    raise lease_lost(lease) from changed
                self.confirm(lease, chunk, now_ms)  # Some were decided on meanwhile, or reported on.

    def _restored_at_ms(self) -> int:
        """What occurred before then may have been mailed by a ledger that is lost; 0 where none is.

        After somebody has let the held mails go, too: a paused campaign may hold some of them for longer.
        """
        paused = self.pauses().get(RESTORED)  # First: whoever lets them go moves it into the other.
        resumed = self.resumes().get(RESTORED)
        return max(paused["paused_at_ms"] if paused else 0, resumed["resumed_at_ms"] if resumed else 0)

    def settle_orphans(self, lease: Lease, now_ms: int) -> int:
        """Claims of the lane's earlier holders that were never settled: each may or may not have reached the ESP.

        They are handed to the ESP again while it knows the key again, and else become `unknown`, which only the ESP's
        own word can settle. Returns how many there were. One claimed a moment ago may be missed, and is then found by
        the next holder.
        """
        orphans = list(self._orphans(lease))

        def change(row: Row) -> Mapping[str, Any] | None:
            if row["state"] != CLAIMED:
                return None
            values = lost(INTERRUPTED, row["claimed_at_ms"], now_ms, 1, self._key_ms)
            at_once = {"next_attempt_at_ms": now_ms} if values["state"] == RETRY else {}
            return {**values, **at_once, "changed_at_ms": now_ms}

        return self._change(lease, [(key, change) for key in orphans])

    def _orphans(self, lease: Lease) -> Iterator[Key]:
        # Where there are fewer lanes than before, nobody will hold the others again.
        lanes = [item["lane"] for item in self._table.query(LANES, "lane#")]
        gone = [lane for lane in lanes if int(lane) >= lease.lane_count]
        for lane in [lease.lane, *gone]:
            for item in self._table.open(claimed_kind(lane)):
                if lane != lease.lane or item["fencing_token"] < lease.fencing_token:
                    yield item["pk"], item["sk"]

    def due(self, now_ms: int, stale: Stale, limit: int) -> list[Waiting]:
        """Sends whose time has come, or whose obstacle is gone, or that expired while they waited; oldest first."""
        pauses = self.pauses()
        found = [item for shard in SHARDS for item in _first(self._table.open(timed_kind(shard), until(now_ms)), limit)]
        held = (item for item in self._table.open(HELD_KIND) if _is_let_go(item, now_ms, stale, pauses))
        found += _first(held, limit)
        keys = [(item["pk"], item["sk"]) for item in sorted(found, key=lambda item: item["open_order"])[:limit]]
        rows = [row_of(item) for item in self._table.get(keys).values()]
        rows = [row for row in rows if _is_due(row, now_ms, stale, pauses)]
        return [_waiting(row) for row in sorted(rows, key=due_order)]

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
        moment = Moment(now_ms, stale, self.pauses())
        tasks = [_again(one, lease, rules.get(one.campaign, Rules()), moment, self._key_ms) for one in waiting]
        return self._decide(lease, tasks, moment)

    def pause(self, campaign: str, paused_by: str, reason: str, now_ms: int) -> None:
        """Hold every send of a campaign from now on; the first who pauses it stays on record."""
        row = {"campaign": campaign, "paused_by": paused_by, "reason": reason, "paused_at_ms": now_ms}
        try:
            self._table.write([put((_PAUSES, campaign), row, {"pk": None})])
        except ChangedError:
            return

    def resume(self, campaign: str, resumed_by: str, now_ms: int) -> bool:
        """Let a campaign's sends go on, those held as well; whether it was paused."""
        row = {"campaign": campaign, "resumed_by": resumed_by, "resumed_at_ms": now_ms}
        try:
            self._table.write([delete((_PAUSES, campaign), {"campaign": campaign}), put((_RESUMES, campaign), row)])
        except ChangedError:
            return False
        return True

    def resumes(self) -> dict[str, Mapping[str, Any]]:
        """The campaigns that were paused once, by name: when they were last let go on, and by whom."""
        names = ("campaign", "resumed_by", "resumed_at_ms")
        return {item["campaign"]: {name: item[name] for name in names} for item in self._table.query(_RESUMES)}

    def pauses(self) -> dict[str, Mapping[str, Any]]:
        """The paused campaigns, by name: since when, by whom and why."""
        names = ("campaign", "paused_by", "reason", "paused_at_ms")
        return {item["campaign"]: {name: item[name] for name in names} for item in self._table.query(_PAUSES)}

    def _decide(self, lease: Lease, tasks: Sequence[_Task], moment: Moment) -> list[Decided]:
        told: list[Decided] = []
        try:
            for chunk in _of_different_people(tasks) or [[]]:
                told += self._decide_together(lease, chunk, moment)
        except (LedgerError, LeaseLostError):
            self._give_back(told, moment.now_ms)
            raise
        return told

    def _give_back(self, told: Sequence[Decided], now_ms: int) -> None:
        """They were not handed to the ESP: whoever has the lane next may do that."""
        later = TryLater(0, "the run ended before it was handed over")
        self.settle([Answer(one.claim, later, now_ms) for one in told if one.claim])

    def _decide_together(self, lease: Lease, tasks: Sequence[_Task], moment: Moment) -> list[Decided]:
        for failures in range(_ATTEMPTS):
            # Otherwise there is a report on a new send itself only where its write fails because of one.
            told, writes = self._prepared(tasks, moment, failures > 0 or RESTORED in moment.pauses)
            if _size(writes) > _MOST_BYTES and len(tasks) > 1:
                half = len(tasks) // 2
                first = self._decide_together(lease, tasks[:half], moment)
                return first + self._decide_together(lease, tasks[half:], moment)
            try:
                self._table.write([fence(lease), *writes])
                return told
            except ChangedError as changed:
                if 0 in changed.failed:
                    raise lease_lost(lease) from changed
            self._table.pause(failures)
        raise LedgerError("Decisions on sends were overtaken by others again and again.")

    def _prepared(
        self, tasks: Sequence[_Task], moment: Moment, with_reports: bool
    ) -> tuple[list[Decided], list[Action]]:
        """What is decided, and how it is written; versions are read before what they stand for."""
        ids = {id_ for task in tasks for id_ in versioned(task.ids)}
        versions = self._table.get(map(version_key, ids))
        rows = self._table.get(key for task in tasks for key in (send_key(task.profile_id, task.key), *task.others))
        asking = [(task, row, asked) for task in tasks for row, asked in _asking(task, rows)]
        addresses = {known for _, _, asked in asking for known in subjects_of((), asked.candidate.address)} - ids
        versions |= self._table.get(map(version_key, addresses))
        items = self._table.get(
            key for task, _, asked in asking for key in (*keys_of(asked), *_owners(task, asked, with_reports))
        )
        # A report on a new send under another id stands for it.
        asking = [one for one in asking if one[0].waited or not _heard_of_other(items, one[2])]
        counted = read_counted(self._table, [asked for _, _, asked in asking], moment.now_ms)
        told, writes = [], []
        for task, row, asked in asking:
            report = early_report(items, task.key) or _heard_of_other(items, asked)
            if report:
                new, decided = task.out(row, report), Decided(asked.campaign, None, SENT, "")
            else:
                new, decided = task.decides(row, facts_of(asked, items, counted, moment))
            told.append(decided)
            writes += _kept(row, new, report)
        touched = {id_ for task, _, _ in asking for id_ in versioned(task.ids)}
        writes += [update(version_key(id_), {}, _is(versions, id_), {"version": 1}) for id_ in sorted(touched)]
        writes += [check(version_key(address), _is(versions, address)) for address in sorted(addresses)]
        return told, writes

    def _change(self, lease: Lease | None, changes: Sequence[tuple[Key, Change]]) -> int:
        """Change rows that nobody else changes meanwhile; how many were. Several changes of one are made in order."""
        of_key: dict[Key, list[Change]] = {}
        for key, change in changes:
            of_key.setdefault(key, []).append(change)
        keys, changed = sorted(of_key), 0
        for start in range(0, max(1, len(keys)), _MOST_CHANGES):
            chunk = {key: of_key[key] for key in keys[start : start + _MOST_CHANGES]}
            changed += self._change_together(lease, chunk)
        return changed

    def _change_together(self, lease: Lease | None, of_key: Mapping[Key, Sequence[Change]]) -> int:
        changed: set[Key] = set()
        fences = [fence(lease)] if lease else []
        for failures in range(_ATTEMPTS):
            writes = [write for key, item in self._table.get(of_key).items() for write in _changed(item, of_key[key])]
            try:
                for transaction in _packed(writes) or ([[]] if lease else []):
                    self._table.write([*fences, *transaction])
                    changed |= {write.key for write in transaction}
                return len(changed)
            except ChangedError as error:
                if lease and 0 in error.failed:
                    raise lease_lost(lease) from error
            self._table.pause(failures)
        raise LedgerError("Changes of sends were overtaken by others again and again.")


def _new(one: Intended, lease: Lease, run_id: str, batch: Ranges, now_ms: int, has_failed: bool = False) -> _Task:
    ids = [id_ for id_ in one.person.ids if id_ != one.profile_id]
    keys = tuple(other_keys(one.campaign, one.profile_id, one.occurrence_key, ids))
    candidate = candidate_of(one)

    def asks(row: Row | None) -> Asked | None:
        is_open = row is None or is_reopenable(row) or has_failed
        return Asked(candidate, one.campaign, one.person.ids, keys) if is_open else None

    def decides(row: Row | None, facts: Facts) -> tuple[Row, Decided]:
        decision = decide(candidate, facts)
        new = _later(row, decision_row(one, decision, lease, run_id, batch, now_ms))
        return new, decided_of(one, new, decision)

    # Before a login the same person may have been mailed under the device's id; a skip there does not bind.
    others = tuple(send_key(id_, key) for id_, key in zip(dict.fromkeys(ids), keys, strict=True))
    return _Task(
        one.profile_id, one.key, (one.profile_id, *ids), others, asks, decides,
        lambda row, report: _later(row, reported_row(one, report, lease, run_id, batch, now_ms)),
    )  # fmt: skip


def _again(one: Waiting, lease: Lease, rules: Rules, moment: Moment, key_ms: int) -> _Task:
    def asks(row: Row | None) -> Asked | None:
        if row is None or not _is_due(row, moment.now_ms, moment.stale, moment.pauses):
            return None
        person = known_person(row, one.person)
        keys = tuple(other_keys(row["campaign"], row["profile_id"], row["occurrence_key"], person.ids))
        return Asked(waiting_candidate(row, person, rules), row["campaign"], person.ids, keys)

    def decides(row: Row | None, facts: Facts) -> tuple[Row, Decided]:
        assert row is not None  # noqa: S101 - only a row asks.
        person = known_person(row, one.person)
        decision = decide_waiting(row, waiting_candidate(row, person, rules), facts, key_ms)
        values = decided_again(row, decision)
        values |= {} if decision else claimed_again(row, person, lease, facts.now_ms)
        new = _later(row, {**row, **values, "changed_at_ms": facts.now_ms})
        claim = None if decision else claim_of(new)
        return new, Decided(row["campaign"], claim, new["state"], decision.reason if decision else "")

    def out(row: Row | None, report: DeliveryReport) -> Row:
        assert row is not None  # noqa: S101 - only a row asks.
        return _later(row, {**row, **reported(report), "changed_at_ms": moment.now_ms})

    return _Task(one.profile_id, one.key, (one.profile_id, *one.person.ids), (), asks, decides, out, waited=True)


def _of_different_people(tasks: Iterable[_Task]) -> list[list[_Task]]:
    """The tasks in their order, cut so that no two of a part share an id, and each part fits into a transaction."""
    parts: list[list[_Task]] = []
    taken: set[str] = set()
    room = 0
    for task in tasks:
        needs = len(versioned(task.ids)) + 3
        if needs > room or taken & set(task.ids):
            parts.append([])
            taken, room = set(), MOST_ACTIONS - 1
        parts[-1].append(task)
        taken |= set(task.ids)
        room -= needs
    return parts


def _asking(task: _Task, rows: Mapping[Key, Mapping[str, Any]]) -> Iterator[tuple[Row | None, Asked]]:
    if any(rows[key]["state"] != SKIPPED for key in task.others if key in rows):
        return
    item = rows.get(send_key(task.profile_id, task.key))
    row = None if item is None else row_of(item)
    asked = task.asks(row)
    if asked is not None:
        yield row, asked


def _owners(task: _Task, asked: Asked, with_own: bool) -> list[Key]:
    """The items that hold what was reported on it before it was decided on: of other ids, and of itself."""
    return [owner_key(key) for key in (*asked.other_keys, *([task.key] if with_own else []))]


def _heard_of_other(items: Mapping[Key, Mapping[str, Any]], asked: Asked) -> DeliveryReport | None:
    return next((report for key in asked.other_keys if (report := early_report(items, key))), None)


def _kept(row: Row | None, new: Row, report: DeliveryReport | None = None) -> list[Action]:
    revision = row["revision"] if row else None
    profile_id, key = new["profile_id"], new["idempotency_key"]
    kept = put(send_key(profile_id, key), item_of({**new, "revision": (revision or 0) + 1}), {"revision": revision})
    no_other = {"report": packed_report(report) if report else None}
    return [kept] if row else [kept, put(owner_key(key), {"profile_id": profile_id}, no_other)]


def _changed(item: Mapping[str, Any], changes: Sequence[Change]) -> list[Action]:
    row = before = row_of(item)
    for change in changes:
        row = {**row, **(change(row) or {})}
    return [] if row == before else _kept(before, _later(before, row))


def _later(before: Row | None, row: Row) -> dict[str, Any]:
    """Each change of a row is later than the one before it: readers of changes go by that."""
    least_ms = before["changed_at_ms"] + 1 if before else 0
    return {**row, "changed_at_ms": max(row["changed_at_ms"], least_ms)}


def _is(versions: Mapping[Key, Mapping[str, Any]], id_: str) -> dict[str, Any]:
    return {"version": versions.get(version_key(id_), {}).get("version")}


def _size(writes: Iterable[Action]) -> int:
    return sum(len(write.values.get("data", b"")) + _OTHER_BYTES for write in writes)


def _packed(writes: Sequence[Action]) -> list[list[Action]]:
    """In transactions of no more bytes than AWS takes."""
    transactions: list[list[Action]] = []
    for write in writes:
        if not transactions or _size([*transactions[-1], write]) > _MOST_BYTES:
            transactions.append([])
        transactions[-1].append(write)
    return transactions


def _first(items: Iterable[Mapping[str, Any]], limit: int) -> list[Mapping[str, Any]]:
    return list(islice(items, limit))


def _is_heard(answer: Answer, row: Row) -> bool:
    if isinstance(answer.outcome, Accepted):
        return row["state"] in UNSETTLED
    return row["state"] in (CLAIMED, UNKNOWN) and row["attempts"] == answer.claim.attempts


def _may_be_out(row: Row, restored_at_ms: Callable[[], int]) -> bool:
    if row["state"] in (CLAIMED, UNKNOWN) or (row["state"] == RETRY and row["may_be_out_since_ms"] is not None):
        return True
    # A retry that is certainly not out yet is not what a report is about. What a lost ledger may have mailed is.
    is_open = row["state"] in OPEN_TO_THE_LOST or is_reopenable(row)
    return bool(is_open and row["occurred_at_ms"] < restored_at_ms())


def _is_due(row: Row, now_ms: int, stale: Stale, pauses: Mapping[str, Any]) -> bool:
    if row["state"] == HELD:
        return _is_let_go(row, now_ms, stale, pauses)
    return row["state"] in WAITING and row["next_attempt_at_ms"] <= now_ms


def _is_let_go(row: Mapping[str, Any], now_ms: int, stale: Stale, pauses: Mapping[str, Any]) -> bool:
    """What is held comes up when nothing holds it any more, or when it has expired: not at every look."""
    is_stale = stale.holds(row["campaign"], row["campaign_class"])
    # The index has no more of it than what it is ordered by.
    occurred_at_ms = row.get("occurred_at_ms") or occurred_at(row["open_order"])
    is_kept = is_stale or row["campaign"] in pauses or precedes(occurred_at_ms, pauses.get(RESTORED))
    return row["expires_at_ms"] <= now_ms or not is_kept


def _waiting(row: Row) -> Waiting:
    ids = tuple(row["contact"].get("ids") or [row["profile_id"]])
    return Waiting(row["idempotency_key"], row["campaign"], row["profile_id"], Person(ids, row["contact"]))
