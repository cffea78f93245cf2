from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.clocks import Hand

from wakeline.errors import StreamError
from wakeline.pipeline.reading import read_next, read_ranges, unread_count
from wakeline.streams.embedded import EmbeddedStream
from wakeline.streams.protocol import EventStream, PartitionHead, Record, partition_of

PLENTY = 1_000_000


@pytest.fixture
def stream(tmp_path: Path, clock: Hand) -> Iterator[EmbeddedStream]:
    opened = EmbeddedStream(tmp_path / "stream.sqlite", "events", 3, clock)
    yield opened
    opened.close()


def fill(stream: EventStream, counts: dict[int, int], value: bytes = b"value") -> None:
    for partition, count in counts.items():
        key = next(key for key in map(str, range(1_000)) if partition_of(key, stream.partitions) == partition)
        stream.append([(key, value)] * count)


def places(records: list[Record]) -> list[tuple[int, int]]:
    return [(record.partition, record.offset) for record in records]


def test_everything_unread_is_read_and_nothing_that_was_committed(stream: EmbeddedStream) -> None:
    fill(stream, {0: 4, 1: 2, 2: 1})
    records, ranges = read_next(stream, {0: 3, 2: 1}, PLENTY, PLENTY)
    assert places(records) == [(0, 3), (1, 0), (1, 1)]
    assert ranges == {0: (3, 4), 1: (0, 2)}


def test_there_is_nothing_to_read_when_all_is_committed(stream: EmbeddedStream) -> None:
    fill(stream, {0: 2})
    assert read_next(stream, {0: 2}, PLENTY, PLENTY) == ([], {})


def test_every_partition_gets_its_share_of_a_batch_and_leaves_what_it_does_not_need(stream: EmbeddedStream) -> None:
    fill(stream, {0: 100, 1: 1, 2: 100})
    records, ranges = read_next(stream, {}, 31, PLENTY)
    assert len(records) == 31
    assert ranges == {0: (0, 10), 1: (0, 1), 2: (0, 20)}


def test_a_batch_smaller_than_the_number_of_partitions_reads_one_event_of_each(stream: EmbeddedStream) -> None:
    fill(stream, {0: 5, 1: 5, 2: 5})
    assert read_next(stream, {}, 1, PLENTY)[1] == {0: (0, 1), 1: (0, 1), 2: (0, 1)}


def test_bytes_bound_a_batch_but_an_event_larger_than_all_of_it_is_read_alone(stream: EmbeddedStream) -> None:
    fill(stream, {0: 4}, b"x" * 100)
    assert read_next(stream, {}, PLENTY, 250)[1] == {0: (0, 2)}
    assert read_next(stream, {}, PLENTY, 10)[1] == {0: (0, 1)}


def test_events_that_left_the_stream_unprocessed_are_not_passed_over(stream: EmbeddedStream, clock: Hand) -> None:
    fill(stream, {0: 4})
    assert stream.retain({0: 3}, clock() + 1) == 3
    with pytest.raises(StreamError, match="partition 0 begins at offset 3, but 1 is the next to process"):
        read_next(stream, {0: 1}, PLENTY, PLENTY)


def test_a_stream_that_ends_before_what_was_processed_is_another_stream(stream: EmbeddedStream) -> None:
    # A new file in the old one's place: its events would be passed over until it is as long as the old one.
    fill(stream, {0: 2})
    with pytest.raises(StreamError, match="partition 0 ends at offset 2, but 5 is the next to process"):
        read_next(stream, {0: 5}, PLENTY, PLENTY)


def test_a_begun_batch_is_read_again_exactly_however_much_came_after_it(stream: EmbeddedStream) -> None:
    fill(stream, {0: 4, 1: 2})
    records, ranges = read_next(stream, {0: 1}, PLENTY, PLENTY)
    fill(stream, {0: 10, 2: 10})
    assert read_ranges(stream, ranges) == records


def test_a_begun_batch_that_left_the_stream_is_an_error(stream: EmbeddedStream, clock: Hand) -> None:
    fill(stream, {0: 4})
    stream.retain({0: 4}, clock() + 1)
    with pytest.raises(StreamError):
        read_ranges(stream, {0: (2, 4)})


def test_a_begun_batch_that_reaches_beyond_the_streams_end_is_an_error(stream: EmbeddedStream) -> None:
    fill(stream, {0: 4})
    with pytest.raises(StreamError, match="no longer holds offset 4, which is being redone"):
        read_ranges(stream, {0: (2, 6)})


class Columns:
    """A stream that is only as long as its numbers say."""

    name = "events"

    def __init__(self, counts: list[int]) -> None:
        self.partitions = len(counts)
        self._counts = counts

    def heads(self) -> list[PartitionHead]:
        return [PartitionHead(partition, 0, count) for partition, count in enumerate(self._counts)]

    def read(self, partition: int, offset: int, max_rows: int, max_bytes: int) -> list[Record]:
        end = min(self._counts[partition], offset + max_rows)
        return [Record(partition, at, 0, "", b"") for at in range(offset, end)]

    def append(self, events: object) -> None:
        raise NotImplementedError

    def retain(self, committed: object, before_ms: int) -> int:
        raise NotImplementedError

    def close(self) -> None:
        pass


@given(st.lists(st.integers(0, 30), min_size=1, max_size=6), st.integers(1, 20))
def test_batch_after_batch_reads_every_event_once_and_in_its_partitions_order(counts: list[int], max_rows: int) -> None:
    stream, committed = Columns(counts), dict[int, int]()
    seen: list[tuple[int, int]] = []
    while (batch := read_next(stream, committed, max_rows, PLENTY))[0]:
        records, ranges = batch
        assert len(records) <= max(max_rows, len(counts))
        assert len(records) == sum(end - first for first, end in ranges.values())
        seen += places(records)
        committed |= {partition: end for partition, (_, end) in ranges.items()}
    assert sorted(seen) == [(partition, at) for partition, count in enumerate(counts) for at in range(count)]
    assert unread_count(stream.heads(), committed) == 0


def test_unread_events_are_counted_over_all_partitions(stream: EmbeddedStream) -> None:
    fill(stream, {0: 4, 1: 2})
    assert unread_count(stream.heads(), {}) == 6
    assert unread_count(stream.heads(), {0: 3, 1: 2}) == 1
