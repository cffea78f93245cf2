"""How far processing is behind the stream, for the collector's back-pressure."""

from collections.abc import Callable

from wakeline.clock import Clock
from wakeline.database import open_database
from wakeline.pipeline.lanes import LaneStore
from wakeline.pipeline.reading import unread_count
from wakeline.settings import Settings
from wakeline.streams.factory import open_stream


def unread_events(settings: Settings, clock: Clock) -> Callable[[], int]:
    """A function that counts the events in the stream that are not yet processed."""
    lanes = LaneStore(open_database(settings.ledger_path), settings.stream.name)
    stream = open_stream(settings, clock)
    return lambda: unread_count(stream.heads(), lanes.committed())
