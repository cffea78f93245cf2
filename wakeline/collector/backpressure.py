"""Refuses requests before they cost anything, while the stream or the processing behind it cannot keep up."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from wakeline.clock import Clock
from wakeline.collector.appender import Appender
from wakeline.collector.refused import RefusedError, try_again
from wakeline.errors import WakelineError
from wakeline.metrics.collector import PENDING, UNREAD
from wakeline.settings import CollectorSettings

# Unread events are counted at most this often, and not for the request that asks.
LOOK_EVERY_MS = 1_000

# The stream empties itself of what waits within a second; a backlog of millions of events takes longer.
PENDING_RETRY_SECONDS = 1
UNREAD_RETRY_SECONDS = 30

_logger = logging.getLogger(__name__)


class UnreadGauge:
    """How many events of the stream are not processed yet, as of about a second ago."""

    def __init__(self, look: Callable[[], int], clock: Clock) -> None:
        self._look = look
        self._clock = clock
        self._count = 0
        self._looked_at_ms: int | None = None
        self._looking: asyncio.Task[None] | None = None

    @property
    def latest(self) -> int:
        """The last count, however old."""
        return self._count

    def count(self) -> int:
        """The last count; starts the next one in the background when it is old."""
        now_ms = self._clock()
        if self._looking is None and self._is_old(now_ms):
            self._looked_at_ms = now_ms
            self._looking = asyncio.create_task(self._refresh())
        return self._count

    def _is_old(self, now_ms: int) -> bool:
        return self._looked_at_ms is None or abs(now_ms - self._looked_at_ms) >= LOOK_EVERY_MS

    async def _refresh(self) -> None:
        try:
            self._count = await asyncio.to_thread(self._look)
        except WakelineError as error:
            _logger.warning("Unread events cannot be counted, the last count is kept: %s", error)
        except Exception:
            _logger.exception("Unread events cannot be counted, the last count is kept.")
        finally:
            self._looking = None


class Gate:
    """Decides whether a request may come in, and knows how much memory those take that are in.

    Bodies that are being read and events that wait for the stream share `max_pending_bytes`.
    """

    def __init__(
        self, settings: CollectorSettings, appender: Appender, unread: UnreadGauge, pushed_back: Callable[[str], None]
    ) -> None:
        """`pushed_back` is told of every request that is refused because too much waits: PENDING or UNREAD."""
        self._settings = settings
        self._appender = appender
        self._unread = unread
        self._pushed_back = pushed_back
        self._reading_bytes = 0

    @property
    def pending_bytes(self) -> int:
        """Bytes of bodies being read and of events that wait for the stream."""
        return self._appender.waiting_bytes + self._reading_bytes

    def check(self) -> None:
        """Raises RefusedError: 429 when too much waits for the stream, 503 when too much in it is unread."""
        self._require_room(0)
        if self._unread.count() > self._settings.max_unread_events:
            self._pushed_back(UNREAD)
            raise try_again(503, "Too many events wait to be processed.", UNREAD_RETRY_SECONDS)

    def pressure(self) -> dict[str, object]:
        """Why requests are refused now and how many events are unread, for people to see; empty when none are."""
        unread = self._unread.count()
        try:
            self.check()
        except RefusedError as error:
            too_many = {"unread_events": unread} if unread > self._settings.max_unread_events else {}
            return {"refusing": str(error), **too_many}
        return {}

    def check_room(self, size: int) -> None:
        """Raises RefusedError when so many bytes cannot wait for the stream: 429, or 413 when they never could."""
        if size > self._settings.max_pending_bytes:
            raise RefusedError(413, f"The events come to {size} bytes; send smaller batches.")
        self._require_room(size)

    @contextmanager
    def reading(self) -> Iterator[Callable[[int], None]]:
        """While a body is read; what this gives is called with the size of each piece.

        Raises RefusedError (429) when there is no room for it.
        """
        held = 0

        def hold(size: int) -> None:
            nonlocal held
            self._require_room(size)
            held += size
            self._reading_bytes += size

        try:
            yield hold
        finally:
            self._reading_bytes -= held

    def _require_room(self, size: int) -> None:
        if self.pending_bytes + size > self._settings.max_pending_bytes:
            self._pushed_back(PENDING)
            raise try_again(429, "Too many events wait for the event stream.", PENDING_RETRY_SECONDS)
