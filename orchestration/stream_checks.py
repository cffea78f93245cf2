"""Whether the event stream can be read: by hand, and by the lane sensor at every look."""

import dagster as dg

from orchestration.configuration import lane_store, settings
from orchestration.streaming import EVENT_STREAM
from wakeline.clock import system_clock
from wakeline.errors import StreamError
from wakeline.pipeline.stream_check import check_stream
from wakeline.streams.factory import open_stream
from wakeline.streams.protocol import Facts

CHECK = "stream_can_be_read"


@dg.asset_check(
    asset=EVENT_STREAM,
    name=CHECK,
    description="The stream answers, is the one that the offsets belong to, and still has the next event to process.",
)
def stream_can_be_read() -> dg.AssetCheckResult:
    stream = open_stream(settings(), system_clock)
    try:
        facts = check_stream(stream, lane_store())
    except StreamError as error:
        return dg.AssetCheckResult(passed=False, description=str(error))
    finally:
        stream.close()
    return dg.AssetCheckResult(passed=True, metadata=facts_metadata(facts))


def evaluation(error: str, facts: Facts | None) -> dg.AssetCheckEvaluation:
    """The same as the sensor reports it."""
    return dg.AssetCheckEvaluation(
        check_name=CHECK,
        asset_key=EVENT_STREAM,
        passed=not error,
        description=error or None,
        metadata={} if facts is None else facts_metadata(facts),
    )


def facts_metadata(facts: Facts) -> dict[str, str | int | float]:
    """What the stream says of itself, as metadata."""
    retention = {} if facts.retention_hours is None else {"retention_hours": facts.retention_hours}
    return {"identity": facts.identity, "partitions": len(facts.partitions), **retention}
