"""What is wrong with an offset that a stream does not have: the same words for every stream."""

from wakeline.errors import StreamError
from wakeline.streams.protocol import PartitionHead


def require_within(stream: str, head: PartitionHead, start: int) -> None:
    """Raises StreamError unless reading can go on at `start` without passing over an event."""
    if start < head.earliest:
        raise StreamError(
            f"Partition {head.partition} of the event stream {stream} begins at offset {head.earliest}, but {start} is"
            " the next to process: events left the stream unprocessed. Restore them from the archive or a backup, then"
            " give the stream another stream.name; see 'When offsets do not match' in docs/operations.md."
        )
    if start > head.next:
        raise StreamError(
            f"Partition {head.partition} of the event stream {stream} ends at offset {head.next}, but {start} is the"
            " next to process: this is another stream. Restore it, or give the new one another stream.name."
        )
