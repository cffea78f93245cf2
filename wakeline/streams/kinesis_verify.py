"""Whether events may have left a stream unprocessed: Kinesis goes on at its oldest record without a word."""

from collections.abc import Collection, Mapping

from wakeline.errors import StreamError
from wakeline.streams.kinesis_look import Look
from wakeline.streams.kinesis_shards import Shard

HOUR_MS = 3_600_000
#: What waits for less is on its way; what waits for longer tells that nobody has read for so long.
STALLED_MS = HOUR_MS


def require_kept(
    stream: str, partition: int, look: Look, now_ms: int, retention_ms: float, last_read_ms: int | None
) -> None:
    """Raises StreamError when the last processed record has expired, and others may have expired after it.

    As long as Kinesis holds the last processed record, it holds all that follow. When it does not, the shard may have
    been quiet for longer than the retention. That is believed where reading is alive: where nothing has been waiting
    for an hour, and the stream was read on within the retention, less that hour.
    """
    if look.held:
        return
    gone = f"partition {partition} no longer holds the last processed event"
    if look.unread_at_ms is not None and now_ms - look.unread_at_ms > STALLED_MS:
        hours = (now_ms - look.unread_at_ms) / HOUR_MS
        raise _lost(stream, f"{gone}, and the next one has been waiting for {hours:.1f} hours")
    if last_read_ms is not None and now_ms - last_read_ms > retention_ms - STALLED_MS:
        raise _lost(
            stream,
            f"{gone}, and nobody has read the stream for {(now_ms - last_read_ms) / HOUR_MS:.1f} hours of the"
            f" {retention_ms / HOUR_MS:g} that it keeps events",
        )


def require_succeeded(stream: str, partition: int, shards: Mapping[int, Shard], committed: Collection[int]) -> None:
    """Raises StreamError unless a closed shard whose records have expired was read to its end.

    It was when one that took over from it has been begun, for that is what a reader waits for. Where those are gone
    from the list as well, any later shard that was begun must do.
    """
    heirs = [shard.partition for shard in shards.values() if partition in shard.parents]
    later = heirs or [other for other in committed if other > partition]
    if not any(other in committed for other in later):
        raise _lost(stream, f"the shard of partition {partition} was closed and expired before it was read to its end")


def _lost(stream: str, what: str) -> StreamError:
    return StreamError(
        f"Events may have left the Kinesis stream '{stream}' unprocessed: {what}. Restore them from the archive, then"
        " set another stream.name: all that Kinesis still holds is read again, and what was processed before counts as"
        " a repetition."
    )
