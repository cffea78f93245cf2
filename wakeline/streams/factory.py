"""Opens the stream that the settings name."""

from wakeline.clock import Clock
from wakeline.settings import Settings
from wakeline.streams.embedded import EmbeddedStream
from wakeline.streams.protocol import EventStream


def open_stream(settings: Settings, clock: Clock) -> EventStream:
    """The configured event stream, made at first use; the caller closes it.

    Raises StreamError when it cannot be opened.
    """
    return EmbeddedStream(settings.stream_path, settings.stream.name, settings.stream.partitions, clock)
