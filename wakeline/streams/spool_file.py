"""The files of a collector's spool: what waits for the broker, and what the broker refuses for good."""

import fcntl
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock

from wakeline.clock import Clock
from wakeline.errors import StreamError
from wakeline.streams.embedded import EmbeddedStream
from wakeline.streams.protocol import Record

# What is handed to the broker at once: more is no faster, and all of it is repeated when the collector is killed.
BATCH_ROWS = 2_000
BATCH_BYTES = 4_194_304

# One partition: the spool keeps the order of everything, and so of every key.
_PARTITION = 0

_logger = logging.getLogger(__name__)


class SpoolFile:
    """Events in the order they came, in an embedded log at `path` that this process alone has.

    What spools in the same folder hold that no process has any more is taken over, behind its own events.
    Raises StreamError when another process has it, or when the folder cannot be used.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._counting = Lock()
        self._lock = _take_lock(path)
        try:
            self._waiting = _open(path, clock)
            self._refused = _open(refused_path(path), clock)
            self._move(self._refused)
            self._take_over_others(clock)
        except BaseException:
            os.close(self._lock)
            raise
        [head] = self._waiting.heads()
        self.events, self.bytes = head.next - head.earliest, self._waiting.size_bytes()
        # The first event that waits, and the first that the file has.
        self._earliest = self._dropped = head.earliest

    def append(self, events: Sequence[tuple[str, bytes]]) -> None:
        """Returns once they are synced to disk. Raises StreamError."""
        self._waiting.append(events)
        self._count(len(events), sum(len(value) for _, value in events))

    def next_batch(self) -> list[Record]:
        """The first events that wait; none when nothing does."""
        return self._waiting.read({_PARTITION: self._earliest}, BATCH_ROWS, BATCH_BYTES)

    def pass_on(self, records: list[Record]) -> None:
        """The first events wait no longer: the broker has them, or they were put aside. Known to this process alone."""
        self._earliest = records[-1].offset + 1
        self._count(-len(records), -sum(len(record.value) for record in records))

    def drop(self) -> None:
        """Forget what waits no longer; the file's first offset then says so after a crash.

        Raises StreamError, e.g. when the disk is full; until it succeeds only this process knows.
        """
        self._waiting.retain({_PARTITION: self._earliest}, sys.maxsize)
        self._dropped = self._earliest

    @property
    def has_work(self) -> bool:
        """Whether events wait, or some are in the file still that do not."""
        return self.events > 0 or self._dropped < self._earliest

    def put_aside(self, record: Record) -> None:
        """Keep an event that the broker refuses for good; it is tried again at the next start."""
        self._refused.append([(record.key, record.value)])

    def close(self) -> None:
        """Let another process have it."""
        self._waiting.close()
        self._refused.close()
        os.close(self._lock)

    def _count(self, events: int, size: int) -> None:
        with self._counting:
            self.events += events
            self.bytes += size

    def _move(self, source: EmbeddedStream) -> int:
        moved = 0
        while records := source.read({_PARTITION: source.earliest(_PARTITION)}, BATCH_ROWS, BATCH_BYTES):
            self._waiting.append([(record.key, record.value) for record in records])
            source.retain({_PARTITION: records[-1].offset + 1}, sys.maxsize)
            moved += len(records)
        return moved

    def _take_over_others(self, clock: Clock) -> None:
        for other in sorted(self._path.parent.glob("spool-*.sqlite")):
            if other != self._path:
                with suppress(_TakenError):
                    self._take_over(other, clock)

    def _take_over(self, other: Path, clock: Clock) -> None:
        lock = _take_lock(other)
        try:
            moved = sum(self._move_file(path, clock) for path in (other, refused_path(other)) if path.exists())
        finally:
            os.close(lock)
        if moved:
            _logger.info("%d events of %s, which no collector uses any more, were taken over.", moved, other)

    def _move_file(self, path: Path, clock: Clock) -> int:
        source = _open(path, clock)
        try:
            return self._move(source)
        finally:
            source.close()


def refused_path(path: Path) -> Path:
    """Where a spool keeps what its broker refuses for good."""
    return path.with_name(path.name.replace("spool", "refused", 1))


class _TakenError(StreamError):
    """Another process has the spool."""


def _take_lock(path: Path) -> int:
    """A handle to close; the kernel gives the lock back however the process ends."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StreamError(f"The spool {path} cannot be created: {error.strerror}.") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        raise _TakenError(
            f"The spool {path} is used by another collector; give this one another collector.port or data_dir."
        ) from error
    return handle


def _open(path: Path, clock: Clock) -> EmbeddedStream:
    return EmbeddedStream(path, path.stem, 1, clock)
