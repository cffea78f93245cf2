"""Refuses requests before they cost anything, while the stream or the processing behind it cannot keep up."""

import asyncio
import logging
from collections.abc import Callable

from wakeline.clock import Clock
from wakeline.collector.appender import Appender
from wakeline.collector.refused import try_again
from wakeline.errors import WakelineError
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
    """Decides whether a request may come in."""

    def __init__(self, settings: CollectorSettings, appender: Appender, unread: UnreadGauge) -> None:
        self._settings = settings
        self._appender = appender
        self._unread = unread

    def check(self) -> None:
        """Raises RefusedError: 429 when too much waits for the stream, 503 when too much in it is unread."""
        if self._appender.waiting_bytes > self._settings.max_pending_bytes:
            raise try_again(429, "Too many events wait for the event stream.", PENDING_RETRY_SECONDS)
        if self._unread.count() > self._settings.max_unread_events:
            raise try_again(503, "Too many events wait to be processed.", UNREAD_RETRY_SECONDS)
