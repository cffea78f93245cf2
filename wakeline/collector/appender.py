"""Between the event loop and the stream: requests that arrive during one append share the next."""

import asyncio
import logging
import time
from collections.abc import Callable

from wakeline.clock import Clock
from wakeline.errors import StreamError
from wakeline.streams.protocol import EventStream

# A failure older than this says nothing about now: a load balancer that took the collector out sends no
# events whose append could prove it well again.
FAILURE_MEMORY_MS = 10_000

# What Python needs for an event besides its texts.
_OBJECT_BYTES = 200

_logger = logging.getLogger(__name__)


def size_of(events: list[tuple[str, bytes]]) -> int:
    """The memory that events take while they wait."""
    return sum(len(key) + len(value) + _OBJECT_BYTES for key, value in events)


class Appender:
    """Hands everything that waits to `stream.append` in a worker thread, one append at a time."""

    def __init__(self, stream: EventStream, clock: Clock, timed: Callable[[float], None]) -> None:
        """`timed` is told how many seconds each append took."""
        self.waiting_bytes = 0
        self._timed = timed
        self._stream = stream
        self._clock = clock
        self._waiting: list[tuple[list[tuple[str, bytes]], asyncio.Future[None]]] = []
        self._flusher: asyncio.Task[None] | None = None
        self._failure: StreamError | None = None
        self._failed_at_ms = 0

    async def append(self, events: list[tuple[str, bytes]]) -> None:
        """Returns once the events are durable; raises StreamError when they are not."""
        if not events:
            return
        size = size_of(events)
        durable = asyncio.get_running_loop().create_future()
        self._waiting.append((events, durable))
        self.waiting_bytes += size
        if self._flusher is None:
            self._flusher = asyncio.create_task(self._flush())
        try:
            await durable
        finally:
            self.waiting_bytes -= size

    def failure(self) -> StreamError | None:
        """Why the last append failed; None when it did not, or too long ago to say anything about now."""
        if self._clock() - self._failed_at_ms > FAILURE_MEMORY_MS:
            return None
        return self._failure

    async def drain(self) -> None:
        """Returns when nothing waits any more."""
        if self._flusher is not None:
            await self._flusher

    async def _flush(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting, []
            error = await self._append_all([event for events, _ in group for event in events])
            for _, durable in group:
                if durable.cancelled():  # The server gave up on the request.
                    continue
                if error is None:
                    durable.set_result(None)
                else:
                    durable.set_exception(error)
        self._flusher = None

    async def _append_all(self, events: list[tuple[str, bytes]]) -> Exception | None:
        began = time.monotonic()
        try:
            await asyncio.to_thread(self._stream.append, events)
        except StreamError as error:
            self._note_failure(error, len(events))
            return error
        except Exception as error:  # A bug; every request that waits must hear of it and not wait for ever.
            return error
        finally:
            self._timed(time.monotonic() - began)
        self._note_success()
        return None

    def _note_failure(self, error: StreamError, count: int) -> None:
        _logger.error("%d events could not be appended and were refused: %s", count, error)
        self._failure, self._failed_at_ms = error, self._clock()

    def _note_success(self) -> None:
        if self._failure is not None:
            _logger.info("Events are appended again.")
        self._failure = None
