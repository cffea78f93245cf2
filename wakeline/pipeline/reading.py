"""What the next micro-batch reads: offset ranges within bounds, and their records."""

from collections.abc import Mapping, Sequence

from wakeline.errors import StreamError
from wakeline.pipeline.lanes import Ranges
from wakeline.streams.protocol import EventStream, PartitionHead, Record


def read_next(
    stream: EventStream, committed: Mapping[int, int], max_rows: int, max_bytes: int
) -> tuple[list[Record], dict[int, tuple[int, int]]]:
    """Unread records of all partitions, each partition its fair share, and the ranges they cover.

    Raises StreamError when the stream does not hold what comes next: going on would lose events in silence.
    """
    unread = [head for head in stream.heads() if _start(head, committed) < head.next]
    records: list[Record] = []
    ranges: dict[int, tuple[int, int]] = {}
    for index, head in enumerate(unread):
        share = max(1, (max_rows - len(records)) // (len(unread) - index))
        found = stream.read(head.partition, _start(head, committed), share, max_bytes // len(unread))
        if found:
            records += found
            ranges[head.partition] = (found[0].offset, found[-1].offset + 1)
    return records, ranges


def read_ranges(stream: EventStream, ranges: Ranges) -> list[Record]:
    """Exactly the records of these ranges: a begun batch, read again after a crash.

    Raises StreamError when the stream no longer has them.
    """
    records: list[Record] = []
    for partition, (first, end) in ranges.items():
        while first < end:
            found = stream.read(partition, first, end - first, max_bytes=2**40)
            if not found or found[0].offset != first:
                raise StreamError(
                    f"Stream partition {partition} no longer holds offset {first}, which is being redone."
                )
            records += found
            first = found[-1].offset + 1
    return records


def unread_count(heads: Sequence[PartitionHead], committed: Mapping[int, int]) -> int:
    """Events in the stream that are not yet processed."""
    return sum(max(0, head.next - committed.get(head.partition, 0)) for head in heads)


def _start(head: PartitionHead, committed: Mapping[int, int]) -> int:
    start = committed.get(head.partition, 0)
    if start < head.earliest:
        raise StreamError(
            f"Stream partition {head.partition} begins at offset {head.earliest}, but {start} is the next to process:"
            " events left the stream unprocessed. Restore the stream file from a backup before going on."
        )
    if start > head.next:
        raise StreamError(
            f"Stream partition {head.partition} ends at offset {head.next}, but {start} is the next to process:"
            " this is another stream. Restore the file, or give the new stream another stream.name."
        )
    return start
