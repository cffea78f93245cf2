"""What the next micro-batch reads: records within bounds, and the offset ranges they cover."""

from collections.abc import Iterable, Mapping

from wakeline.errors import StreamError
from wakeline.pipeline.lanes import Ranges
from wakeline.streams.protocol import EventStream, Record

#: A broker that was asked for what it has may need so long to answer.
_REDO_SECONDS = 10.0


def ranges_of(records: Iterable[Record], starts: Mapping[int, int]) -> dict[int, tuple[int, int]]:
    """What records cover that were read from `starts` on: from there to the last of each partition.

    A broker may leave out offsets, so that a range can be longer than its records are many.
    """
    return {record.partition: (starts[record.partition], record.offset + 1) for record in records}


def read_ranges(stream: EventStream, ranges: Ranges) -> list[Record]:
    """Exactly the records of these ranges: a begun batch, read again after a crash.

    Raises StreamError when the stream no longer has them.
    """
    return [record for partition, bounds in ranges.items() for record in _read_range(stream, partition, *bounds)]


def _read_range(stream: EventStream, partition: int, start: int, end: int) -> list[Record]:
    records: list[Record] = []
    while start < end:
        found = stream.read({partition: start}, end - start, max_bytes=2**40, max_wait_seconds=_REDO_SECONDS)
        if not found:
            raise StreamError(f"Stream partition {partition} no longer holds offset {start}, which is being redone.")
        records += [record for record in found if record.offset < end]
        start = found[-1].offset + 1
    return records


def unread_starts(stream: EventStream, partitions: Iterable[int], committed: Mapping[int, int]) -> dict[int, int]:
    """Where the partitions begin that were never read."""
    return {partition: stream.earliest(partition) for partition in partitions if partition not in committed}
