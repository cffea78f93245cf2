"""Reads partitions from offsets that are ours, without a consumer group.

One consumer per partition: each keeps its place and fetches ahead, so that none waits for another. Measured against one
consumer for all partitions: twice the throughput, and no runs of thousands of records of one partition.
"""

import time
from collections import deque
from collections.abc import Mapping, Sequence
from itertools import cycle
from threading import Lock

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from wakeline.errors import StreamFullError
from wakeline.streams.kafka_connection import Connection
from wakeline.streams.kafka_errors import DENIED, MISSING
from wakeline.streams.kafka_topic import Topic
from wakeline.streams.protocol import Record
from wakeline.streams.sharing import share_out

# A consumer that is moved first waits for its fetch under way, and an idle one fetches this often.
_FETCH_WAIT_MS = 100
# What is fetched ahead; librdkafka's own limit is 64 MB, for each partition.
_AHEAD_KILOBYTES = 4_096
# How long fetching rests when that is full; with librdkafka's own second a reader that keeps up waits for most of it.
_REST_MS = 5
_CHUNK_ROWS = 500
# How long one partition is waited for before the others are looked at.
_TURN_SECONDS = 0.002


def reading_config(group: str) -> dict[str, object]:
    """What a consumer is made with that leaves no trace on the broker; the group is a name it cannot do without."""
    return {
        "group.id": group,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        # Every other choice goes on elsewhere in silence when an offset is gone.
        "auto.offset.reset": "error",
        "fetch.wait.max.ms": _FETCH_WAIT_MS,
        "queued.max.messages.kbytes": _AHEAD_KILOBYTES,
        "fetch.queue.backoff.ms": _REST_MS,
    }


def record_of(message: Message) -> Record:
    """A record; others may write to the topic what has no key, no value or no UTF-8."""
    _, appended_at_ms = message.timestamp()
    key = (message.key() or b"").decode(errors="replace")
    partition, offset = message.partition(), message.offset()
    assert partition is not None and offset is not None  # noqa: S101, PT018 - for the types: each message has them
    return Record(partition, offset, max(0, appended_at_ms), key, message.value() or b"")


class _Partition:
    """The next records of one partition, from wherever reading stands."""

    def __init__(self, connection: Connection, topic: Topic, group: str, partition: int) -> None:
        self._connection = connection
        self._topic = topic
        self._partition = partition
        self._consumer = Consumer(connection.config(reading_config(group)))
        self._ahead: deque[Record] = deque()
        self._next: int | None = None
        self._error: KafkaError | None = None

    def stand_at(self, start: int) -> None:
        """Go on from an offset; costs something only when it is not where the last read ended."""
        if start != self._next:
            self._ahead.clear()
            self._error = None
            self._consumer.assign([TopicPartition(self._connection.settings.topic, self._partition, start)])
            self._next = start

    def has_something(self, wait_seconds: float = 0) -> bool:
        """Whether there is a record, waited for at most so long.

        Raises StreamError for what does not pass by itself.
        """
        if not self._ahead and self._error is None:
            message = self._consumer.poll(wait_seconds)
            self._keep([] if message is None else [message])
        if not self._ahead and self._error is not None:
            error, self._error = self._error, None
            self._explain(error)
        return bool(self._ahead)

    def take(self, max_rows: int, max_bytes: int) -> list[Record]:
        """The next records, and reading stands behind them."""
        taken: list[Record] = []
        size = 0
        while len(taken) < max_rows and self._has_more():
            size += len(self._ahead[0].value)
            if taken and size > max_bytes:
                break
            taken.append(self._ahead.popleft())
        if taken:
            self._next = taken[-1].offset + 1
        return taken

    def close(self) -> None:
        """Ends its threads."""
        self._consumer.close()

    def _has_more(self) -> bool:
        if not self._ahead and self._error is None:
            self._keep(self._consumer.consume(_CHUNK_ROWS, 0))
        return bool(self._ahead)

    def _keep(self, messages: Sequence[Message]) -> None:
        for message in messages:
            error = message.error()
            if error is None:
                self._ahead.append(record_of(message))
            else:
                # What was fetched before it can still be read.
                self._error = error

    def _explain(self, error: KafkaError) -> None:
        if error.code() == KafkaError._AUTO_OFFSET_RESET:
            # It is said once, and the consumer then stands still until it is assigned again.
            stood_at, self._next = self._next, None
            self._require_within(stood_at)
        elif error.code() in DENIED | MISSING:
            raise self._connection.explained(error, "read")

    def _require_within(self, start: int | None) -> None:
        try:
            self._topic.verify({self._partition: start or 0})
        except StreamFullError:
            return  # Nobody answers now; the offset is asked for again.


class Reading:
    """Reads the topic; a consumer is made for a partition when it is first read. One read at a time."""

    def __init__(self, connection: Connection, topic: Topic, group: str) -> None:
        self._connection = connection
        self._topic = topic
        self._group = group
        self._lock = Lock()
        self._partitions: dict[int, _Partition] = {}

    def read(self, starts: Mapping[int, int], max_rows: int, max_bytes: int, max_wait_seconds: float) -> list[Record]:
        """As `EventStream.read`. Nothing while no broker answers; reading then goes on by itself."""
        deadline = time.monotonic() + max_wait_seconds
        with self._lock:
            self._topic.require_same()
            for partition, start in starts.items():
                self._opened(partition).stand_at(start)
            ready = self._await(list(starts), deadline)
            return share_out(ready, lambda one, *bounds: self._partitions[one].take(*bounds), max_rows, max_bytes)

    def close(self) -> None:
        """Ends all consumers."""
        with self._lock:
            while self._partitions:
                self._partitions.popitem()[1].close()

    def _opened(self, partition: int) -> _Partition:
        self._connection.require_open()
        if partition not in self._partitions:
            self._topic.require_partition(partition)
            self._partitions[partition] = _Partition(self._connection, self._topic, self._group, partition)
        return self._partitions[partition]

    def _await(self, partitions: Sequence[int], deadline: float) -> list[int]:
        """Those that have something; librdkafka cannot wait for several consumers at once."""
        for waited_for in cycle(partitions):
            ready = [one for one in partitions if self._partitions[one].has_something()]
            left = deadline - time.monotonic()
            if ready or left <= 0:
                return ready
            self._partitions[waited_for].has_something(min(_TURN_SECONDS, left))
        return []
