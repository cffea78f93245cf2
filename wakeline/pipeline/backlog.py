"""How far processing is behind the stream, for the collector's back-pressure."""

from collections.abc import Callable
from functools import cache

from wakeline.clock import Clock
from wakeline.engines import open_database
from wakeline.pipeline.factory import lane_store
from wakeline.pipeline.lanes import LaneStore
from wakeline.settings import Settings
from wakeline.streams.factory import open_stream
from wakeline.streams.protocol import EventStream


def unread_events(settings: Settings, clock: Clock) -> Callable[[], int]:
    """A function that counts the events in the stream that are not yet processed.

    Always 0 for Kinesis, which does not count them, and where each look would take one of the readers' five a second.
    """
    if settings.stream.kind == "kinesis":
        return lambda: 0

    # At the first count: the collector must start, and spool, while the broker or the ledger is away.
    @cache
    def stream() -> EventStream:
        return open_stream(settings, clock)

    @cache
    def lanes() -> LaneStore:
        return lane_store(settings, open_database(settings))

    return lambda: stream().lag(lanes().committed()).events or 0
