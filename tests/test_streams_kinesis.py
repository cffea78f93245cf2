"""Kinesis beyond the contract of all streams: resharding, throttling, retention, credentials."""

import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import count, pairwise
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.clocks import HOUR_MS, MINUTE_MS, NOW_MS, Hand
from support.contract import ALL_BYTES, ALL_ROWS, after, read_on, starts_of
from support.kinesis import KinesisLocal, Ministack, open_kinesis_local, open_ministack, shard_id
from support.kinesis_streams import Landed, PartlyRefused, Passing, Refused, Site, aws_environment
from support.messages import append, track
from support.stack import await_that
from support.warehouse import WarehouseProcess, open_site

from wakeline.clock import system_clock
from wakeline.errors import EventRefusedError, StreamError, StreamFullError, WarehouseError
from wakeline.pipeline.lanes import Lease
from wakeline.pipeline.microbatch import MicroBatches
from wakeline.pipeline.reading import read_ranges
from wakeline.settings import KinesisSettings, Settings, StreamSettings, WarehouseSettings
from wakeline.streams.factory import open_stream
from wakeline.streams.kinesis import KinesisStream
from wakeline.streams.kinesis_client import open_client
from wakeline.streams.kinesis_entries import MAX_CALL_BYTES, MAX_CALL_RECORDS, MAX_RECORD_BYTES, entry, in_calls, key_of
from wakeline.streams.kinesis_look import Look
from wakeline.streams.kinesis_shards import Shard
from wakeline.streams.kinesis_verify import STALLED_MS, require_kept, require_succeeded
from wakeline.streams.protocol import Record

_DENIED = "User: arn is not authorized to perform: kinesis:SomeAction"
THROTTLED = "ProvisionedThroughputExceededException"
WHOLE_RANGE = 1 << 128

Event = tuple[str, bytes]


@pytest.fixture(scope="module", autouse=True)
def environment() -> Iterator[None]:
    with aws_environment():
        yield


@pytest.fixture(scope="module")
def ministack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ministack]:
    with open_ministack(tmp_path_factory.mktemp("ministack")) as server:
        yield server


@pytest.fixture(scope="module")
def kinesis_local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KinesisLocal]:
    with open_kinesis_local(tmp_path_factory.mktemp("kinesis-local")) as server:
        yield server


@pytest.fixture
def site(ministack: Ministack, request: pytest.FixtureRequest) -> Iterator[Site]:
    made = Site(ministack, name_of(request))
    yield made
    made.close()


@pytest.fixture
def changing(kinesis_local: KinesisLocal, request: pytest.FixtureRequest) -> Iterator[Site]:
    """A stream of two shards that can be split and merged."""
    made = Site(kinesis_local, name_of(request), shards=2)
    yield made
    made.close()


def name_of(request: pytest.FixtureRequest) -> str:
    return f"events-{crc32(request.node.name.encode())}"


def numbered(first: int, how_many: int) -> list[Event]:
    return [(f"key {number % 13}", b"%d" % number) for number in range(first, first + how_many)]


def by_key(events: Iterable[Event]) -> dict[str, list[bytes]]:
    found: dict[str, list[bytes]] = defaultdict(list)
    for key, value in events:
        found[key].append(value)
    return dict(found)


def events_of(records: Iterable[Record]) -> list[Event]:
    return [(record.key, record.value) for record in records]


class Lane:
    """What a resident run does of one lane: read on from what landing holds, and land it."""

    def __init__(
        self,
        site: Site,
        landed: Landed,
        number: int = 0,
        lanes: int = 1,
        prepare: Callable[[Any], object] = lambda client: None,
    ) -> None:
        site.landed = landed
        self._passing = Passing()
        self.stream = site.open(self._passing.waiting(), prepare=prepare)
        self._landed = landed
        self._number, self._lanes = number, lanes

    def read(self, rows: int) -> list[Record]:
        own = [partition for partition in self.stream.partitions() if partition % self._lanes == self._number]
        committed = self._landed.committed()
        return self.stream.read({partition: committed.get(partition, 0) for partition in own}, rows, ALL_BYTES, 0.5)

    def pass_second(self) -> None:
        self._passing.now += 1

    def step(self, rows: int = 20) -> list[Record]:
        records = self.read(rows)
        self._landed.add(records)
        return records


# Resharding


def test_a_split_and_a_merge_in_the_middle_of_a_play_lose_and_repeat_nothing(changing: Site) -> None:
    landed, order = Landed(), list[Record]()
    lanes = [Lane(changing, landed, number, lanes=2) for number in (0, 1)]
    events = numbered(0, 150)
    appending = changing.open()
    changes: list[Callable[[], None]] = [lambda: changing.split(0), lambda: changing.merge(2, 3), lambda: None]
    for part, change in enumerate(changes):
        appending.append(events[part * 50 : part * 50 + 25])
        order += lanes[0].step(7) + lanes[1].step(7)
        appending.append(events[part * 50 + 25 : part * 50 + 50])
        change()
    order += read_out(lanes, len(events) - len(order))
    assert by_key(events_of(order)) == by_key(events)
    assert_parents_first(order, {2: {0}, 3: {0}, 4: {2, 3}})
    assert [lane.stream.partitions() for lane in lanes] == [[1, 4], [1, 4]]


def read_out(lanes: list[Lane], wanted: int) -> list[Record]:
    """The rest of a stream, read by all lanes in turns; fails when nothing comes any more."""
    records: list[Record] = []
    idle = 0
    while len(records) < wanted:
        found = [record for lane in lanes for record in lane.step()]
        idle = 0 if found else idle + 1
        assert idle < 40, f"{wanted - len(records)} records never came."
        records += found
    assert [lane.step() for lane in lanes] == [[] for _ in lanes]
    return records


def assert_parents_first(records: list[Record], parents: dict[int, set[int]]) -> None:
    seen = {record.partition for record in records}
    assert set(parents) <= seen, "A shard without records shows nothing."
    last = {record.partition: at for at, record in enumerate(records)}
    first = {record.partition: at for at, record in reversed(list(enumerate(records)))}
    for child, before in parents.items():
        assert all(last[parent] < first[child] for parent in before)


@pytest.fixture(scope="module")
def resharded(kinesis_local: KinesisLocal) -> Iterator[tuple[Site, list[Event]]]:
    """Split, merged and split once more, with events in every shard; nobody has read it."""
    site = Site(kinesis_local, "resharded", shards=2)
    stream = site.open()
    events = numbered(0, 160)
    changes: list[Callable[[], None]] = [
        lambda: site.split(0), lambda: site.merge(2, 3), lambda: site.split(1), lambda: None
    ]  # fmt: skip
    for part, change in enumerate(changes):
        stream.append(events[part * 40 : part * 40 + 40])
        change()
    yield site, events
    site.close()


plans = st.lists(st.tuples(st.integers(1, 40), st.sampled_from(["go on", "crash", "crash before landing"])), max_size=5)


@given(plans)
@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_reader_that_crashes_anywhere_goes_on_without_loss_or_repetition(
    resharded: tuple[Site, list[Event]], plan: list[tuple[int, str]]
) -> None:
    site, events = resharded
    landed, order = Landed(), list[Record]()
    lane = Lane(site, landed)
    for rows, fate in plan:
        records = lane.read(rows)
        if fate != "crash before landing":
            landed.add(records)
            order += records
        if fate != "go on":
            lane.stream.close()
            lane = Lane(site, landed)
    if len(order) < len(events):
        order += read_out([lane], len(events) - len(order))
    assert by_key(events_of(order)) == by_key(events)
    lane.stream.close()


def test_every_reader_gives_a_record_the_same_offset(resharded: tuple[Site, list[Event]]) -> None:
    site, events = resharded
    first, second = Landed(), Landed()
    read_out([Lane(site, first)], len(events))
    read_out([Lane(site, second, number, lanes=2) for number in (0, 1)], len(events))
    assert first.records == second.records
    assert all([one.offset for one in own] == list(range(len(own))) for own in first.records.values())


def test_a_child_waits_until_another_lane_has_landed_all_of_its_parent(changing: Site) -> None:
    landed = Landed()
    changing.open().append(numbered(0, 30))
    changing.split(0)
    changing.open().append(numbered(30, 30))
    parents, others = Lane(changing, landed, 0, lanes=2), Lane(changing, landed, 1, lanes=2)
    assert others.stream.partitions() == [0, 1]
    held_back = parents.read(ALL_ROWS)
    landed.add(held_back[:-1])
    for _ in range(20):
        assert all(record.partition == 1 for record in others.step())
    landed.add(held_back[-1:])
    found = read_out([others, parents], 60 - sum(map(len, landed.records.values())))
    assert {2, 3} <= {record.partition for record in found}


def test_a_parent_with_a_long_quiet_end_lets_its_children_begin(changing: Site) -> None:
    changing.open().append(numbered(0, 30))
    landed = Landed()
    read_out([Lane(changing, landed)], 30)
    changing.split(0)
    quiet = Quiet(pages=35)
    observer = Lane(changing, landed, prepare=quiet.hook)
    passing_looks = 0
    while observer.stream.partitions() != [1, 2, 3]:
        observer.pass_second()
        passing_looks += 1
        assert passing_looks < 10
    assert quiet.left == 0


class Quiet:
    """A shard's end is so many empty pages away, as where nothing was appended for hours before it was closed."""

    def __init__(self, pages: int) -> None:
        self.left = pages

    def hook(self, client: Any) -> None:
        client.meta.events.register("provide-client-params.kinesis.GetRecords", self._remember)
        client.meta.events.register("after-call.kinesis.GetRecords", self._stretch)

    def _remember(self, params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
        context["iterator"] = params["ShardIterator"]

    def _stretch(self, parsed: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
        if "NextShardIterator" not in parsed and self.left:
            self.left -= 1
            parsed["NextShardIterator"] = context["iterator"]
            parsed["MillisBehindLatest"] = 1_000


def test_an_empty_shard_that_was_split_holds_up_nobody(changing: Site) -> None:
    lane = Lane(changing, Landed())
    assert lane.stream.partitions() == [0, 1]
    changing.split(0)
    changing.open().append(numbered(0, 30))
    assert len(read_out([lane], 30)) == 30
    assert lane.stream.partitions() == [1, 2, 3]


# Appending


def test_only_what_was_refused_is_appended_again(site: Site) -> None:
    passing, refusing = Passing(), PartlyRefused(nth=3, times=2)
    stream = site.open(passing.waiting(), prepare=refusing.hook)
    starts = starts_of(stream)
    events = numbered(0, 9)
    stream.append(events)
    assert refusing.sizes == [9, 3, 1]
    assert passing.slept == [0.1, 0.2]
    assert sorted(events_of(read_on(stream, starts, 9))) == sorted(events)


@pytest.mark.parametrize("code", [THROTTLED, "LimitExceededException", "InternalFailure", "KMSThrottlingException"])
def test_an_append_that_was_refused_for_a_while_is_made_in_the_end(site: Site, code: str) -> None:
    passing, refusing = Passing(), Refused("PutRecords", 3, code)
    stream = site.open(passing.waiting(), prepare=refusing.hook)
    stream.append([("ann", b"1")])
    assert refusing.seen == 4
    assert passing.slept == [0.1, 0.2, 0.4]
    assert events_of(read_on(stream, starts_of(stream), 1)) == [("ann", b"1")]


def test_an_append_that_is_refused_for_too_long_asks_to_come_again(site: Site) -> None:
    site.settings = site.settings.model_copy(update={"append_seconds": 7.0})
    passing, refusing = Passing(), Refused("PutRecords", 1_000, THROTTLED)
    stream = site.open(passing.waiting(), prepare=refusing.hook)
    with pytest.raises(StreamFullError, match=r"for 7 seconds: .*add shards .*Rate exceeded") as raised:
        stream.append([("ann", b"1")])
    assert raised.value.retry_after_seconds == 1
    assert 7 <= passing.now < 9.1


def test_events_that_are_refused_one_by_one_for_too_long_ask_to_come_again(site: Site) -> None:
    passing, refusing = Passing(), PartlyRefused(nth=2, times=1_000)
    stream = site.open(passing.waiting(), prepare=refusing.hook)
    with pytest.raises(StreamFullError, match=r"for 10 seconds: Kinesis takes no more .*add shards .*Rate exceeded"):
        stream.append(numbered(0, 3))
    assert refusing.sizes[:2] == [3, 2]
    assert set(refusing.sizes[2:]) == {1}


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("UnrecognizedClientException", "AWS does not know the credentials for .*correct AWS_ACCESS_KEY_ID"),
        ("InvalidSignatureException", "AWS does not know the credentials for .*correct AWS_ACCESS_KEY_ID"),
        ("ExpiredTokenException", "have expired; renew"),
        ("AccessDeniedException", r"AWS does not allow this on .*docs/kinesis\.md"),
        ("ResourceNotFoundException", r"does not exist; correct stream\.kinesis\.stream"),
        ("KMSDisabledException", "Kinesis refuses a call"),
    ],
)
@pytest.mark.parametrize("operation", ["PutRecords", "GetRecords"])
def test_what_does_not_pass_by_itself_is_told_at_once(site: Site, operation: str, code: str, sentence: str) -> None:
    passing, refusing = Passing(), Refused(operation, 1_000, code, "said by AWS")
    stream = site.open(passing.waiting(), prepare=refusing.hook)
    with pytest.raises(StreamError, match=sentence) as raised:
        use(stream)
    assert not isinstance(raised.value, StreamFullError)
    assert f"'{site.settings.stream}'" in str(raised.value)
    assert "said by AWS" in str(raised.value)
    assert (refusing.seen, passing.slept) == (1, [])


def use(stream: KinesisStream) -> None:
    stream.append([("ann", b"1")])
    stream.read({0: 0}, 1, 1, 5)
    stream.facts()


@pytest.mark.parametrize("operation", ["DescribeStreamSummary", "ListShards", "GetShardIterator"])
def test_an_action_that_is_not_allowed_is_told_whatever_it_is(site: Site, operation: str) -> None:
    with pytest.raises(StreamError, match=r"not authorized to perform: kinesis:SomeAction") as raised:
        use(site.open(prepare=Refused(operation, 1_000, "AccessDeniedException", _DENIED).hook))
    assert "the actions in docs/kinesis.md" in str(raised.value)


def test_an_event_that_kinesis_would_refuse_is_named_before_any_is_appended(site: Site) -> None:
    stream = site.open()
    largest = b"x" * (MAX_RECORD_BYTES - len("ann"))
    with pytest.raises(EventRefusedError, match=r"An event of 1048577 bytes .*1048576.*collector\.max_event_bytes"):
        stream.append([("bob", b"1"), ("ann", largest + b"x")])
    stream.append([("ann", largest)])
    assert [len(record.value) for record in read_on(stream, starts_of(stream), 1)] == [len(largest)]


@given(
    st.lists(st.tuples(st.text(max_size=3), st.integers(0, MAX_RECORD_BYTES - 20)), max_size=40), st.integers(0, 1_200)
)
@settings(max_examples=50, deadline=None)
def test_calls_keep_within_the_limits_and_hold_all_events_in_order(sizes: list[tuple[str, int]], small: int) -> None:
    body = bytes(MAX_RECORD_BYTES)
    events = [*((key, body[:size]) for key, size in sizes), *[("small", b"x")] * small]
    calls = list(in_calls(events))
    assert [(key_of(one["PartitionKey"]), one["Data"]) for call in calls for one in call] == events
    for call in calls:
        assert len(call) <= MAX_CALL_RECORDS
        assert bytes_of(call) <= MAX_CALL_BYTES
    for call, following in pairwise(calls):
        assert len(call) == MAX_CALL_RECORDS or bytes_of([*call, following[0]]) > MAX_CALL_BYTES


def bytes_of(call: Iterable[Any]) -> int:
    return sum(len(one["Data"]) + len(one["PartitionKey"].encode()) for one in call)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=128))
def test_every_key_comes_back_as_it_was(key: str) -> None:
    made = entry(key, b"value")
    assert 1 <= len(made["PartitionKey"]) <= 256
    assert key_of(made["PartitionKey"]) == key


def test_events_without_a_key_are_spread_and_the_same_event_goes_the_same_way() -> None:
    quarters = Counter(int(entry("", b"%d" % number)["ExplicitHashKey"]) * 4 // WHOLE_RANGE for number in range(400))
    assert set(quarters) == {0, 1, 2, 3}
    assert min(quarters.values()) > 60
    assert entry("", b"7") == entry("", b"7")


def test_a_key_that_is_too_long_for_kinesis_is_cut_and_its_events_stay_together() -> None:
    one, other = entry("k" * 300 + "a", b"1"), entry("k" * 300 + "b", b"1")
    assert one["PartitionKey"] == "k" * 128
    assert one["ExplicitHashKey"] != other["ExplicitHashKey"]
    assert one["ExplicitHashKey"] == entry("k" * 300 + "a", b"2")["ExplicitHashKey"]
    assert 0 <= int(one["ExplicitHashKey"]) < WHOLE_RANGE


@pytest.mark.parametrize("key", ["", "-", "-ann", "\U0001f600" * 200])
def test_kinesis_takes_keys_of_every_kind(site: Site, key: str) -> None:
    stream = site.open()
    stream.append([(key, b"1")])
    [record] = read_on(stream, starts_of(stream), 1)
    assert record.key == key[:128]


# Reading


def test_reads_that_are_refused_for_a_while_go_on_where_they_were(site: Site) -> None:
    passing, refusing = Passing(), Refused("GetRecords", 3, THROTTLED)
    stream = site.open(passing.waiting(), prepare=refusing.hook)
    stream.append(numbered(0, 5))
    assert events_of(stream.read({0: 0}, ALL_ROWS, ALL_BYTES, 5)) == numbered(0, 5)
    assert refusing.seen == 4
    # The pause between two reads, and more after each refusal.
    assert passing.slept == pytest.approx([0.3, 0.4, 0.6])


def test_reads_that_are_refused_for_too_long_say_why(site: Site) -> None:
    refusing = Refused("GetRecords", 1_000, THROTTLED)
    stream = site.open(Passing().waiting(), prepare=refusing.hook)
    with pytest.raises(StreamError, match=r"asked for more than .* allows; add shards or take other readers away"):
        stream.read({0: 0}, 1, 1, 60)
    refusing.left = 0
    assert stream.read({0: 0}, 1, 1, 1) == []


def test_an_expired_iterator_is_renewed_where_it_stood(site: Site) -> None:
    refusing = Refused("GetRecords", 0, "ExpiredIteratorException", "Iterator expired")
    stream = site.open(prepare=refusing.hook)
    stream.append(numbered(0, 5))
    assert len(read_on(stream, {0: 0}, 5)) == 5
    refusing.left = 1
    stream.append(numbered(5, 5))
    assert events_of(read_on(stream, {0: 5}, 5)) == numbered(5, 5)
    assert refusing.left == 0


def test_a_begun_batch_is_read_again_however_many_empty_pages_lie_before_it(site: Site) -> None:
    passing, empty = Passing(), EmptyPages(200)
    stream = site.open(passing.waiting(), prepare=empty.hook)
    stream.append(numbered(0, 5))
    assert events_of(read_ranges(stream, {0: (0, 3)})) == numbered(0, 3)
    assert empty.left == 0


class EmptyPages:
    """The first `times` pages bring nothing and lead no further, as on the way to an event that lies far off."""

    def __init__(self, times: int) -> None:
        self.left = times

    def hook(self, client: Any) -> None:
        client.meta.events.register("provide-client-params.kinesis.GetRecords", self._note)
        client.meta.events.register("after-call.kinesis.GetRecords", self._empty)

    def _note(self, params: dict[str, Any], **_: Any) -> None:
        self._iterator = params["ShardIterator"]

    def _empty(self, parsed: dict[str, Any], **_: Any) -> None:
        if self.left > 0:
            self.left -= 1
            parsed |= {"Records": [], "NextShardIterator": self._iterator, "MillisBehindLatest": HOUR_MS}


def test_a_shard_is_asked_no_more_often_than_the_settings_say(site: Site) -> None:
    passing, counting = Passing(), Refused("GetRecords", 0, "")
    stream = site.open(passing.waiting(), prepare=counting.hook)
    for _ in range(10):
        stream.read({0: 0}, 1, 1, 0.1)
    assert 4 <= counting.seen <= 1 + passing.now / site.settings.read_seconds


def test_what_was_read_too_much_is_kept_and_not_asked_for_again(site: Site) -> None:
    passing, counting = Passing(), Refused("GetRecords", 0, "")
    stream = site.open(passing.waiting(), prepare=counting.hook)
    stream.append(numbered(0, 50))
    for start in range(50):
        assert [record.offset for record in stream.read({0: start}, 1, ALL_BYTES, 5)] == [start]
        passing.now += 1
    assert counting.seen == 1


def test_a_closed_shard_is_not_asked_again_after_its_end(changing: Site) -> None:
    counting = Refused("GetRecords", 0, "")
    stream = changing.open(Passing().waiting(), prepare=counting.hook)
    stream.append(numbered(0, 30))
    changing.split(0)
    records = read_on(stream, {0: 0}, 1)
    asked = counting.seen
    assert stream.read({0: records[-1].offset + 1}, 1, 1, 5) == []
    assert counting.seen == asked == 1


def test_a_shard_that_does_not_answer_holds_up_no_other(ministack: Ministack, request: pytest.FixtureRequest) -> None:
    site = Site(ministack, name_of(request), shards=2)
    stalled, answering = threading.Event(), threading.Event()
    numbers = count()

    def stall(**_: Any) -> None:
        if next(numbers) == 0:
            stalled.set()
            assert answering.wait(20)

    stream = site.open(prepare=lambda client: client.meta.events.register("before-send.kinesis.GetRecords", stall))
    stream.append(numbered(0, 26))
    found = stream.read({0: 0, 1: 0}, ALL_ROWS, ALL_BYTES, 5)
    assert stalled.is_set()
    assert len({record.partition for record in found}) == 1
    answering.set()
    starts = after({0: 0, 1: 0}, found)
    assert len(found) + len(read_on(stream, starts, 26 - len(found))) == 26
    site.close()


def test_a_reader_that_another_one_overtook_goes_on_from_what_landing_holds(site: Site) -> None:
    one, other = site.open(), site.open()
    one.append(numbered(0, 10))
    assert len(read_on(one, {0: 0}, 10, max_rows=3)) >= 10
    site.landed.add(read_on(other, {0: 0}, 10))
    one.append(numbered(10, 5))
    site.landed.add(read_on(other, {0: 10}, 5))
    assert events_of(read_on(one, {0: 12}, 3)) == numbered(12, 3)
    assert events_of(read_on(one, {0: 4}, 11)) == numbered(4, 11)


@pytest.mark.parametrize("start", [-1, 3])
def test_nothing_is_read_from_where_landing_knows_of_nothing(site: Site, start: int) -> None:
    stream = site.open()
    stream.append(numbered(0, 5))
    with pytest.raises(StreamError, match=f"Partition 0 of .* cannot be read on: {start} is the next .*stream.name"):
        stream.read({0: start}, 1, 1, 1)


def test_a_partition_that_does_not_exist_is_named(site: Site) -> None:
    stream = site.open()
    for call in (lambda: stream.read({9: 0}, 1, 1), lambda: stream.earliest(9)):
        with pytest.raises(StreamError, match="has no partition 9"):
            call()


# Retention

RETENTION_MS = 24 * HOUR_MS
KEPT = Look(held=True, unread_at_ms=NOW_MS - 20 * HOUR_MS, behind_ms=0, ended=False)


@pytest.mark.parametrize(
    "look",
    [
        KEPT,
        replace(KEPT, held=False, unread_at_ms=None),
        replace(KEPT, held=False, unread_at_ms=NOW_MS - STALLED_MS),
        replace(KEPT, held=False, unread_at_ms=NOW_MS + MINUTE_MS),
    ],
    ids=["the last one is kept", "nothing is unread", "the next one is young", "the next one's clock is ahead"],
)
def test_processing_goes_on_where_nothing_can_have_expired_or_reading_was_alive(look: Look) -> None:
    for last_read_ms in (None, NOW_MS, NOW_MS - RETENTION_MS + STALLED_MS):
        require_kept("events", 3, look, NOW_MS, RETENTION_MS, last_read_ms)
    require_kept("events", 3, KEPT, NOW_MS, RETENTION_MS, NOW_MS - 2 * RETENTION_MS)


@pytest.mark.parametrize("unread_at_ms", [None, NOW_MS])
def test_a_standstill_as_long_as_the_retention_tells_of_lost_ones_whatever_came_since(unread_at_ms: int | None) -> None:
    look = replace(KEPT, held=False, unread_at_ms=unread_at_ms)
    with pytest.raises(StreamError, match=r"partition 3 no longer .* read the stream for 23\.5 hours of the 24 that"):
        require_kept("events", 3, look, NOW_MS, RETENTION_MS, NOW_MS - RETENTION_MS + STALLED_MS // 2)


def test_what_waited_behind_an_expired_event_tells_of_lost_ones() -> None:
    look = replace(KEPT, held=False, unread_at_ms=NOW_MS - 20 * HOUR_MS)
    with pytest.raises(StreamError, match=r"'events' unprocessed: partition 3 .* 20\.0 hours\. Restore .*stream\.name"):
        require_kept("events", 3, look, NOW_MS, RETENTION_MS, NOW_MS)
    with pytest.raises(StreamError):
        require_kept("events", 3, replace(look, unread_at_ms=NOW_MS - STALLED_MS - 1), NOW_MS, RETENTION_MS, NOW_MS)


LINE = {
    1: Shard(1, "1", (), closed=False),
    2: Shard(2, "2", (0,), closed=True),
    3: Shard(3, "3", (0,), closed=False),
    4: Shard(4, "4", (2,), closed=False),
}


@pytest.mark.parametrize(
    ("partition", "committed", "read"),
    [
        (0, {0, 3}, True),
        (0, {0, 1, 4}, False),
        (2, {2, 4}, True),
        (2, {2, 3}, False),
        (9, {9, 11}, True),
        (9, {8, 9}, False),
    ],
)
def test_a_shard_that_is_gone_was_read_to_its_end_if_one_after_it_was_begun(
    partition: int, committed: set[int], read: bool
) -> None:
    if read:
        require_succeeded("events", partition, LINE, committed)
        return
    with pytest.raises(StreamError, match=f"partition {partition} was closed and expired before it was read"):
        require_succeeded("events", partition, LINE, committed)


class Expired:
    """Records that are no longer given out, as if they were older than the stream keeps them."""

    def __init__(self) -> None:
        self.values: set[bytes] = set()
        self.shards: set[str] = set()

    def hook(self, client: Any) -> None:
        client.meta.events.register("after-call.kinesis.GetRecords", self._drop_records)
        client.meta.events.register("after-call.kinesis.ListShards", self._drop_shards)

    def _drop_records(self, parsed: dict[str, Any], **_: Any) -> None:
        parsed["Records"] = [one for one in parsed.get("Records", []) if one["Data"] not in self.values]

    def _drop_shards(self, parsed: dict[str, Any], **_: Any) -> None:
        parsed["Shards"] = [one for one in parsed["Shards"] if one["ShardId"] not in self.shards]


def test_events_that_expired_unprocessed_stop_processing(site: Site) -> None:
    clock, expired = Hand(system_clock()), Expired()
    stream = site.open(clock=clock, prepare=expired.hook)
    stream.append(numbered(0, 5))
    site.landed.add(read_on(stream, {0: 0}, 5)[:2])
    expired.values = {b"0"}
    clock.now_ms += 2 * HOUR_MS
    stream.verify({0: 2})
    expired.values = {b"0", b"1"}
    with pytest.raises(StreamError, match=r"partition 0 no longer holds the last processed event.* 2\.0 hours"):
        stream.verify({0: 2})
    clock.now_ms -= HOUR_MS + MINUTE_MS
    stream.verify({0: 2}, clock())
    with pytest.raises(StreamError, match=r"nobody has read the stream for 25\.0 hours of the 24 that it keeps"):
        stream.verify({0: 2}, clock() - 25 * HOUR_MS)


def test_what_landing_holds_is_what_must_go_on_whatever_was_committed(site: Site) -> None:
    expired = Expired()
    stream = site.open(prepare=expired.hook)
    stream.append(numbered(0, 5))
    site.landed.add(read_on(stream, {0: 0}, 5)[:3])
    expired.values = {b"0", b"1"}
    # Landing is ahead: a restore went on where the lanes had been, or a run ended before it committed.
    stream.verify({0: 1}, 0)
    # Landing is behind: it came from a backup, and the rest is read again.
    stream.verify({0: 5}, 0)
    site.landed.records.clear()
    with pytest.raises(StreamError, match="landing does not hold the event before it"):
        stream.verify({0: 5}, 0)


def test_a_shard_that_left_the_list_must_have_been_read(changing: Site) -> None:
    landed, expired = Landed(), Expired()
    changing.open().append(numbered(0, 30))
    changing.split(0)
    changing.open().append(numbered(30, 30))
    read_out([Lane(changing, landed)], 60)
    committed = landed.committed()
    expired.shards = {shard_id(0)}
    observer = changing.open(prepare=expired.hook)
    observer.verify(committed)
    del landed.records[2], landed.records[3]
    with pytest.raises(StreamError, match="the shard of partition 0 was closed and expired"):
        observer.verify(landed.committed())


def test_a_closed_shard_whose_events_are_all_gone_must_have_been_read(changing: Site) -> None:
    landed, expired = Landed(), Expired()
    changing.open().append(numbered(0, 30))
    lane = Lane(changing, landed)
    read_out([lane], 30)
    changing.split(0)
    observer = changing.open(prepare=expired.hook)
    observer.verify(landed.committed())
    expired.values = {b"%d" % number for number in range(30)}
    with pytest.raises(StreamError, match="the shard of partition 0 was closed and expired"):
        observer.verify(landed.committed())
    observer.verify({**landed.committed(), 2: 0})


# Lag and facts


def test_lag_is_the_age_of_the_oldest_unread_event_of_all_shards(changing: Site) -> None:
    clock = Hand(system_clock())
    stream = changing.open(Passing().waiting(), clock)
    assert (stream.lag({}).events, stream.lag({}).seconds) == (None, 0)
    stream.append(numbered(0, 26))
    observer = changing.open(Passing().waiting(), clock)
    records = read_on(stream, {0: 0, 1: 0}, 26)
    changing.landed.add(records)
    clock.now_ms = max(record.appended_at_ms for record in records) + 5_000
    assert 5 <= observer.lag({}).seconds < 8
    assert observer.lag(after({}, records)).seconds == 0
    assert 5 <= observer.lag(after({}, [one for one in records if one.partition == 1])).seconds < 8


def test_an_unread_event_of_a_clock_that_is_ahead_still_counts() -> None:
    assert replace(KEPT, unread_at_ms=NOW_MS + MINUTE_MS).seconds(NOW_MS) == 0.001
    assert Look(held=True, unread_at_ms=None, behind_ms=1_500, ended=False).seconds(NOW_MS) == 1.5


def test_lag_asks_no_more_than_once_a_second(site: Site) -> None:
    passing, counting = Passing(), Refused("GetRecords", 0, "")
    stream = site.open(passing.waiting(), prepare=counting.hook)
    for _ in range(5):
        stream.lag({0: 0})
    assert counting.seen == 1
    passing.now += 1
    stream.lag({0: 0})
    assert counting.seen == 2


def test_a_stream_tells_its_open_shards_and_how_long_it_keeps_events(changing: Site) -> None:
    stream = changing.open(Passing().waiting())
    before = stream.facts()
    changing.split(0)
    with changing.client() as client:
        client.increase_stream_retention_period(StreamName=changing.settings.stream, RetentionPeriodHours=48)
    again = changing.open()
    assert (before.partitions, before.retention_hours) == ((0, 1), 24)
    assert (again.facts().partitions, again.facts().retention_hours) == ((1, 2, 3), 48)
    assert again.facts().identity == before.identity
    assert f":stream/{changing.settings.stream} of 20" in before.identity


# Opening


def test_a_wrong_address_is_named_and_an_append_may_be_tried_again(ministack: Ministack) -> None:
    site = Site(ministack)
    site.settings = site.settings.model_copy(update={"endpoint_url": "http://127.0.0.1:1"})
    stream = site.open(Passing().waiting())
    said = r"Kinesis does not answer for .*'wakeline-events'; correct stream\.kinesis\.endpoint_url .*127\.0\.0\.1:1"
    # All of them may be tried again: the spool waits for that.
    for call in (stream.facts, lambda: stream.append([("ann", b"1")]), stream.partitions):
        with pytest.raises(StreamFullError, match=said):
            call()
    site.close()


@pytest.mark.parametrize("address", ["nonsense", "http://"])
def test_an_address_that_is_none_is_refused_at_once(address: str) -> None:
    with pytest.raises(StreamError, match=r"stream\.kinesis\.endpoint_url is no address"):
        open_client(KinesisSettings(region="us-east-1", endpoint_url=address))


def test_missing_credentials_and_a_missing_region_are_told(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(StreamError, match=r"There are no AWS credentials for .*set AWS_ACCESS_KEY_ID"):
        site.open().facts()
    with pytest.raises(StreamError, match="There are no AWS credentials"):
        site.open().append([("ann", b"1")])
    site.settings = site.settings.model_copy(update={"role_arn": "arn:aws:iam::000000000000:role/wakeline"})
    with pytest.raises(StreamError, match="There are no AWS credentials"):
        site.open().facts()
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    with pytest.raises(StreamError, match=r"There is no AWS region .*stream\.kinesis\.region"):
        open_client(KinesisSettings())


def test_a_stream_that_was_deleted_takes_no_events_in_silence(site: Site) -> None:
    stream = site.open()
    stream.append([("ann", b"1")])
    with site.client() as client:
        client.delete_stream(StreamName=site.settings.stream)
    with pytest.raises(StreamError, match="does not exist"):
        stream.append([("ann", b"2")])


def test_a_role_is_assumed_and_its_credentials_are_the_ones_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Ministack(tmp_path, "kinesis,sts")
    server.start()
    try:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", server.endpoint_url)
        site = Site(server, role_arn="arn:aws:iam::000000000000:role/wakeline")
        signed: list[str] = []
        stream = site.open(
            prepare=lambda client: client.meta.events.register(
                "before-send.kinesis.PutRecords", lambda request, **_: signed.append(str(request.headers))
            )
        )
        stream.append([("ann", b"1")])
        assert "X-Amz-Security-Token" in signed[0]
        assert "Credential=test/" not in signed[0]
        site.close()
    finally:
        server.kill()


def test_the_settings_stream_is_kinesis_and_needs_no_warehouse_to_append(
    ministack: Ministack, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    kinesis = KinesisSettings(stream=name_of(request), endpoint_url=ministack.endpoint_url)
    configured = Settings(
        data_dir=tmp_path,
        stream=StreamSettings(kind="kinesis", name="shop", partitions=2, kinesis=kinesis),
        warehouse=WarehouseSettings(port=1),
    )
    stream = open_stream(configured, system_clock)
    stream.append([("ann", b"1")])
    assert (stream.name, stream.partitions(), stream.facts().partitions) == ("shop", [0, 1], (0, 1))
    assert stream.lag({}).seconds > 0
    with pytest.raises(WarehouseError, match="ClickHouse does not answer"):
        stream.verify({0: 1})
    stream.close()


@pytest.mark.stack
def test_runs_go_on_behind_what_the_real_landing_table_holds(
    warehouse: WarehouseProcess, ministack: Ministack, tmp_path: Path, request: pytest.FixtureRequest, clock: Hand
) -> None:
    kinesis = KinesisSettings(stream=name_of(request), endpoint_url=ministack.endpoint_url, read_seconds=0.2)
    with open_site(warehouse.settings, tmp_path / "site", clock) as plain:
        deployed = plain.with_settings(stream={"kind": "kinesis", "partitions": 2, "kinesis": kinesis})
        for run in range(3):
            with deployed.micro_batches() as batches:
                append(batches.stream, [track(f"Run {run}", f"{run}-{n}", device=f"d{n}") for n in range(20)], clock())
                lease = deployed.hold(batches, f"run-{run}")
                batches.recover(lease)
                await_landed(batches, lease, 20)
                batches.lanes.release(lease)
        counted = deployed.rows(
            "SELECT count(), uniq(message_id), uniq(position), sum(status = 'accepted') FROM landing"
        )
        assert counted == [(60, 60, 60, 60)]
        # Another process, with nothing but the settings.
        observer = open_stream(deployed.settings, clock)
        committed = deployed.book.lanes.committed()
        assert sum(committed.values()) == 60
        observer.verify(committed)
        assert observer.lag(committed).seconds == 0
        assert observer.lag({**committed, 0: committed[0] - 1}).seconds > 0
        observer.close()


def await_landed(batches: MicroBatches, lease: Lease, wanted: int) -> None:
    landed = 0

    def are_there() -> bool:
        nonlocal landed
        result = batches.step(lease)
        landed += len(result.rows) if result else 0
        return landed == wanted

    await_that("the events of the run are landed", are_there, 20)


def test_a_stream_is_made_with_the_shards_of_the_settings_and_awaited(kinesis_local: KinesisLocal) -> None:
    site = Site(kinesis_local, "made-by-us", shards=3)
    site.open().append(numbered(0, 5))
    with site.client() as client:
        shards = client.list_shards(StreamName="made-by-us")["Shards"]
    assert len(shards) == 3
    site.close()
