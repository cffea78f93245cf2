"""Lets processed events leave the stream when they are old enough."""

from wakeline.pipeline.microbatch import MicroBatches

_MS_PER_HOUR = 3_600_000


def retain(batches: MicroBatches, retention_hours: int) -> int:
    """Drop what is both committed and older than the retention; returns how many events left."""
    before_ms = batches.clock() - retention_hours * _MS_PER_HOUR
    return batches.stream.retain(batches.lanes.committed(), before_ms)
