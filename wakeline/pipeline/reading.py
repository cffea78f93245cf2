"""What the next micro-batch reads: records within bounds, and the offset ranges they cover."""

from collections.abc import Iterable, Mapping

from wakeline.errors import StreamError
from wakeline.pipeline.lanes import Ranges
from wakeline.streams.protocol import EventStream, Record

#: Kinesis gives empty pages, four a second, on the way to events that lie far apart. A lease lasts longer than that
#: (`heartbeat.MAX_STEP_MS`).
REDO_SECONDS = 100.0


def ranges_of(records: Iterable[Record], starts: Mapping[int, int]) -> dict[int, tuple[int, int]]:
    """What records cover that were read from `starts` on: from there to the last of each partition.

    A broker may leave out offsets, so that a range can be longer than its records are many.
    """
    return {record.partition: (starts[record.partition], record.offset + 1) for record in records}


def read_ranges(stream: EventStream, ranges: Ranges) -> list[Record]:
    """Exactly the records of these ranges, in their order: a begun batch, read again after a crash.

    Raises StreamError when the stream does not give them.
    """
    records: dict[int, list[Record]] = {partition: [] for partition in ranges}
    starts = {partition: first for partition, (first, end) in ranges.items() if first < end}
    while starts:
        rows = sum(ranges[partition][1] - start for partition, start in starts.items())
        found = stream.read(starts, rows, max_bytes=2**40, max_wait_seconds=REDO_SECONDS)
        if not found:
            raise _not_given(starts)
        for record in found:
            starts[record.partition] = record.offset + 1
            if record.offset < ranges[record.partition][1]:
                records[record.partition].append(record)
        starts = {partition: start for partition, start in starts.items() if start < ranges[partition][1]}
    return [record for own in records.values() for record in own]


def _not_given(starts: Mapping[int, int]) -> StreamError:
    [(partition, start), *_] = starts.items()
    return StreamError(
        f"The event stream gave nothing for {REDO_SECONDS:.0f} seconds from offset {start} of partition {partition} on,"
        " where a batch that was begun is to be done again: it has lost these events, or is too slow. The next run"
        " tries again; if it fails as well, see 'When offsets do not match' in docs/operations.md."
    )


def unread_starts(stream: EventStream, partitions: Iterable[int], committed: Mapping[int, int]) -> dict[int, int]:
    """Where the partitions begin that were never read."""
    return {partition: stream.earliest(partition) for partition in partitions if partition not in committed}
