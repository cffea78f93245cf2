"""How far processing is behind the stream, for the collector's back-pressure."""

from collections.abc import Callable
from functools import cache

from wakeline.clock import Clock
from wakeline.database import open_database
from wakeline.pipeline.factory import lane_store
from wakeline.settings import Settings
from wakeline.streams.factory import open_stream
from wakeline.streams.protocol import EventStream


def unread_events(settings: Settings, clock: Clock) -> Callable[[], int]:
    """A function that counts the events in the stream that are not yet processed.

    Always 0 for Kinesis, which does not count them, and where each look would take one of the readers' five a second.
    """
    if settings.stream.kind == "kinesis":
        return lambda: 0
    lanes = lane_store(settings, open_database(settings.ledger_path))

    @cache
    def stream() -> EventStream:
        # At the first count: the collector must start, and spool, while the broker is away.
        return open_stream(settings, clock)

    return lambda: stream().lag(lanes.committed()).events or 0
