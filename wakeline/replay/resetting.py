"""The job `reset_lane` without Dagster: a lane reads a partition again from an earlier offset, or passes over events.

Where a lane goes on is what landing holds (`Landing.committed`), so both are done there, under the lane's own lease.
Earlier: of the events from there on those that landing lacks become batches as any others; those it has count once, as
they do already. Later: the events in between are landed as quarantined, so that none is lost.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from wakeline.clock import Clock
from wakeline.errors import ReplayError
from wakeline.pipeline.classify import LandingRow, classify
from wakeline.pipeline.factory import open_micro_batches
from wakeline.pipeline.heartbeat import heartbeat
from wakeline.pipeline.lanes import Lease, Ranges
from wakeline.pipeline.microbatch import MicroBatches, Statuses
from wakeline.pipeline.reading import read_ranges
from wakeline.settings import Settings
from wakeline.streams.protocol import Record

#: Why a row is in quarantine that nothing is wrong with.
PASSED_OVER = "passed over by reset_lane"

_MAX_STEP_MS = 3_600_000
#: How long inserts are waited for that the lane's last run has left inside ClickHouse.
_INSERT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Asked:
    """What the form of the job asks for: the partition, the offset to go on at, and how many events are passed over."""

    partition: int
    offset: int
    skip_events: int | None = None
    execute: bool = False


@dataclass(frozen=True, slots=True)
class Resetter:
    """Resets partitions of the lanes that `batches` would process; `holder` is the run."""

    settings: Settings
    clock: Clock
    log: Callable[[str], None]
    batches: MicroBatches
    holder: str
    #: How long the stream is waited for that gives nothing.
    patience_seconds: float = 10
    sleep: Callable[[float], None] = time.sleep

    def reset(self, asked: Asked) -> dict[str, Any]:
        """What was found, and with `execute` done.

        Raises ReplayError for what cannot be done, when the lane is not paused or when the number of events is not the
        one typed in; StreamError when the stream does not have the events any more.
        """
        current = self._next_offset(asked.partition)
        lane = str(asked.partition % self.batches.lanes.lane_count)
        found = {"lane": lane, "partition": asked.partition, "from_offset": current, "to_offset": asked.offset}
        if asked.offset == current:
            raise ReplayError(f"Partition {asked.partition} goes on at offset {current} already; nothing to do.")
        if asked.offset > current:
            return {**found, **self._pass_over(asked, lane, current)}
        return {**found, **self._read_again(asked, lane, current)}

    def _next_offset(self, partition: int) -> int:
        lanes, stream = self.batches.lanes, self.batches.stream
        ends = {**lanes.starts(), **self.batches.landing.committed()}
        known = sorted({*ends, *stream.partitions()})
        if partition not in known:
            raise ReplayError(f"There is no partition {partition}; known are {', '.join(map(str, known))}.")
        return ends[partition] if partition in ends else stream.earliest(partition)

    def _pass_over(self, asked: Asked, lane: str, current: int) -> dict[str, Any]:
        events = sum(len(page) for page in self._pages(asked.partition, current, asked.offset))
        self.log(
            f"Partition {asked.partition} would go on at offset {asked.offset} instead of {current}: {events} events"
            " would be passed over. They would be in quarantine, and nothing would come of them."
        )
        if not asked.execute:
            self.log(f"This was a dry run. To do it, start it again with execute: true and skip_events: {events}.")
            return {"skipped_events": events}
        if asked.skip_events != events:
            raise ReplayError(
                f"{events} events would be passed over: type that number in as skip_events. Nothing was changed."
            )
        with self._held(lane) as lease:
            self._drop_begun(lease)
            self.batches.landing.begin()
            for page in self._pages(asked.partition, current, asked.offset):
                self._quarantine(lease, {asked.partition: (page[0].offset, page[-1].offset + 1)}, page)
            self.batches.lanes.correct_offsets(lease, {asked.partition: asked.offset})
        return {"skipped_events": events}

    def _quarantine(self, lease: Lease, ranges: Ranges, page: Sequence[Record]) -> None:
        """As a batch that is begun and committed: cut off, it is done again as one, under the same token."""
        self.batches.lanes.begin(lease, ranges, self.clock(), self._lease_ms)
        self.batches.landing.insert([self._passed(record) for record in page], ranges)
        self._commit(lease, ranges)

    def _commit(self, lease: Lease, ranges: Ranges) -> None:
        lanes = self.batches.lanes
        state, now_ms = lanes.state(lease.lane), self.clock()
        until_ms = lanes.read_until()[lease.lane]
        lanes.commit(lease, ranges, state.evaluated_until_ms or now_ms, now_ms + self._lease_ms, until_ms)

    def _passed(self, record: Record) -> LandingRow:
        row = classify(record, self.settings.collector.max_event_bytes)
        bare = LandingRow(
            row.partition, row.offset, row.appended_at_ms, row.received_at_ms, row.source, row.message,
            occurred_at_ms=row.received_at_ms, position=row.position, sent_at=row.sent_at,
        )  # fmt: skip
        return replace(bare, status="quarantined", reason=PASSED_OVER)

    def _drop_begun(self, lease: Lease) -> None:
        """A batch that was begun and of which landing has nothing is given up; its events are read again, or passed.

        One that landing has in quarantine as a whole is committed: a reset was cut off, and nothing comes of it.
        """
        lanes = self.batches.lanes
        begun = lanes.to_redo(lease)
        landed = self.batches.landing.statuses(begun)
        if landed and not self._is_quarantined(begun, landed):
            raise ReplayError(
                f"Lane {lease.lane} has begun a batch that is in landing already; resume the lane until it is through,"
                " then pause it again. Nothing was changed."
            )
        if begun:
            self._commit(lease, begun if landed else {})

    def _is_quarantined(self, begun: Ranges, landed: Statuses) -> bool:
        records = read_ranges(self.batches.stream, begun)
        return all(landed.get((record.partition, record.offset)) == "quarantined" for record in records)

    def _read_again(self, asked: Asked, lane: str, current: int) -> dict[str, Any]:
        events = missing = 0
        for page in self._pages(asked.partition, asked.offset, current):
            events, missing = events + len(page), missing + sum(map(len, self._runs(page)))
        found = {"events": events, "in_landing": events - missing, "missing": missing}
        self.log(
            f"From offset {asked.offset} of partition {asked.partition} up to {current} there are {events} events:"
            f" {events - missing} are in landing and count once, {missing} are missing there and would be processed."
        )
        if not asked.execute:
            self.log("This was a dry run: nothing was changed. To do it, start it again with execute: true.")
            return found
        with self._held(lane) as lease:
            self.batches.recover(lease)
            for page in self._pages(asked.partition, asked.offset, current):
                for run in self._runs(page):
                    self.batches.process_missing(lease, run)
            self.batches.lanes.correct_offsets(lease, {asked.partition: current})
        return found

    def _runs(self, page: Sequence[Record]) -> list[list[Record]]:
        """The records of a page that landing lacks, cut where it has one: each becomes a batch of its own."""
        ranges = {page[0].partition: (page[0].offset, page[-1].offset + 1)}
        landed = self.batches.landing.statuses(ranges)
        runs: list[list[Record]] = [[]]
        for record in page:
            if (record.partition, record.offset) in landed:
                runs.append([])
            else:
                runs[-1].append(record)
        return [run for run in runs if run]

    def _pages(self, partition: int, first: int, end: int) -> Iterator[list[Record]]:
        lane, at = self.settings.lane, first
        while at < end:
            records = self.batches.stream.read(
                {partition: at}, lane.batch_rows, lane.batch_bytes, self.patience_seconds
            )
            if not records:
                raise ReplayError(
                    f"Partition {partition} of the stream ends at offset {at}; give an offset that is not after that."
                )
            page = [record for record in records if record.offset < end]
            if page:
                yield page
            at = records[-1].offset + 1

    @contextmanager
    def _held(self, lane: str) -> Iterator[Lease]:
        lanes = self.batches.lanes
        if not lanes.is_paused(lane):
            raise ReplayError(f"Lane {lane} is not paused; run pause_lane first, and resume_lane afterwards.")
        lease = lanes.acquire(lane, self.holder, self.clock(), self._lease_ms, despite_pause=True)
        if lease is None:
            raise ReplayError(f"Run {lanes.state(lane).holder} is still at work on lane {lane}; wait until it ends.")
        try:
            with heartbeat(lanes, lease, self.clock, self._lease_ms, _MAX_STEP_MS):
                # A run that was killed may have left an insert inside ClickHouse, and one that sleeps may wake up.
                self.batches.landing.refuse_earlier(self.sleep, _INSERT_SECONDS)
                yield lease
        finally:
            lanes.release(lease)

    @property
    def _lease_ms(self) -> int:
        return round(self.settings.lane.lease_seconds * 1000)


@contextmanager
def open_resetter(settings: Settings, clock: Clock, log: Callable[[str], None], holder: str) -> Iterator[Resetter]:
    """A resetter with everything that a lane has."""
    with open_micro_batches(settings, clock) as batches:
        yield Resetter(settings, clock, log, batches, holder)
