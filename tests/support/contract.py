"""What the contract of event streams needs of each kind: a stream of its own for a test, and what happens to it."""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from functools import partial
from pathlib import Path
from typing import Protocol

from support.stack import await_that
from wakeline.clock import system_clock
from wakeline.streams.embedded import EmbeddedStream
from wakeline.streams.protocol import EventStream, Record, partition_of

PARTITIONS = 3
#: Neither a share of rows nor of bytes that matters to a test.
ALL_ROWS, ALL_BYTES = 1_000_000, 1 << 40
#: What a broker may need to hand out what was appended.
PATIENCE_SECONDS = 20


class Maker(Protocol):
    """A stream that is not there yet, with `PARTITIONS` partitions once it is; each test has one of its own.

    The fixture of a kind closes whatever `open` gave out.
    """

    #: Whether `lag` counts the events.
    counts: bool
    #: Whether records can be made to leave the stream before they are read.
    expires: bool

    def open(self) -> EventStream:
        """Another client of the same stream, as another process has; the first one makes the stream."""

    def partition_of(self, key: str) -> int:
        """Where the stream puts the events of a key."""

    def landed(self, records: Iterable[Record]) -> None:
        """Tell what was processed, where a stream asks the warehouse for it; nothing elsewhere."""

    def expire(self, partition: int, before: int) -> None:
        """Records of a partition below the offset leave the stream, as by retention; only if it `expires`."""

    def recreate(self) -> None:
        """Delete the stream and make it anew, empty, behind the back of every client."""


class EmbeddedMaker:
    """The embedded stream in a folder of its own."""

    counts = True
    expires = True

    def __init__(self, folder: Path) -> None:
        self._path = folder / "stream.sqlite"
        self._opened: list[EmbeddedStream] = []

    def open(self) -> EmbeddedStream:
        stream = EmbeddedStream(self._path, "events", PARTITIONS, system_clock)
        self._opened.append(stream)
        return stream

    def partition_of(self, key: str) -> int:
        return partition_of(key, PARTITIONS)

    def landed(self, records: Iterable[Record]) -> None:
        """It knows its offsets itself."""

    def expire(self, partition: int, before: int) -> None:
        self.open().retain({partition: before}, system_clock() + 1)

    def recreate(self) -> None:
        self.close()
        for path in self._path.parent.glob(f"{self._path.name}*"):
            path.unlink()
        self.open()

    def close(self) -> None:
        for stream in self._opened:
            stream.close()


def starts_of(stream: EventStream) -> dict[int, int]:
    """Where a lane begins that has never read the stream."""
    return {partition: stream.earliest(partition) for partition in stream.partitions()}


def after(starts: Mapping[int, int], records: Iterable[Record]) -> dict[int, int]:
    """Where a lane goes on that has processed these records, which it read from `starts` on."""
    return {**starts, **{record.partition: record.offset + 1 for record in records}}


def read_on(
    stream: EventStream, starts: Mapping[int, int], wanted: int, max_rows: int = ALL_ROWS, max_bytes: int = ALL_BYTES
) -> list[Record]:
    """At least `wanted` records, read as a lane does: again and again from where the last read ended."""
    records: list[Record] = []
    for found in pieces(stream, starts, max_rows, max_bytes):
        records += found
        if len(records) >= wanted:
            break
    return records


def pieces(stream: EventStream, starts: Mapping[int, int], max_rows: int, max_bytes: int) -> Iterator[list[Record]]:
    """Read after read, without end; fails when nothing comes for `PATIENCE_SECONDS`."""
    position = dict(starts)
    while True:
        found = _something(partial(stream.read, position, max_rows, max_bytes, 0.05))
        position = after(position, found)
        yield found


def read_until_all_come(stream: EventStream, starts: Mapping[int, int], partitions: Set[int]) -> list[Record]:
    """A few records, read until one read gives some of each of these partitions: the client then has got all of them.

    A partition's first records may come some 50 ms after another's, of which thousands are read by then.
    """
    records: list[Record] = []

    def come_all() -> bool:
        found = stream.read(after(starts, records), len(starts), ALL_BYTES)
        records.extend(found)
        return partitions <= {record.partition for record in found}

    await_that(f"one read gives some of each partition of {partitions}", come_all, PATIENCE_SECONDS)
    return records


def in_threads(calls: Iterable[Callable[[], None]]) -> None:
    """All of them at once; raises what the first one raised."""
    errors: list[BaseException] = []

    def run(call: Callable[[], None]) -> None:
        try:
            call()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def _something(read: Callable[[], list[Record]]) -> list[Record]:
    found: list[Record] = []

    def comes() -> bool:
        found.extend(read())
        return bool(found)

    await_that("the stream has something to read", comes, PATIENCE_SECONDS)
    return found
