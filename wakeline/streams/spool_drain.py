"""Moves a spool to its broker, in order, as soon as the broker takes events."""

import logging
import random
from collections.abc import Callable
from contextlib import nullcontext
from threading import Condition, Lock, Thread

from wakeline.clock import Clock
from wakeline.errors import EventRefusedError, StreamError, StreamFullError
from wakeline.streams.protocol import EventStream, Record
from wakeline.streams.spool_file import BATCH_ROWS, SpoolFile

# Pauses while the broker takes nothing: doubled each time, and drawn between half of it and all, so that collectors do
# not come back all at once.
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0

# An outage that goes on is said again after so long.
REMIND_MS = 60_000

# What a reader of the broker's stream is asked to wait while there is none.
_RETRY_SECONDS = 10

_logger = logging.getLogger(__name__)


class Broker:
    """The broker's stream, which may not be there yet, and what it last said when it took nothing."""

    def __init__(self, open_stream: Callable[[], EventStream], clock: Clock) -> None:
        self.trouble = ""
        self._open_stream = open_stream
        self._clock = clock
        self._stream: EventStream | None = None
        self._said, self._said_at_ms = "", 0

    def open(self) -> EventStream:
        """The stream, opened if it is not. Raises StreamError."""
        if self._stream is None:
            self._stream = self._open_stream()
        return self._stream

    def opened(self) -> EventStream:
        """The stream. Raises StreamFullError while there is none."""
        if self._stream is None:
            raise StreamFullError(self.trouble, _RETRY_SECONDS)
        return self._stream

    def note(self, error: StreamError) -> None:
        """Remember why it takes nothing; said when it is new, and again while it goes on."""
        self.trouble = str(error)
        if self.trouble != self._said or self._clock() - self._said_at_ms >= REMIND_MS:
            _logger.error("Events wait in the spool: %s", error)
            self._said, self._said_at_ms = self.trouble, self._clock()

    def note_well(self) -> None:
        """It has everything."""
        if self.trouble:
            _logger.info("The event stream takes events again, and has all that waited.")
        self.trouble = self._said = ""

    def close(self) -> None:
        """Close the stream if there is one."""
        if self._stream is not None:
            self._stream.close()


class Gate:
    """A lock that is had in turn: with a plain one, appends that follow each other would keep the drainer out."""

    def __init__(self) -> None:
        self._next = Lock()
        self._lock = Lock()

    def __enter__(self) -> None:
        with self._next:
            self._lock.acquire()

    def __exit__(self, *error: object) -> None:
        self._lock.release()


class Drainer:
    """The thread that does it; `gate` keeps others from appending to the spool."""

    def __init__(self, broker: Broker, spool: SpoolFile, gate: Gate) -> None:
        self._broker = broker
        self._spool = spool
        self._gate = gate
        self._changed = Condition()
        self._closing = False
        self._thread = Thread(target=self._run, name="spool", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Say that there is something."""
        with self._changed:
            self._changed.notify_all()

    def stop(self) -> None:
        """Returns once the batch under way has left or failed."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        failures = 0
        takes = False
        while self._has_work(failures):
            takes = self._has_taken_a_batch(takes)
            failures = 0 if takes else failures + 1
            takes = takes and self._spool.has_work

    def _has_work(self, failures: int) -> bool:
        """Waits for work, after a pause that new events do not cut short; False at the end."""
        with self._changed:
            if failures:
                self._changed.wait_for(lambda: self._closing, pause_seconds(failures, random.random()))  # noqa: S311
            self._changed.wait_for(lambda: self._closing or self._spool.has_work)
            return not self._closing

    def _has_taken_a_batch(self, takes: bool) -> bool:
        # Under a steady load the spool would never be empty: so nothing may come behind what is nearly the last batch.
        # Not before the broker has taken one, as everybody would wait for its time-out.
        is_last = takes and self._spool.events <= BATCH_ROWS
        try:
            self._move_batch(is_last)
        except StreamError as error:
            self._broker.note(error)
            return False
        except Exception:  # A bug must not end the thread: the spool would fill up and never leave.
            _logger.exception("Events wait in the spool.")
            return False
        return True

    def _move_batch(self, is_last: bool) -> None:
        stream = self._broker.open()
        with self._gate if is_last else nullcontext():
            records = self._spool.next_batch()
            if records:
                self._hand_over(stream, records)
            # SQLite alone would let appends go first, again and again.
            with nullcontext() if is_last else self._gate:
                self._spool.drop()
        if not self._spool.events:
            self._broker.note_well()

    def _hand_over(self, stream: EventStream, records: list[Record]) -> None:
        """What has left is not handed over again, whatever goes wrong with the rest or with the spool's disk."""
        try:
            stream.append([(record.key, record.value) for record in records])
        except EventRefusedError as error:
            if len(records) > 1:
                middle = len(records) // 2
                self._hand_over(stream, records[:middle])
                self._hand_over(stream, records[middle:])
                return
            self._put_aside(records[0], error)
        self._spool.pass_on(records)

    def _put_aside(self, record: Record, error: EventRefusedError) -> None:
        self._spool.put_aside(record)
        _logger.error(
            "An event of %d bytes with key %r is put aside until the collector starts again: %s",
            len(record.value),
            record.key,
            error,
        )


def pause_seconds(failures: int, chance: float) -> float:
    """How long to wait after so many failures in a row; `chance` is between 0 and 1."""
    longest = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(failures - 1, 10))
    return longest * (1 + chance) / 2
