"""Opens the stream that the settings name."""

from wakeline.clock import Clock
from wakeline.settings import Settings
from wakeline.streams.embedded import EmbeddedStream
from wakeline.streams.kinesis_positions import Positions
from wakeline.streams.protocol import EventStream
from wakeline.streams.spool import SpooledStream


def open_stream(settings: Settings, clock: Clock, positions: Positions | None = None) -> EventStream:
    """The configured event stream, made at first use; the caller closes it.

    `positions` is the landing table that Kinesis is read with; without it a connection is made when it is needed.
    Raises StreamError when it cannot be opened.
    """
    if settings.stream.kind == "kafka":
        # Here, since it loads librdkafka, which most have no use for.
        from wakeline.streams.kafka import KafkaStream

        return KafkaStream(settings.stream.kafka, settings.stream.name, settings.stream.partitions, clock)
    if settings.stream.kind == "kinesis":
        from wakeline.streams.kinesis import open_kinesis

        return open_kinesis(settings, clock, positions)
    return EmbeddedStream(settings.stream_path, settings.stream.name, settings.stream.partitions, clock)


def open_collector_stream(settings: Settings, clock: Clock) -> EventStream:
    """The same for the collector: what a broker does not take for now waits in the spool.

    Raises StreamError when the broker is there and says that something is wrong, or when the spool cannot be used.
    """
    if settings.stream.kind == "embedded":
        return open_stream(settings, clock)

    def open_broker() -> EventStream:
        stream = open_stream(settings, clock)
        try:
            stream.facts()
        except BaseException:
            stream.close()
            raise
        return stream

    name, max_bytes = settings.stream.name, settings.stream.spool.max_bytes
    return SpooledStream(name, open_broker, settings.spool_path, max_bytes, clock)
