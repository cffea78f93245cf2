"""What is special about Kafka, on a real broker; what all streams have in common is in test_streams_contract.py."""

import logging
import re
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, Producer
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)
from support.contract import ALL_BYTES, ALL_ROWS, after, pieces, read_on, starts_of
from support.kafka import USER, KafkaBroker
from support.kafka_streams import KafkaMaker
from support.ports import free_ports
from support.stack import await_that

from wakeline.clock import system_clock
from wakeline.errors import EventRefusedError, StreamError, StreamFullError
from wakeline.settings import KafkaSettings, Settings, StreamSettings
from wakeline.streams import kafka_topic
from wakeline.streams.factory import open_stream
from wakeline.streams.kafka import KafkaStream
from wakeline.streams.kafka_appending import Appending
from wakeline.streams.protocol import Lag, Record, partition_of

PATIENCE_SECONDS = 20
SOON_SECONDS = 5


@pytest.fixture
def maker(kafka: KafkaBroker) -> Iterator[KafkaMaker]:
    opened = KafkaMaker(kafka)
    yield opened
    opened.close()


@pytest.fixture
def stream(maker: KafkaMaker) -> KafkaStream:
    """Its topic is there."""
    opened = maker.open()
    opened.facts()
    return opened


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """The topic is looked at all the time and not every few seconds."""
    monkeypatch.setattr(kafka_topic, "LOOK_SECONDS", 0.05)


@contextmanager
def forbidden(
    broker: KafkaBroker, operation: AclOperation, name: str, kind: ResourceType = ResourceType.TOPIC
) -> Iterator[None]:
    """The user of the secured listener may do everything with it but this."""
    refused = AclPermissionType.DENY
    rules = [
        rule(kind, name, AclOperation.ALL, AclPermissionType.ALLOW),
        rule(kind, name, operation, refused),
    ]
    for future in broker.admin.create_acls(rules).values():
        future.result(PATIENCE_SECONDS)
    try:
        yield
    finally:
        every = AclBindingFilter(
            kind, name, ResourcePatternType.LITERAL, None, None, AclOperation.ANY, AclPermissionType.ANY
        )
        for future in broker.admin.delete_acls([every]).values():
            future.result(PATIENCE_SECONDS)


def rule(kind: ResourceType, name: str, operation: AclOperation, permission: AclPermissionType) -> AclBinding:
    return AclBinding(kind, name, ResourcePatternType.LITERAL, f"User:{USER}", "*", operation, permission)


def raised_by(call: Callable[[], object], seconds: float = PATIENCE_SECONDS) -> StreamError:
    """What a call raises that is made again and again, as lanes do."""
    found: list[StreamError] = []

    def fails() -> bool:
        try:
            call()
        except StreamError as error:
            found.append(error)
        return bool(found)

    await_that("the stream says what is wrong", fails, seconds)
    return found[0]


def append_in_the_end(stream: KafkaStream, events: Sequence[tuple[str, bytes]]) -> None:
    """A broker that has just started may need longer for the first append than a test waits elsewhere."""

    def is_taken() -> bool:
        with suppress(StreamFullError):
            stream.append(events)
            return True
        return False

    await_that("an append is taken", is_taken, PATIENCE_SECONDS)


def values_of(records: list[Record]) -> list[bytes]:
    return [record.value for record in records]


# Brokers that come and go


class Appender(threading.Thread):
    """Appends numbers, a few of each of three keys at a time; what fails is appended again until it is not."""

    def __init__(self, stream: KafkaStream) -> None:
        super().__init__()
        self.acknowledged = 0
        self.failures: list[StreamError] = []
        self._stream = stream
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.is_set():
            events = [(f"key {number % 3}", b"%d" % (self.acknowledged + number)) for number in range(30)]
            try:
                self._stream.append(events)
            except StreamFullError as error:
                self.failures.append(error)
            else:
                self.acknowledged += len(events)

    def end(self) -> int:
        """How many were acknowledged."""
        self._ended.set()
        self.join()
        return self.acknowledged


def test_a_broker_killed_and_restarted_loses_nothing_that_was_acknowledged_and_no_order(
    kafka: KafkaBroker, caplog: pytest.LogCaptureFixture
) -> None:
    maker = KafkaMaker(kafka, 2)
    writer, reader = maker.open(append_seconds=2), maker.open()
    position = starts_of(reader)
    appender = Appender(writer)
    appender.start()
    found: list[Record] = []

    def read() -> None:
        nonlocal position
        more = reader.read(position, 500, ALL_BYTES, 0.02)
        found.extend(more)
        position = after(position, more)

    def has_read(count: int) -> bool:
        read()
        return len(found) >= count

    await_that("some are read", lambda: has_read(1_000), PATIENCE_SECONDS)
    kafka.kill()
    for _ in range(20):
        read()  # Nothing answers, and nothing is raised.
    kafka.start()
    before = appender.acknowledged
    await_that("appends go on", lambda: has_read(0) and appender.acknowledged > before + 1_000, PATIENCE_SECONDS)
    acknowledged = appender.end()
    await_that("all are read", lambda: has_read(acknowledged) and reader.lag(position).events == 0, PATIENCE_SECONDS)
    assert_complete_and_in_order(found, acknowledged)
    # Readers only wait, so that somebody must say why.
    assert re.search(r"Kafka at .* (keeps no connection; see whether it runs|cannot be reached; start it)", caplog.text)
    maker.close()


def assert_complete_and_in_order(records: list[Record], acknowledged: int) -> None:
    """An append that failed may be there in part and again: what counts is the first time."""
    seen: dict[str, list[int]] = defaultdict(list)
    for record in records:
        number = int(record.value)
        if number not in seen[record.key][-200:]:
            seen[record.key].append(number)
    assert len({number for own in seen.values() for number in own}) >= acknowledged
    for key, own in seen.items():
        assert own == list(range(int(key.split()[1]), own[-1] + 1, 3))


def test_a_broker_that_stands_still_fails_appends_in_time_and_reads_wait_for_it(
    kafka: KafkaBroker, maker: KafkaMaker
) -> None:
    writer, reader = maker.open(append_seconds=1), maker.open()
    starts = starts_of(reader)
    append_in_the_end(writer, [("ann", b"before")])
    records = read_on(reader, starts, 1)
    third = maker.open()
    assert len(read_on(third, starts, 1)) == third.lag(starts).events
    with kafka.suspended():
        began = time.monotonic()
        with pytest.raises(StreamFullError, match="does not answer; see whether all its brokers run") as full:
            writer.append([("ann", b"meanwhile")])
        assert full.value.retry_after_seconds > 0
        assert time.monotonic() - began < SOON_SECONDS
        began = time.monotonic()
        assert reader.read(after(starts, records), ALL_ROWS, ALL_BYTES, 0.2) == []
        assert time.monotonic() - began < 1
        with pytest.raises(StreamFullError, match="does not answer"):
            reader.facts()
        began = time.monotonic()
        third.close()
        assert time.monotonic() - began < SOON_SECONDS
    writer.append([("ann", b"afterwards")])
    await_that("appends are read", lambda: read_on(reader, starts, 2)[-1].value == b"afterwards", PATIENCE_SECONDS)
    # What timed out may have been written all the same.
    values = values_of(read_on(reader, starts, 2))
    assert [value for value in dict.fromkeys(values) if value != b"meanwhile"] == [b"before", b"afterwards"]


def test_a_queue_that_is_full_is_waited_for_and_then_an_error(
    kafka: KafkaBroker, maker: KafkaMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Appending._config
    monkeypatch.setattr(Appending, "_config", lambda self: config(self) | {"queue.buffering.max.messages": 10})
    stream = maker.open(append_seconds=1)
    starts = starts_of(stream)
    events = [("ann", b"%d" % number) for number in range(1_000)]
    append_in_the_end(stream, [("ann", b"first")])
    stream.append(events)
    assert values_of(read_on(stream, starts, 1_001))[-1_000:] == [value for _, value in events]
    with kafka.suspended():
        refused = raised_by(lambda: stream.append(events))
    assert isinstance(refused, StreamFullError)


def test_an_append_in_which_something_is_too_large_is_refused_and_the_next_one_is_not(
    kafka: KafkaBroker, maker: KafkaMaker
) -> None:
    kafka.create_topic(maker.topic, settings={"max.message.bytes": "10000"})
    stream = maker.open(compression="none")
    starts = starts_of(stream)
    with pytest.raises(EventRefusedError, match=rf"larger than the topic '{maker.topic}' takes; raise its max.message"):
        stream.append([("ann", b"x" * 20_000)])
    with pytest.raises(EventRefusedError, match="larger than the topic"):
        stream.append([("ann", b"x" * 80_000_000)])
    stream.append([("ann", b"small")])
    assert values_of(read_on(stream, starts, 1)) == [b"small"]


# What a broker refuses


@pytest.mark.parametrize(
    ("brokers", "said"),
    [
        (
            "127.0.0.1:{port}",
            r"cannot be reached; start it, or correct stream\.kafka\.brokers .*Connection refused",
        ),
        ("no-such-host.invalid:9092", r"cannot be reached; .*Failed to resolve 'no-such-host\.invalid"),
    ],
)
def test_a_wrong_address_is_named_soon_and_may_pass(
    brokers: str, said: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    [port] = free_ports(1)
    settings = KafkaSettings(brokers=brokers.format(port=port), append_seconds=1)
    stream = KafkaStream(settings, "events", 1, system_clock)
    began = time.monotonic()
    calls: list[Callable[[], object]] = [
        stream.facts,
        lambda: stream.append([("ann", b"1")]),
        lambda: stream.read({0: 0}, 1, 1),
    ]
    for call in calls:
        with pytest.raises(StreamFullError, match=said):
            call()
    assert time.monotonic() - began < len(calls) * SOON_SECONDS
    stream.commit({0: 1})
    stream.close()
    assert len(caplog.records) == 1
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"password": "wrong"}, r"refuses the credentials; correct stream\.kafka\.username, password and"),
        ({"username": "nobody"}, r"refuses the credentials"),
        ({"sasl_mechanism": "PLAIN", "password": "wrong"}, r"refuses the credentials; .*Invalid username or password"),
        (
            {"sasl_mechanism": "SCRAM-SHA-512"},
            r"refuses the credentials; .*Unsupported SASL mechanism",
        ),
        ({"ca_file": None}, r"TLS to Kafka at .* fails; correct stream\.kafka\.security_protocol and ca_file"),
    ],
)
def test_wrong_credentials_and_wrong_certificates_are_errors_that_do_not_pass(
    maker: KafkaMaker, settings: Mapping[str, object], said: str
) -> None:
    stream = maker.secured(append_seconds=1, **settings)
    with pytest.raises(StreamError, match=said) as refused:
        stream.facts()
    assert not isinstance(refused.value, StreamFullError)


def test_the_wrong_security_protocol_is_named(kafka: KafkaBroker, maker: KafkaMaker) -> None:
    with pytest.raises(StreamError, match=r"TLS to Kafka at .* fails; correct stream\.kafka\.security_protocol"):
        maker.open(security_protocol="SSL").facts()
    with pytest.raises(StreamError, match=r"whether stream\.kafka\.security_protocol is right"):
        maker.open(brokers=kafka.secured.bootstrap).facts()


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "PLAIN"])
def test_events_go_through_tls_and_credentials(maker: KafkaMaker, mechanism: str) -> None:
    stream = maker.secured(sasl_mechanism=mechanism)
    starts = starts_of(stream)
    stream.append([("ann", b"1")])
    assert values_of(read_on(stream, starts, 1)) == [b"1"]
    assert stream.lag(starts).events == 1


@pytest.mark.parametrize(
    ("operation", "what", "call"),
    [
        (AclOperation.WRITE, "write to", lambda stream: stream.append([("ann", b"2")])),
        (AclOperation.READ, "read", lambda stream: stream.read({0: 0}, 1, 1, 0.1)),
        (AclOperation.DESCRIBE_CONFIGS, "read the settings of", lambda stream: stream.facts()),
    ],
)
def test_a_right_that_is_missing_is_named(
    kafka: KafkaBroker, maker: KafkaMaker, operation: AclOperation, what: str, call: Callable[[KafkaStream], object]
) -> None:
    maker.open().append([("ann", b"1")])
    with forbidden(kafka, operation, maker.topic):
        stream = maker.secured(append_seconds=2)
        said = str(raised_by(lambda: call(stream)))
    topic = f"the topic '{maker.topic}'"
    assert said == f"Kafka does not allow {USER} to {what} {topic}; give it the rights in docs/kafka.md."


def test_a_right_that_is_taken_away_is_noticed_and_so_is_that_it_is_back(
    often: None, kafka: KafkaBroker, maker: KafkaMaker
) -> None:
    stream = maker.secured()
    starts = starts_of(stream)
    with forbidden(kafka, AclOperation.DESCRIBE, maker.topic):
        said = str(raised_by(lambda: stream.read(starts, 1, 1, 0.01)))
        assert f"to describe the topic '{maker.topic}'" in said
    stream = maker.secured()
    stream.append([("ann", b"1")])
    assert len(read_on(stream, starts, 1)) == 1


def test_a_missing_topic_that_must_not_be_made_is_one_sentence(kafka: KafkaBroker, maker: KafkaMaker) -> None:
    said = rf"no topic '{maker.topic}', and Kafka does not allow {USER} to make it; create it with 1 partitions"
    cluster = forbidden(kafka, AclOperation.CREATE, "kafka-cluster", ResourceType.BROKER)
    with cluster, forbidden(kafka, AclOperation.CREATE, maker.topic), pytest.raises(StreamError, match=said):
        maker.secured().facts()


# Topics


def test_a_topic_is_made_with_the_broker_s_times_and_without_compaction(
    kafka: KafkaBroker, stream: KafkaStream, maker: KafkaMaker
) -> None:
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    producer.produce(maker.topic, b"1", b"ann", timestamp=1_000)
    producer.flush()
    [record] = read_on(stream, {0: 0}, 1)
    assert abs(record.appended_at_ms - system_clock()) < 60_000
    assert stream.facts().retention_hours == 168  # The broker's own default.


def test_facts_are_the_topic_s(kafka: KafkaBroker, maker: KafkaMaker) -> None:
    kafka.create_topic(maker.topic, 3, {"retention.ms": "5400000"})
    facts = maker.open().facts()
    assert (facts.identity, facts.partitions, facts.retention_hours) == (kafka.topic_id(maker.topic), (0, 1, 2), 1.5)


def test_a_topic_that_keeps_everything_has_no_retention(kafka: KafkaBroker, maker: KafkaMaker) -> None:
    kafka.create_topic(maker.topic, settings={"retention.ms": "-1"})
    assert maker.open().facts().retention_hours is None


def test_a_compacted_topic_is_refused(kafka: KafkaBroker, maker: KafkaMaker) -> None:
    kafka.create_topic(maker.topic, settings={"cleanup.policy": "compact,delete"})
    with pytest.raises(StreamError, match=rf"The topic '{maker.topic}' is compacted, which drops events"):
        maker.open().facts()


def test_partitions_that_are_added_are_written_and_read_while_everything_goes_on(
    often: None, kafka: KafkaBroker, maker: KafkaMaker, stream: KafkaStream
) -> None:
    reader = maker.open()
    stream.append([("ann", b"1")])
    assert len(read_on(reader, {0: 0}, 1)) == 1
    kafka.add_partitions(maker.topic, 3)
    for one in (stream, reader):
        await_that("the new ones are seen", lambda one=one: one.partitions() == [0, 1, 2], PATIENCE_SECONDS)
    keys = [next(f"key {n}" for n in range(99) if partition_of(f"key {n}", 3) == partition) for partition in range(3)]
    stream.append([(key, b"new") for key in keys])
    starts = {0: 1, 1: reader.earliest(1), 2: reader.earliest(2)}
    assert {record.partition: record.key for record in read_on(reader, starts, 3)} == dict(enumerate(keys))


def test_a_topic_that_was_made_anew_is_not_read_on_in_silence(
    often: None, kafka: KafkaBroker, maker: KafkaMaker, stream: KafkaStream
) -> None:
    starts = starts_of(stream)
    stream.append([("ann", b"old")] * 3)
    position = after(starts, read_on(stream, starts, 3))
    kafka.recreate_topic(maker.topic)
    maker.open().append([("ann", b"new")] * 9)
    said = str(raised_by(lambda: stream.read(position, 1, 1, 0.01)))
    assert said.startswith(f"The topic '{maker.topic}' was deleted and made anew: its offsets start again")
    with pytest.raises(StreamError, match="made anew"):
        stream.partitions()
    # Events that come in meanwhile are in the new one, which is read from its start once it has its own name.
    stream.append([("ann", b"later")])
    assert values_of(read_on(maker.open(), {0: 0}, 10))[-1] == b"later"


def test_a_topic_that_was_deleted_is_named(
    often: None, kafka: KafkaBroker, maker: KafkaMaker, stream: KafkaStream
) -> None:
    starts = starts_of(stream)
    stream.append([("ann", b"1")])
    kafka.delete_topic(maker.topic)
    for call in (lambda: stream.read(starts, 1, 1, 0.01), lambda: stream.append([("ann", b"2")])):
        assert f"has not got the topic '{maker.topic}'; correct stream.kafka.topic" in str(raised_by(call))


def test_a_partition_that_does_not_exist_is_named(stream: KafkaStream) -> None:
    for call in (lambda: stream.read({7: 0}, 1, 1), lambda: stream.verify({7: 0}), lambda: stream.earliest(7)):
        with pytest.raises(StreamError, match=r"has no partition 7, which was read before"):
            call()


# What others write


def test_offsets_without_records_neither_stall_nor_count(
    kafka: KafkaBroker, stream: KafkaStream, maker: KafkaMaker
) -> None:
    transactions = Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": maker.topic})
    transactions.init_transactions()
    for value, ended in (
        (b"1", transactions.commit_transaction),
        (b"undone", transactions.abort_transaction),
        (b"2", transactions.commit_transaction),
    ):
        transactions.begin_transaction()
        transactions.produce(maker.topic, value, b"ann")
        transactions.flush()
        ended()
    records = read_on(stream, {0: 0}, 2, max_rows=1)
    assert [(record.offset, record.value) for record in records] == [(0, b"1"), (4, b"2")]
    # Between the last record and the end there is only what ended the transaction.
    assert stream.lag({0: 5}) == stream.lag({0: 6})
    assert stream.lag({0: 5}).events == 0
    assert stream.read({0: 5}, 1, 1, 0.1) == []
    stream.verify({0: 5})
    stream.append([("ann", b"3")])
    assert values_of(read_on(stream, {0: 5}, 1)) == [b"3"]


def test_what_a_transaction_gives_out_late_is_unread_from_then_on(
    kafka: KafkaBroker, stream: KafkaStream, maker: KafkaMaker
) -> None:
    transactions = Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": maker.topic})
    transactions.init_transactions()
    transactions.begin_transaction()
    transactions.produce(maker.topic, b"1", b"ann")
    transactions.flush()
    assert stream.lag({}, lambda partition: partition == 0) == Lag(0, 0)
    transactions.commit_transaction()
    await_that("its record is read", lambda: stream.read({0: 0}, 1, 1, 0.1) != [], PATIENCE_SECONDS)
    assert stream.lag({}, lambda partition: partition == 0).seconds > 0


def test_what_no_collector_wrote_is_read_for_quarantine(
    kafka: KafkaBroker, stream: KafkaStream, maker: KafkaMaker
) -> None:
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    for key, value in ((None, b"no key"), (b"tombstone", None), (b"\xff\xfe", b"\xff garbage \x00"), (None, None)):
        producer.produce(maker.topic, value, key)
    producer.flush()
    found = [(record.key, record.value) for record in read_on(stream, {0: 0}, 4)]
    assert found == [("", b"no key"), ("tombstone", b""), ("\ufffd\ufffd", b"\xff garbage \x00"), ("", b"")]


def test_offsets_that_have_left_are_an_error_as_often_as_they_are_asked_for(
    kafka: KafkaBroker, stream: KafkaStream, maker: KafkaMaker
) -> None:
    stream.append([("ann", b"%d" % number) for number in range(10)])
    kafka.delete_records(maker.topic, 0, 6)
    reader = maker.open()
    said = f"Partition 0 of the event stream '{maker.topic}' begins at offset 6, but 0 is the next to process"
    for _ in range(3):
        assert str(raised_by(lambda: reader.read({0: 0}, 1, 1, 0.01))).startswith(said)
    assert values_of(read_on(reader, {0: 6}, 4)) == [b"6", b"7", b"8", b"9"]


def test_offsets_that_leave_between_two_fetches_are_an_error_too(kafka: KafkaBroker, maker: KafkaMaker) -> None:
    stream = maker.open(compression="none")
    large = [("ann", b"%06d" % number + b"x" * 100_000) for number in range(200)]
    for start in range(0, 200, 20):
        stream.append(large[start : start + 20])
    # 20 MB: more than is fetched ahead.
    turns = pieces(stream, {0: 0}, 1, ALL_BYTES)
    assert values_of(next(turns)) == [large[0][1]]
    kafka.delete_records(maker.topic, 0, 190)
    found: list[Record] = []
    said = str(raised_by(lambda: found.extend(next(turns))))
    assert re.search(rf"begins at offset 190, but {found[-1].offset + 1} is the next to process", said)
    assert [record.offset for record in found] == list(range(1, len(found) + 1))
    assert len(found) < 188


# Lag and displays


def test_lag_is_the_age_of_the_oldest_unread_event_and_not_of_the_newest(kafka: KafkaBroker, maker: KafkaMaker) -> None:
    kafka.create_topic(maker.topic, 2, {"message.timestamp.type": "CreateTime"})
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    now_ms = system_clock()
    for partition, age_seconds in ((0, 300), (0, 200), (0, 0), (1, 100)):
        producer.produce(maker.topic, b"1", partition=partition, timestamp=now_ms - age_seconds * 1_000)
    producer.flush()
    stream = maker.open()
    for first, events, seconds in ((0, 4, 300), (1, 3, 200), (2, 2, 100), (3, 1, 100), (3, 1, 100)):
        committed = {0: first} if first else {}
        lag = stream.lag(committed)
        assert lag.events == events
        assert seconds <= lag.seconds < seconds + PATIENCE_SECONDS
    assert stream.lag({0: 3, 1: 1}).seconds == 0


def test_the_broker_s_group_shows_how_far_processing_is(
    kafka: KafkaBroker, stream: KafkaStream, maker: KafkaMaker
) -> None:
    stream.append([("ann", b"1")] * 5)
    for end in (1, 2, 5):
        stream.commit({0: end})
    group = f"wakeline-{maker.topic}"

    def shown() -> list[int]:
        asked = kafka.admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])
        return [place.offset for place in asked[group].result(PATIENCE_SECONDS).topic_partitions]

    await_that("the last commit is shown", lambda: shown() == [5], PATIENCE_SECONDS)


def test_a_group_that_must_not_be_written_is_said_once_and_stops_nothing(
    kafka: KafkaBroker, maker: KafkaMaker, caplog: pytest.LogCaptureFixture
) -> None:
    stream = maker.secured()
    stream.append([("ann", b"1")])
    group = f"wakeline-{maker.topic}"
    with forbidden(kafka, AclOperation.READ, group, ResourceType.GROUP):
        for _ in range(3):
            stream.commit({0: 1})
            await_that("the broker has answered", lambda: not stream._group._is_telling, PATIENCE_SECONDS)
    [said] = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert said.getMessage().startswith(f"The consumer group '{group}' does not show how far processing is: ")
    assert "authorization failed" in said.getMessage()
    assert len(read_on(stream, {0: 0}, 1)) == 1


def test_readers_leave_no_group_behind(kafka: KafkaBroker, stream: KafkaStream, maker: KafkaMaker) -> None:
    stream.append([("ann", b"1")])
    assert len(read_on(stream, {0: 0}, 1)) == 1
    assert stream.lag({}).events == 1
    stream.close()
    listed = kafka.admin.list_consumer_groups().result(PATIENCE_SECONDS)
    assert f"wakeline-{maker.topic}" not in [group.group_id for group in listed.valid]


def test_reading_goes_back_and_forth_only_where_it_is_asked_to(maker: KafkaMaker, stream: KafkaStream) -> None:
    stream.append([("ann", b"%d" % number) for number in range(30)])
    turns = pieces(stream, {0: 0}, 10, ALL_BYTES)
    assert [record.offset for record in next(turns)] == list(range(10))
    assert [record.offset for record in read_on(stream, {0: 3}, 4, max_rows=4)] == [3, 4, 5, 6]
    assert [record.offset for record in read_on(stream, {0: 3}, 4, max_rows=4)] == [3, 4, 5, 6]
    assert [record.offset for record in next(turns)] == list(range(10, 20))


# Settings


def test_the_settings_kind_kafka_opens_it_and_the_embedded_one_loads_no_client(
    kafka: KafkaBroker, maker: KafkaMaker, tmp_path: Path
) -> None:
    broker = KafkaSettings(brokers=kafka.bootstrap, topic=maker.topic)
    stream = open_stream(
        Settings(stream=StreamSettings(kind="kafka", partitions=2, name="shop", kafka=broker)), system_clock
    )
    assert (stream.name, stream.partitions()) == ("shop", [0, 1])
    stream.close()
    program = (
        "import sys; from pathlib import Path; from wakeline.clock import system_clock;"
        "from wakeline.settings import Settings; from wakeline.streams.factory import open_stream;"
        "open_stream(Settings(data_dir=Path(sys.argv[1])), system_clock).close();"
        "sys.exit('confluent_kafka' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False).returncode == 0


def test_a_file_of_certificates_that_is_not_there_is_named(maker: KafkaMaker, tmp_path: Path) -> None:
    with pytest.raises(StreamError, match=rf"stream\.kafka\.ca_file is {tmp_path}/none\.pem, which is no file"):
        maker.secured(ca_file=tmp_path / "none.pem")


def test_iam_needs_a_region_and_a_package_and_says_so(maker: KafkaMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StreamError, match=r"set stream\.kafka\.region"):
        maker.secured(sasl_mechanism="AWS_MSK_IAM")
    monkeypatch.setitem(sys.modules, "aws_msk_iam_sasl_signer", None)
    with pytest.raises(StreamError, match=r"run 'pip install aws-msk-iam-sasl-signer-python'"):
        maker.secured(sasl_mechanism="AWS_MSK_IAM", region="eu-west-1")


def test_iam_credentials_are_signed_for_the_region_and_handed_to_the_broker(
    maker: KafkaMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker here knows no IAM: that it is asked for OAUTHBEARER shows that a token was there."""
    pytest.importorskip("aws_msk_iam_sasl_signer", reason="The extra 'msk' is not installed.")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    stream = maker.secured(sasl_mechanism="AWS_MSK_IAM", region="eu-west-1")
    with pytest.raises(StreamError, match=r"correct the AWS credentials .*OAUTHBEARER mechanism handshake failed"):
        stream.facts()
