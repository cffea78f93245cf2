"""The micro-batch: ingest, profile, trigger, activate, commit. Every step may be cut off and done again.

Ingest is idempotent by the token of its offset ranges, profiles follow inside the same insert, triggers are pure
functions of what is in the warehouse, activation is idempotent by the ledger's keys, and the offsets move last.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil

from wakeline.activation.campaigns import Campaign
from wakeline.activation.claims import Claim, Decided, Intended, Person, Waiting
from wakeline.activation.consent import said_in
from wakeline.activation.deliverability import delivery_reports
from wakeline.activation.gates import Rules, Stale
from wakeline.activation.intents import Cause, intended_sends
from wakeline.activation.ledger.protocol import Ledger
from wakeline.activation.mailer import Answer, Mailer, Patience
from wakeline.clock import Clock
from wakeline.errors import StreamFullError
from wakeline.pipeline.classify import LandingRow, classify, mark_as_landed
from wakeline.pipeline.lanes import LaneStore, Lease, Ranges
from wakeline.pipeline.reading import ranges_of, read_ranges, unread_starts
from wakeline.pipeline.stages import CLAIM, COMMIT, EVALUATE, INGEST, READ, SEND, Stopwatch
from wakeline.pipeline.stream_check import check_stream
from wakeline.pipeline.triggers import Occurrence
from wakeline.replay.requests import ReplayRequests, Request
from wakeline.settings import HEARTBEAT_SOURCE, LaneSettings, Settings
from wakeline.sla.holds import Holds
from wakeline.streams.protocol import EventStream, Lag, Record
from wakeline.warehouse.evaluation import Evaluator, Member
from wakeline.warehouse.landing import Landing

#: (partition, offset) -> status.
Statuses = Mapping[tuple[int, int], str]

#: Sends that waited and are asked about again in one go.
_DUE_LIMIT = 200
_MIN_ROWS = 1_000
#: Sends claimed, and then handed to the ESP, in one go.
_CLAIM_LIMIT = 200


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What one micro-batch did, for reports."""

    ranges: Ranges
    rows: Sequence[LandingRow] = ()
    decided: Sequence[Decided] = ()
    answers: Sequence[Answer] = ()
    #: How long the newest event of the batch took from the collector to the commit; None without events.
    latency_ms: int | None = None
    #: How long each stage took, by the names of `wakeline.pipeline.stages`.
    stage_seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Ingested:
    ranges: Ranges
    rows: Sequence[LandingRow]
    read_at_ms: int
    ingested_at_ms: int


@dataclass
class MicroBatches:
    """Processes one lane under a lease; not for use by two threads at once."""

    settings: Settings
    clock: Clock
    stream: EventStream
    lanes: LaneStore
    landing: Landing
    evaluator: Evaluator
    ledger: Ledger
    mailer: Mailer
    campaigns: Mapping[str, Campaign]
    rules: Mapping[str, Rules]
    holds: Holds
    requests: ReplayRequests
    stopwatch: Stopwatch = field(default_factory=Stopwatch)
    committed: dict[int, int] = field(default_factory=dict)
    evaluated_until_ms: int = 0
    #: Answers that the ledger could not take yet: nothing but this process knows of them.
    _unwritten: list[Answer] = field(default_factory=list)
    read_until_ms: int = 0
    _looked_for_wakeups_ms: int = 0
    _noted_read_ms: int = 0
    _rows_limit: int = 0
    _looked_for_requests_ms: int = 0
    _stream_is_next: bool = False
    _was_at_the_end: bool = False

    def recover(self, lease: Lease) -> list[BatchResult]:
        """What a new holder does first: redo the batch that was begun, settle lost sends, trust landing's offsets."""
        check_stream(self.stream, self.lanes)
        self._was_at_the_end = False
        self._write_answers()
        self.evaluated_until_ms = self.lanes.state(lease.lane).evaluated_until_ms or self.clock()
        known_ms = self.lanes.read_until()[lease.lane]
        self.read_until_ms = known_ms or self._unread_since_ms(lease, self.lanes.starts()) - 1
        self.ledger.settle_orphans(lease, self.clock())
        self.landing.begin()
        redone = []
        while ranges := self.lanes.to_redo(lease):
            if self._is_ahead_of_landing(ranges):
                self.lanes.commit(lease, {}, self.evaluated_until_ms, self.clock() + self._lease_ms, self.read_until_ms)
                continue
            redone.append(self._redo(lease, ranges))
        self.committed = {**self.lanes.starts(), **self.landing.committed()}
        self.lanes.correct_offsets(lease, self._own(lease, self.committed))
        return redone

    def has_processed(self, lease: Lease, until_ms: int) -> bool:
        """Whether nothing waits that was appended to the lane's partitions until then; false while no broker answers.

        To be asked between two steps. A read that found nothing does not tell: it may not have reached the broker.
        """
        if self.read_until_ms < until_ms:
            return False
        try:
            return self._unread_since_ms(lease, self.committed) > until_ms
        except StreamFullError:  # Nobody answers now; it is asked again at the next look.
            return False

    def step(self, lease: Lease) -> BatchResult | None:
        """One micro-batch, or a part of what somebody wants decided again, by turns; None when there was nothing to do.

        Raises LeaseLostError when the lane was taken over.
        """
        ways = (self._step_stream, self._step_requests)
        first, second = ways if self._stream_is_next else reversed(ways)
        return first(lease) or second(lease)

    def _step_stream(self, lease: Lease) -> BatchResult | None:
        self._stream_is_next = False
        lane = self.settings.lane
        limit = self._rows_limit or lane.batch_rows
        starts = self._starts(lease)
        read_at_ms = self.clock()
        self.stopwatch.lap()  # Of a batch that was cut off, and of a look that found nothing.
        with self.stopwatch.stage(READ):
            records = self.stream.read(starts, limit, lane.batch_bytes, lane.poll_seconds)
        if records or self._is_at_the_end(lease):
            self.read_until_ms = read_until(records, read_at_ms)
            if not records:
                self._note_read(lease)
        if not records and not self._wakeups_are_worth_a_look():
            return None
        began_ms = self.clock()
        result = self._process(lease, records, ranges_of(records, starts))
        self._rows_limit = next_limit(len(records), limit, self.clock() - began_ms, lane)
        return result

    def _redo(self, lease: Lease, ranges: Ranges) -> BatchResult:
        records, ends = read_ranges(self.stream, ranges), self.landing.committed()
        is_passed = any(end < ends.get(partition, 0) for partition, (_, end) in ranges.items())
        seen = self._seen(records) if is_passed else frozenset[str]()
        # Last: an insert of a run that was killed may end meanwhile, and its own rows must not count as seen before.
        landed = self.landing.statuses(ranges)
        return self._process(lease, records, ranges, landed, frozenset() if landed else seen)

    def _seen(self, records: Sequence[Record]) -> frozenset[str]:
        """The ids of these that were accepted, after them in the stream as well: landing has later events already."""
        return frozenset(
            self.landing.earlier([classify(one, self.settings.collector.max_event_bytes) for one in records], {})
        )

    def _is_ahead_of_landing(self, ranges: Ranges) -> bool:
        """Landing was restored from an older backup than the ledger: done again, the batch would hide what it lacks."""
        ends = {**self.lanes.starts(), **self.landing.committed()}
        return any(first > ends.get(partition, first) for partition, (first, _) in ranges.items())

    def _step_requests(self, lease: Lease) -> BatchResult | None:
        now_ms = self.clock()
        if now_ms - self._looked_for_requests_ms < self.settings.lane.wakeup_seconds * 1000:
            return None
        request = self.requests.next(lease.lane, self.lanes.lane_count, self.campaigns)
        if request is None:
            self._looked_for_requests_ms = now_ms
            return None
        self._stream_is_next = True
        return self._process_request(lease, request)

    def _process_request(self, lease: Lease, request: Request) -> BatchResult:
        """Decide on occurrences that a job found, as if a batch had: each with the person and the campaign of now."""
        self.lanes.renew(lease, self.clock(), self._lease_ms)
        as_of_ms = self.clock()
        ids = {one.profile_id for one in request.occurrences}
        members = self.evaluator.candidates(ids, int(lease.lane), self.lanes.lane_count, as_of_ms, as_of_ms)
        owner = {id_: profile_id for profile_id, id_ in members}
        found = [replace(one, profile_id=owner[one.profile_id]) for one in request.occurrences]
        nothing = _Ingested({}, (), as_of_ms, as_of_ms)
        campaign = {request.campaign: self.campaigns[request.campaign]}
        intended = self._intended(found, campaign, nothing, members, as_of_ms)
        self.ledger.reopen(lease, request.failed, as_of_ms)
        decided, answers = self._activate(lease, intended, {}, as_of_ms, request.run_id)
        self.requests.remove(lease, request)
        return BatchResult({}, (), decided, answers)

    def process_missing(self, lease: Lease, records: Sequence[Record]) -> BatchResult:
        """A batch of records of one partition, one after the other, that landing lacks though it has later ones.

        The partition's offset is the caller's to correct.
        """
        ranges = {records[0].partition: (records[0].offset, records[-1].offset + 1)}
        return self._process(lease, records, ranges, seen=self._seen(records))

    def _starts(self, lease: Lease) -> dict[int, int]:
        """Where the lane's partitions go on; those that are new begin with their first event."""
        partitions = self.lanes.partitions_of(lease.lane, self.stream.partitions())
        begun = unread_starts(self.stream, partitions, self.committed)
        if begun:
            self.lanes.begin_at(lease, begun)
            self.committed |= begun
        return {partition: self.committed[partition] for partition in partitions}

    def _is_at_the_end(self, lease: Lease) -> bool:
        """Whether a read that found nothing means that nothing is there: the first ones may not reach the broker."""
        try:
            self._was_at_the_end = self._was_at_the_end or not _waits(self._lag(lease, self.committed))
        except StreamFullError:  # Nobody answers now; it is asked again after the next read.
            return False
        return self._was_at_the_end

    def _lag(self, lease: Lease, committed: Mapping[int, int]) -> Lag:
        return self.stream.lag(committed, lambda partition: self.lanes.is_of(lease.lane, partition))

    def _unread_since_ms(self, lease: Lease, committed: Mapping[int, int]) -> int:
        """When the oldest event that waits was appended to the lane's partitions, at the latest; now if none waits."""
        now_ms = self.clock()
        lag = self._lag(lease, committed)
        if _waits(lag) and not lag.seconds:
            return 1  # The broker has not told since when.
        return now_ms - ceil(lag.seconds * 1000)

    def _own(self, lease: Lease, offsets: Mapping[int, int]) -> dict[int, int]:
        return {partition: offsets[partition] for partition in self.lanes.partitions_of(lease.lane, offsets)}

    def _wakeups_are_worth_a_look(self) -> bool:
        return self.clock() - self._looked_for_wakeups_ms >= self.settings.lane.wakeup_seconds * 1000

    def _process(
        self,
        lease: Lease,
        records: Sequence[Record],
        ranges: Ranges,
        landed: Statuses | None = None,
        seen: frozenset[str] = frozenset(),
    ) -> BatchResult:
        with self.stopwatch.stage(INGEST):
            ingested = self._ingest(lease, records, ranges, landed or {}, seen)
        as_of_ms = self._looked_for_wakeups_ms = self.clock()
        touched = {row.id for row in ingested.rows if is_of_customer(row)}
        with self.stopwatch.stage(EVALUATE):
            members = self.evaluator.candidates(
                touched, int(lease.lane), self.lanes.lane_count, self.evaluated_until_ms, as_of_ms
            )
            occurrences = self.evaluator.occurrences(members, as_of_ms) if members else []
            intended = self._intended(occurrences, self.campaigns, ingested, members, as_of_ms)
        decided, answers = self._activate(lease, intended, ingested.ranges, as_of_ms, lease.holder)
        if records or members:  # An idle look changes nothing worth a write.
            with self.stopwatch.stage(COMMIT):
                self.lanes.commit(lease, ranges, as_of_ms, self.clock() + self._lease_ms, self.read_until_ms)
        self.evaluated_until_ms = as_of_ms
        ends = {partition: end for partition, (_, end) in ranges.items()}
        self.committed.update(ends)
        if ends:
            self.stream.commit(ends)
        latency_ms = self._latency_ms(ingested.rows)
        return BatchResult(ranges, ingested.rows, decided, answers, latency_ms, self.stopwatch.lap())

    def _ingest(
        self, lease: Lease, records: Sequence[Record], ranges: Ranges, landed: Statuses, seen: frozenset[str]
    ) -> _Ingested:
        read_at_ms = self.clock()
        if not records:
            return _Ingested(ranges, (), read_at_ms, read_at_ms)
        self.lanes.begin(lease, ranges, read_at_ms, self._lease_ms)
        max_bytes = self.settings.collector.max_event_bytes
        rows = [classify(record, max_bytes) for record in records]
        rows = mark_as_landed(rows, landed, {*seen, *self.landing.earlier(rows, ranges)})
        self.landing.insert(rows, ranges)
        self._hear(lease, rows)
        return _Ingested(ranges, rows, read_at_ms, self.clock())

    def _hear(self, lease: Lease, rows: Sequence[LandingRow]) -> None:
        """What people and mail providers said goes into the ledger before anything is claimed."""
        trusted = self.settings.trusted_sources
        self.ledger.record(lease, *said_in(rows, trusted, self.settings.double_opt_in))
        self.ledger.confirm(lease, delivery_reports(rows, trusted), self.clock())

    def _note_read(self, lease: Lease) -> None:
        """An idle lane says now and then that it is up to date: others hold marketing mail by that.

        A stream that keeps events for hours only must know besides that nobody has missed any.
        """
        if self.clock() - self._noted_read_ms >= min(self._stale_ms, self._lag_ms) // 4:
            self._noted_read_ms = self.clock()
            self.lanes.note_read(lease, self.read_until_ms)

    def _stale(self, lease: Lease) -> Stale:
        """The lane that is furthest behind, if it is too far: what its events tell of people is not known yet.

        And the inputs of campaigns that miss their service level.
        """
        others = self.lanes.read_until() if self.lanes.lane_count > 1 else {}
        known = {**others, lease.lane: self.read_until_ms}
        lane, until_ms = min(known.items(), key=lambda one: one[1])
        behind = self.clock() - until_ms > self._stale_ms
        return Stale({"lane": lane, "read_until_ms": until_ms} if behind else None, self.holds.stale(until_ms))

    def _activate(
        self, lease: Lease, intended: Sequence[Intended], ranges: Ranges, as_of_ms: int, run_id: str
    ) -> tuple[list[Decided], list[Answer]]:
        """Claim and send, a few at a time: the first mail of a large batch must not wait for the claim of the last."""
        stale, patience = self._stale(lease), self.mailer.patience()
        decided, answers = self._activate_waiting(lease, stale, as_of_ms, patience)
        for start in range(0, len(intended), _CLAIM_LIMIT):
            chunk = intended[start : start + _CLAIM_LIMIT]
            with self.stopwatch.stage(CLAIM):
                outcome = self.ledger.claim(lease, chunk, run_id, ranges, self.clock(), stale)
            answers += self._send(lease, [one.claim for one in outcome if one.claim], patience)
            decided += outcome
        return decided, answers

    def _activate_waiting(
        self, lease: Lease, stale: Stale, as_of_ms: int, patience: Patience
    ) -> tuple[list[Decided], list[Answer]]:
        waiting = self.ledger.due(self.clock(), stale, _DUE_LIMIT)
        if not waiting:
            return [], []
        with self.stopwatch.stage(EVALUATE):
            waiting = self._as_known_now(lease, waiting, as_of_ms)
        with self.stopwatch.stage(CLAIM):
            decided = self.ledger.reclaim(lease, waiting, self.rules, self.clock(), stale)
        return decided, self._send(lease, [one.claim for one in decided if one.claim], patience)

    def _as_known_now(self, lease: Lease, waiting: Sequence[Waiting], as_of_ms: int) -> list[Waiting]:
        """The same sends with their people's ids and addresses of now: somebody may have logged in, or moved."""
        profiles = {one.profile_id for one in waiting}
        members = self.evaluator.candidates(profiles, int(lease.lane), self.lanes.lane_count, as_of_ms, as_of_ms)
        contacts = self.evaluator.contacts(members, as_of_ms)
        ids: dict[str, list[str]] = {}
        for profile_id, id_ in members:
            ids.setdefault(profile_id, []).append(id_)
        owner = {id_: profile_id for profile_id, id_ in members}
        return [
            replace(one, person=Person(tuple(ids[owner[one.profile_id]]), contacts.get(owner[one.profile_id], {})))
            for one in waiting
        ]

    def _intended(
        self,
        occurrences: Sequence[Occurrence],
        campaigns: Mapping[str, Campaign],
        ingested: _Ingested,
        members: Sequence[Member],
        as_of_ms: int,
    ) -> list[Intended]:
        new = self._undecided(occurrences, campaigns)
        if not new:
            return []
        profiles = {occurrence.profile_id for occurrence in new}
        concerned = [member for member in members if member[0] in profiles]
        contacts = self.evaluator.contacts(concerned, as_of_ms)
        causes = _causes(ingested, concerned, self.clock())
        return intended_sends(new, campaigns, self.rules, contacts, causes)

    def _undecided(self, occurrences: Sequence[Occurrence], campaigns: Mapping[str, Campaign]) -> list[Occurrence]:
        """Occurrences that at least one campaign has not decided on; the rest were decided in an earlier batch."""
        by_trigger: dict[str, list[str]] = {}
        for campaign in campaigns.values():
            by_trigger.setdefault(campaign.trigger, []).append(campaign.name)
        return self.ledger.undecided(occurrences, by_trigger)

    def _send(self, lease: Lease, claims: Sequence[Claim], patience: Patience) -> list[Answer]:
        if not claims:
            return []
        with self.stopwatch.stage(SEND):
            answers = self.mailer.send(claims, patience)
            self._unwritten += answers
            self._write_answers()
        return answers

    def _write_answers(self) -> None:
        self.ledger.settle(self._unwritten)
        self._unwritten.clear()

    @property
    def _stale_ms(self) -> int:
        return round(self.settings.activation.stale_after_seconds * 1000)

    @property
    def _lag_ms(self) -> int:
        return round(self.settings.sla.lag_seconds * 1000)

    @property
    def _lease_ms(self) -> int:
        return round(self.settings.lane.lease_seconds * 1000)

    def _latency_ms(self, rows: Sequence[LandingRow]) -> int | None:
        newest = max((row.received_at_ms for row in rows), default=None)
        return None if newest is None else self.clock() - newest


def next_limit(rows: int, limit: int, took_ms: int, lane: LaneSettings) -> int:
    """How many rows the next batch may have, so that it takes about `lane.batch_seconds`.

    Grows again by doubling at most; never under a thousand: most of the cost of a batch is the same for fewer, and a
    smaller one would only fall behind further.
    """
    if rows < limit and took_ms < lane.batch_seconds * 1000:
        return min(lane.batch_rows, limit * 2)
    fitting = round(rows * lane.batch_seconds * 1000 / max(took_ms, 1))
    return min(lane.batch_rows, max(_MIN_ROWS, min(fitting, limit * 2)))


def _waits(lag: Lag) -> bool:
    return bool(lag.events or lag.seconds)


def read_until(records: Sequence[Record], read_at_ms: int) -> int:
    """Until when all that was appended is in these records, read at `read_at_ms` with a fair share of each partition.

    A partition without a record had none; of the others the newest record read is a safe answer.
    """
    newest: dict[int, int] = {}
    for record in records:
        newest[record.partition] = max(newest.get(record.partition, 0), record.appended_at_ms)
    return min(newest.values(), default=read_at_ms)


def is_of_customer(row: LandingRow) -> bool:
    """Whether it is an accepted event and no heartbeat."""
    return row.status == "accepted" and row.source != HEARTBEAT_SOURCE


def _causes(ingested: _Ingested, members: Sequence[Member], evaluated_at_ms: int) -> dict[str, Cause]:
    """profile id -> the events of the batch that made it a candidate (none where a wake-up did) and its ids."""
    by_id: dict[str, list[LandingRow]] = {}
    for row in ingested.rows:
        if row.status == "accepted":
            by_id.setdefault(row.id, []).append(row)
    ids: dict[str, list[str]] = {}
    for profile_id, id_ in members:
        ids.setdefault(profile_id, []).append(id_)
    return {
        profile_id: Cause(
            tuple(own), [row for id_ in own for row in by_id.get(id_, ())],
            ingested.read_at_ms, ingested.ingested_at_ms, evaluated_at_ms,
        )
        for profile_id, own in ids.items()
    }  # fmt: skip
