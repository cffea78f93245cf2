from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.clocks import Hand

from wakeline.errors import StreamError
from wakeline.pipeline.reading import ranges_of, read_ranges, unread_starts
from wakeline.streams.embedded import EmbeddedStream
from wakeline.streams.protocol import Lag, Record, partition_of
from wakeline.streams.sharing import share_out

PLENTY = 1_000_000


@pytest.fixture
def stream(tmp_path: Path, clock: Hand) -> Iterator[EmbeddedStream]:
    opened = EmbeddedStream(tmp_path / "stream.sqlite", "events", 3, clock)
    yield opened
    opened.close()


def fill(stream: EmbeddedStream, counts: dict[int, int], value: bytes = b"value") -> None:
    for partition, count in counts.items():
        key = next(key for key in map(str, range(1_000)) if partition_of(key, 3) == partition)
        stream.append([(key, value)] * count)


def places(records: list[Record]) -> list[tuple[int, int]]:
    return [(record.partition, record.offset) for record in records]


def read(
    stream: EmbeddedStream, starts: dict[int, int], rows: int = PLENTY, size: int = PLENTY
) -> dict[int, tuple[int, int]]:
    return ranges_of(stream.read(starts, rows, size), starts)


def test_everything_unread_is_read_and_nothing_that_was_committed(stream: EmbeddedStream) -> None:
    fill(stream, {0: 4, 1: 2, 2: 1})
    starts = {0: 3, 1: 0, 2: 1}
    records = stream.read(starts, PLENTY, PLENTY)
    assert places(records) == [(0, 3), (1, 0), (1, 1)]
    assert ranges_of(records, starts) == {0: (3, 4), 1: (0, 2)}


def test_there_is_nothing_to_read_when_all_is_committed(stream: EmbeddedStream) -> None:
    fill(stream, {0: 2})
    assert read(stream, {0: 2, 1: 0, 2: 0}) == {}


def test_a_lane_reads_its_own_partitions_only(stream: EmbeddedStream) -> None:
    fill(stream, {0: 2, 1: 2, 2: 2})
    assert read(stream, {1: 0}) == {1: (0, 2)}


def test_every_partition_gets_its_share_of_a_batch_and_leaves_what_it_does_not_need(stream: EmbeddedStream) -> None:
    fill(stream, {0: 100, 1: 1, 2: 100})
    assert read(stream, {0: 0, 1: 0, 2: 0}, rows=31) == {0: (0, 10), 1: (0, 1), 2: (0, 20)}


def test_a_batch_smaller_than_the_number_of_partitions_reads_one_event_of_each(stream: EmbeddedStream) -> None:
    fill(stream, {0: 5, 1: 5, 2: 5})
    assert read(stream, {0: 0, 1: 0, 2: 0}, rows=1) == {0: (0, 1), 1: (0, 1), 2: (0, 1)}


def test_bytes_bound_a_batch_but_an_event_larger_than_all_of_it_is_read_alone(stream: EmbeddedStream) -> None:
    fill(stream, {0: 4}, b"x" * 100)
    assert read(stream, {0: 0}, size=250) == {0: (0, 2)}
    assert read(stream, {0: 0}, size=10) == {0: (0, 1)}


def test_events_that_left_the_stream_unprocessed_are_not_passed_over(stream: EmbeddedStream, clock: Hand) -> None:
    fill(stream, {0: 4})
    assert stream.retain({0: 3}, clock() + 1) == 3
    with pytest.raises(StreamError, match="begins at offset 3, but 1 is the next to process"):
        stream.read({0: 1}, PLENTY, PLENTY)
    with pytest.raises(StreamError, match="begins at offset 3, but 1 is the next to process"):
        stream.verify({0: 1})


def test_a_stream_that_ends_before_what_was_processed_is_another_stream(stream: EmbeddedStream) -> None:
    # A new file in the old one's place: its events would be passed over until it is as long as the old one.
    fill(stream, {0: 2})
    with pytest.raises(StreamError, match="ends at offset 2, but 5 is the next to process"):
        stream.read({0: 5}, PLENTY, PLENTY)
    stream.verify({0: 2})


def test_a_begun_batch_is_read_again_exactly_however_much_came_after_it(stream: EmbeddedStream) -> None:
    fill(stream, {0: 4, 1: 2})
    starts = {0: 1, 1: 0, 2: 0}
    records = stream.read(starts, PLENTY, PLENTY)
    fill(stream, {0: 10, 2: 10})
    assert read_ranges(stream, ranges_of(records, starts)) == records


def test_a_begun_batch_that_left_the_stream_is_an_error(stream: EmbeddedStream, clock: Hand) -> None:
    fill(stream, {0: 4})
    stream.retain({0: 4}, clock() + 1)
    with pytest.raises(StreamError):
        read_ranges(stream, {0: (2, 4)})


def test_a_begun_batch_that_reaches_beyond_the_streams_end_is_an_error(stream: EmbeddedStream) -> None:
    fill(stream, {0: 4})
    with pytest.raises(StreamError, match=r"gave nothing for 100 seconds from offset 4 of partition 0 on"):
        read_ranges(stream, {0: (2, 6)})


def test_a_begun_batch_is_read_again_in_its_own_order_whatever_one_read_brings(stream: EmbeddedStream) -> None:
    fill(stream, {0: 3, 1: 900, 2: 4})
    records = read_ranges(stream, {2: (1, 3), 0: (2, 2), 1: (0, 850)})
    assert places(records) == [(2, 1), (2, 2), *((1, offset) for offset in range(850))]


def test_a_range_reaches_over_offsets_that_a_broker_left_out() -> None:
    records = [Record(0, 7, 0, "", b""), Record(0, 9, 0, "", b"")]
    assert ranges_of(records, {0: 5, 1: 3}) == {0: (5, 10)}


def test_a_partition_that_was_never_read_begins_with_its_first_event(stream: EmbeddedStream, clock: Hand) -> None:
    fill(stream, {0: 3, 1: 2})
    stream.retain({0: 2}, clock() + 1)
    assert unread_starts(stream, [0, 1, 2], {1: 1}) == {0: 2, 2: 0}


@given(st.lists(st.integers(0, 30), min_size=1, max_size=6), st.integers(1, 20))
def test_batch_after_batch_reads_every_event_once_and_in_its_partitions_order(counts: list[int], max_rows: int) -> None:
    starts = dict.fromkeys(range(len(counts)), 0)

    def take(partition: int, rows: int, _: int) -> list[Record]:
        end = min(counts[partition], starts[partition] + rows)
        return [Record(partition, at, 0, "", b"") for at in range(starts[partition], end)]

    seen: list[tuple[int, int]] = []
    while unread := [partition for partition, count in enumerate(counts) if starts[partition] < count]:
        records = share_out(unread, take, max_rows, PLENTY)
        assert 0 < len(records) <= max(max_rows, len(counts))
        seen += places(records)
        starts |= {partition: end for partition, (_, end) in ranges_of(records, starts).items()}
    assert sorted(seen) == [(partition, at) for partition, count in enumerate(counts) for at in range(count)]


def test_unread_events_are_counted_over_all_partitions_and_the_oldest_tells_the_lag(
    stream: EmbeddedStream, clock: Hand
) -> None:
    assert stream.lag({}) == Lag(0, 0)
    fill(stream, {0: 4})
    clock.now_ms += 2_000
    fill(stream, {1: 2})
    clock.now_ms += 1_000
    assert stream.lag({}) == Lag(6, 3)
    assert stream.lag({0: 4, 1: 1}) == Lag(1, 1)
    assert stream.lag({0: 4, 1: 2}) == Lag(0, 0)
