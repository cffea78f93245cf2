"""What a lane and a collector may rely on, whichever event stream is configured: one suite for all of them.

A kind takes part by a fixture `<kind>_maker` that gives a `support.contract.Maker`, and its name in `KINDS`.
"""

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path

import pytest
from support.contract import (
    ALL_BYTES,
    ALL_ROWS,
    PARTITIONS,
    EmbeddedMaker,
    Maker,
    after,
    in_threads,
    pieces,
    read_on,
    read_until_all_come,
    starts_of,
)
from support.kafka import KafkaBroker
from support.kafka_streams import KafkaMaker
from support.kinesis import KinesisServer, open_ministack
from support.kinesis_streams import KinesisMaker, aws_environment

from wakeline.clock import system_clock
from wakeline.errors import StreamError
from wakeline.streams.protocol import EventStream, Record

KINDS = ("embedded", "kafka", "kinesis")

Event = tuple[str, bytes]


@pytest.fixture
def embedded_maker(tmp_path: Path) -> Iterator[EmbeddedMaker]:
    maker = EmbeddedMaker(tmp_path)
    yield maker
    maker.close()


@pytest.fixture
def kafka_maker(kafka: KafkaBroker) -> Iterator[KafkaMaker]:
    maker = KafkaMaker(kafka, PARTITIONS)
    yield maker
    maker.close()


@pytest.fixture(scope="module")
def ministack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KinesisServer]:
    with aws_environment(), open_ministack(tmp_path_factory.mktemp("ministack")) as server:
        yield server


@pytest.fixture
def kinesis_maker(ministack: KinesisServer, request: pytest.FixtureRequest) -> Iterator[KinesisMaker]:
    maker = KinesisMaker(ministack, f"events-{abs(hash(request.node.name))}", PARTITIONS)
    yield maker
    maker.close()


@pytest.fixture(params=KINDS)
def maker(request: pytest.FixtureRequest) -> Maker:
    found: Maker = request.getfixturevalue(f"{request.param}_maker")
    return found


@pytest.fixture
def stream(maker: Maker) -> EventStream:
    return maker.open()


def numbered(how_many: int, key: str = "key {}") -> list[Event]:
    """Events of some keys in turn, which all partitions have a share of; the number is the value."""
    return [(key.format(number % 11), b"%d" % number) for number in range(how_many)]


def by_key(events: Iterable[Event]) -> dict[str, list[bytes]]:
    found: dict[str, list[bytes]] = defaultdict(list)
    for key, value in events:
        found[key].append(value)
    return dict(found)


def events_of(records: Iterable[Record]) -> list[Event]:
    return [(record.key, record.value) for record in records]


def a_key_of(maker: Maker, partition: int) -> str:
    return next(f"key {number}" for number in range(1_000) if maker.partition_of(f"key {number}") == partition)


def assert_contiguous(records: Iterable[Record]) -> None:
    """No kind leaves out offsets as long as nobody else writes to it."""
    offsets: dict[int, list[int]] = defaultdict(list)
    for record in records:
        offsets[record.partition].append(record.offset)
    for found in offsets.values():
        assert found == list(range(found[0], found[0] + len(found)))


# Append and read


def test_what_is_appended_is_read_as_it_was_and_in_order_per_key(maker: Maker, stream: EventStream) -> None:
    starts = starts_of(stream)
    events = [*numbered(100), ("Zoë 名", b'{"a": "\xc3\xab"}'), ("bytes", bytes(range(256)))]
    began_ms = system_clock()
    stream.append(events[:40])
    stream.append(events[40:])
    records = read_on(stream, starts, len(events))
    assert by_key(events_of(records)) == by_key(events)
    assert all(record.partition == maker.partition_of(record.key) for record in records)
    assert_contiguous(records)
    # Another machine's clock may have said it.
    assert all(began_ms - 1_000 <= record.appended_at_ms <= system_clock() + 1_000 for record in records)


def test_a_partition_that_was_never_read_begins_with_its_first_event(stream: EventStream) -> None:
    stream.append(numbered(20))
    starts = starts_of(stream)
    assert list(starts) == stream.partitions() == list(range(PARTITIONS))
    records = read_on(stream, starts, 20)
    firsts = {record.partition: record.offset for record in reversed(records)}
    assert firsts == {partition: starts[partition] for partition in firsts}


def test_an_append_of_nothing_changes_nothing(stream: EventStream) -> None:
    starts = starts_of(stream)
    stream.append([])
    assert stream.read(starts, ALL_ROWS, ALL_BYTES) == []
    assert starts_of(stream) == starts


def test_appends_of_many_threads_are_all_there_each_key_in_order(stream: EventStream) -> None:
    starts = starts_of(stream)
    events = {thread: numbered(50, f"thread {thread} {{}}") for thread in range(4)}

    def append(thread: int) -> None:
        for at in range(0, 50, 5):
            stream.append(events[thread][at : at + 5])

    in_threads(partial(append, thread) for thread in events)
    records = read_on(stream, starts, 200)
    assert by_key(events_of(records)) == by_key(event for own in events.values() for event in own)
    assert_contiguous(records)


def test_a_large_event_and_a_large_append_arrive_whole(stream: EventStream) -> None:
    starts = starts_of(stream)
    events = [("large", b"x" * 262_144), *((f"key {number}", b"y" * 500) for number in range(2_000))]
    stream.append(events)
    assert by_key(events_of(read_on(stream, starts, len(events)))) == by_key(events)


# Bounds, shares and waiting


@pytest.mark.parametrize(("max_rows", "max_bytes"), [(1, ALL_BYTES), (7, ALL_BYTES), (ALL_ROWS, 1), (ALL_ROWS, 40)])
def test_reads_keep_within_their_bounds_and_miss_nothing(stream: EventStream, max_rows: int, max_bytes: int) -> None:
    starts = starts_of(stream)
    events = numbered(60)
    stream.append(events)
    found: list[Record] = []
    for piece in pieces(stream, starts, max_rows, max_bytes):
        counts = Counter(record.partition for record in piece)
        sizes = Counter({p: sum(len(record.value) for record in piece if record.partition == p) for p in counts})
        assert len(piece) <= max(max_rows, PARTITIONS)
        assert all(counts[partition] == 1 or sizes[partition] <= max_bytes for partition in counts)
        found += piece
        if len(found) >= len(events):
            break
    assert by_key(events_of(found)) == by_key(events)
    assert_contiguous(found)


def test_a_partition_with_much_to_read_keeps_no_other_waiting(maker: Maker, stream: EventStream) -> None:
    starts = starts_of(stream)
    much = [(a_key_of(maker, 0), b"x" * 300)] * 6_000
    stream.append(much)
    stream.append([(a_key_of(maker, 1), b"x" * 300)] * 1_000)
    first = read_until_all_come(stream, starts, {0, 1})
    read = Counter(record.partition for record in first)
    for piece in pieces(stream, after(starts, first), 500, ALL_BYTES):
        read.update(record.partition for record in piece)
        if read[1] == 1_000:
            break
    assert read[0] <= 4_000


def test_a_read_of_an_empty_stream_ends_in_time(stream: EventStream) -> None:
    starts = starts_of(stream)
    stream.read(starts, ALL_ROWS, ALL_BYTES, 0.2)
    began = time.monotonic()
    assert stream.read(starts, ALL_ROWS, ALL_BYTES, 0.2) == []
    assert time.monotonic() - began < 2


def test_a_reader_that_waits_gets_what_is_appended_meanwhile(maker: Maker, stream: EventStream) -> None:
    starts = starts_of(stream)
    reader = maker.open()
    assert reader.read(starts, ALL_ROWS, ALL_BYTES, 0.1) == []
    appending = threading.Thread(target=stream.append, args=([("ann", b"1")],))
    appending.start()
    assert events_of(read_on(reader, starts, 1)) == [("ann", b"1")]
    appending.join()


# Offsets are ours


def test_what_was_read_before_is_read_again_the_same(maker: Maker, stream: EventStream) -> None:
    starts = starts_of(stream)
    stream.append(numbered(50))
    records = read_on(stream, starts, 50, max_rows=9)
    maker.landed(records)
    for again in (stream, maker.open()):
        for partition in stream.partitions():
            own = [record for record in records if record.partition == partition]
            assert read_on(again, {partition: starts[partition]}, len(own)) == own
            assert read_on(again, {partition: own[3].offset}, len(own) - 3) == own[3:]


def test_reading_goes_on_where_another_process_ended(maker: Maker, stream: EventStream) -> None:
    starts = starts_of(stream)
    events = numbered(40)
    stream.append(events[:20])
    first = read_on(stream, starts, 20)
    maker.landed(first)
    stream.close()
    again = maker.open()
    again.append(events[20:])
    rest = read_on(again, after(starts, first), 20)
    assert by_key(events_of([*first, *rest])) == by_key(events)
    assert_contiguous([*first, *rest])


def test_readers_do_not_disturb_each_other(maker: Maker, stream: EventStream) -> None:
    starts = starts_of(stream)
    stream.append(numbered(30))
    readers = [pieces(one, starts, 5, ALL_BYTES) for one in (stream, maker.open())]
    # In turns, since what one takes must not be gone for the other.
    found: list[list[Record]] = [[], []]
    while min(map(len, found)) < 30:
        for own, reader in zip(found, readers, strict=True):
            if len(own) < 30:
                own += next(reader)
    assert sorted(found[0], key=lambda one: (one.partition, one.offset)) == sorted(
        found[1], key=lambda one: (one.partition, one.offset)
    )


def test_telling_the_broker_how_far_we_are_changes_nothing_that_is_read(maker: Maker, stream: EventStream) -> None:
    starts = starts_of(stream)
    stream.append(numbered(30))
    records = read_on(stream, starts, 30)
    maker.landed(records)
    stream.commit(after(starts, records))
    stream.commit({})
    for again in (stream, maker.open()):
        assert len(read_on(again, starts, 30)) == 30


def test_nothing_unprocessed_leaves_by_retention(maker: Maker, stream: EventStream) -> None:
    starts = starts_of(stream)
    stream.append(numbered(30))
    records = read_on(stream, starts, 30)
    processed = [record for record in records if record.partition == 0][:2]
    maker.landed(records)
    assert stream.retain(after(starts, processed), system_clock() + 1) in (0, 2)
    assert len(read_on(stream, after(starts, processed), 28)) == 28


# Offsets that do not match


def test_processing_can_go_on_at_the_start_in_the_middle_and_at_the_end(maker: Maker, stream: EventStream) -> None:
    starts = starts_of(stream)
    stream.verify({})
    stream.verify(starts)
    stream.append(numbered(30))
    records = read_on(stream, starts, 30)
    maker.landed(records)
    for committed in (starts, after(starts, records[:11]), after(starts, records)):
        stream.verify(committed)


def test_a_start_that_was_never_given_out_is_refused_and_not_waited_for(maker: Maker, stream: EventStream) -> None:
    starts = starts_of(stream)
    stream.append([(a_key_of(maker, 1), b"1")])
    maker.landed(read_on(stream, starts, 1))
    beyond = {1: starts[1] + 7}
    # Where only landing knows of offsets, it is what counts, and not what was committed.
    verified = [lambda: stream.verify(beyond)] if maker.counts else []
    for refused in (*verified, lambda: refusal_of_read(stream, beyond)):
        with pytest.raises(StreamError, match=f"Partition 1 of the event stream .*{starts[1] + 7} is the next to"):
            refused()
    # The refusal does not spoil what comes after it.
    assert len(read_on(stream, starts, 1)) == 1


def test_what_left_the_stream_unread_is_an_error_and_not_a_gap(maker: Maker, stream: EventStream) -> None:
    if not maker.expires:
        pytest.skip("Nothing can be made to leave this stream early.")
    starts = starts_of(stream)
    stream.append([(a_key_of(maker, 1), b"%d" % number) for number in range(5)])
    records = read_on(stream, starts, 5)
    maker.landed(records)
    maker.expire(1, records[3].offset)
    assert stream.earliest(1) == records[3].offset
    for one in (stream, maker.open()):
        for refused in (partial(one.verify, after(starts, records[:2])), partial(refusal_of_read, one, {1: starts[1]})):
            with pytest.raises(StreamError, match=r"Partition 1 of the event stream .*events left the stream"):
                refused()
        assert read_on(one, {1: records[3].offset}, 2) == records[3:]


def refusal_of_read(stream: EventStream, starts: dict[int, int]) -> None:
    """Reads until the stream says no; a broker may say so only once it was asked."""
    for _ in islice(pieces(stream, starts, ALL_ROWS, ALL_BYTES), 1):
        pytest.fail("Something was read from where nothing can be.")


def test_a_stream_that_was_made_anew_has_another_identity(maker: Maker) -> None:
    identity = maker.open().facts().identity
    assert maker.open().facts().identity == identity
    maker.recreate()
    assert maker.open().facts().identity not in ("", identity)


# What it says of itself


def test_lag_is_what_is_not_processed_yet_and_for_how_long(maker: Maker, stream: EventStream) -> None:
    starts = starts_of(stream)
    assert stream.lag(starts).seconds == 0
    began = time.monotonic()
    stream.append(numbered(30))
    records = read_on(stream, starts, 30)
    maker.landed(records)
    some = after(starts, records[:12])
    observer = maker.open()
    for committed, unread in ((starts, 30), (some, 18), (after(starts, records), 0)):
        lag = observer.lag(committed)
        assert lag.events == (unread if maker.counts else None)
        assert (lag.seconds == 0) == (unread == 0)
        assert lag.seconds <= time.monotonic() - began + 1


def test_lag_may_be_asked_of_some_partitions_only(maker: Maker, stream: EventStream) -> None:
    starts = starts_of(stream)
    stream.append(numbered(30))
    records = read_on(stream, starts, 30)
    maker.landed(records)
    read = {record.partition for record in records if record.partition != 0}
    some = after(starts, [record for record in records if record.partition in read])
    assert {record.partition for record in records} == {0, *read}
    assert stream.lag(some, lambda partition: partition in read).seconds == 0
    lag = stream.lag(some, lambda partition: partition == 0)
    assert lag.seconds > 0
    if maker.counts:
        assert lag.events == sum(record.partition == 0 for record in records)


def test_a_stream_says_what_partitions_it_has_and_how_long_it_keeps_events(stream: EventStream) -> None:
    facts = stream.facts()
    assert list(facts.partitions) == list(range(PARTITIONS))
    assert facts.retention_hours is None or facts.retention_hours > 0
    assert facts.identity


def test_a_stream_that_many_make_at_once_is_made_once(maker: Maker) -> None:
    opened: list[EventStream] = []
    in_threads([lambda: opened.append(maker.open())] * 4)
    for number, stream in enumerate(opened):
        stream.append([("ann", b"%d" % number)])
    assert len({stream.facts().identity for stream in opened}) == 1
    assert len(read_on(opened[0], starts_of(opened[0]), 4)) == 4


def test_a_closed_stream_says_so_and_may_be_closed_again(stream: EventStream) -> None:
    starts = starts_of(stream)
    stream.append([("ann", b"1")])
    stream.close()
    stream.close()
    for call in (lambda: stream.append([("ann", b"2")]), lambda: stream.read(starts, 1, 1), lambda: stream.lag(starts)):
        with pytest.raises(StreamError, match="was closed"):
            call()
