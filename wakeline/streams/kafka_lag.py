"""For people and displays: how old the oldest unread event is, and how far processing is, told to the broker."""

import logging
import time
from collections.abc import Mapping
from concurrent.futures import Future
from threading import Lock, RLock
from typing import Any

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaError, KafkaException, TopicPartition

from wakeline.streams.kafka_connection import ASK_SECONDS, Connection
from wakeline.streams.kafka_errors import error_of
from wakeline.streams.kafka_reading import reading_config, record_of

# Only the first record of each partition is wanted.
_FETCH_BYTES = 16_384
#: How long displays wait for it.
LOOK_SECONDS = 1.0
_TICK_SECONDS = 0.1

#: Partition -> unread offsets (first, end), end exclusive.
Ranges = Mapping[int, tuple[int, int]]

_logger = logging.getLogger(__name__)


class OldestUnread:
    """When the first record of unread offsets was appended. One call at a time."""

    def __init__(self, connection: Connection, group: str) -> None:
        self._connection = connection
        self._group = group
        self._lock = Lock()
        self._consumer: Consumer | None = None
        #: Partition -> unread offsets, end exclusive, and the time of their first record; None where there is none.
        self._known: dict[int, tuple[tuple[int, int], int | None]] = {}

    def appended_at_ms(self, unread: Ranges, look_seconds: float) -> dict[int, int | None]:
        """Partition -> time; None where the offsets have no record.

        Without a partition whose record the broker does not give out within `look_seconds`.
        """
        with self._lock:
            unknown = {one: offsets for one, offsets in unread.items() if not self._knows(one, offsets)}
            if unknown:
                self._look(unknown, look_seconds)
            return {one: self._known[one][1] for one in unread if one in self._known}

    def _knows(self, partition: int, offsets: tuple[int, int]) -> bool:
        known, appended_at_ms = self._known.get(partition, (None, None))
        # Where there was no record, a transaction that ends later gives some out; its marker moves the end.
        return known == offsets or (known is not None and appended_at_ms is not None and known[0] == offsets[0])

    def close(self) -> None:
        """Ends the consumer."""
        with self._lock:
            if self._consumer is not None:
                self._consumer.close()
            self._consumer = None

    def _look(self, unread: Ranges, look_seconds: float) -> None:
        for partition in unread:
            self._known.pop(partition, None)
        consumer = self._opened()
        topic = self._connection.settings.topic
        consumer.assign([TopicPartition(topic, partition, first) for partition, (first, _) in unread.items()])
        deadline = time.monotonic() + look_seconds
        while not self._known.keys() >= unread.keys() and time.monotonic() < deadline:
            self._note(consumer, unread)
        consumer.unassign()

    def _note(self, consumer: Consumer, unread: Ranges) -> None:
        message = consumer.poll(_TICK_SECONDS)
        if message is None or message.partition() in self._known:
            return
        error, partition = message.error(), message.partition()
        if partition is None:
            return
        if error is None:
            self._known[partition] = unread[partition], record_of(message).appended_at_ms
        elif error.code() == KafkaError._PARTITION_EOF:
            # Markers of transactions have offsets and are no records.
            self._known[partition] = unread[partition], None

    def _opened(self) -> Consumer:
        self._connection.require_open()
        if self._consumer is None:
            more = {"enable.partition.eof": True, "max.partition.fetch.bytes": _FETCH_BYTES}
            self._consumer = Consumer(self._connection.config(reading_config(self._group) | more))
        return self._consumer


class Group:
    """The consumer group by which the broker's own tools show the lag; nobody reads it back."""

    def __init__(self, connection: Connection, group: str) -> None:
        self._connection = connection
        self._group = group
        # A broker may answer before `add_done_callback` returns, in the same thread.
        self._lock = RLock()
        self._untold: dict[int, int] = {}
        self._is_telling = False
        self._said = ""

    def tell(self, committed: Mapping[int, int]) -> None:
        """Does not wait; what comes while the broker has not answered is told together."""
        with self._lock:
            self._untold.update(committed)
            self._tell()

    def _tell(self) -> None:
        if self._is_telling or not self._untold:
            return
        topic = self._connection.settings.topic
        places = [TopicPartition(topic, *place) for place in self._untold.items()]
        self._untold = {}
        asked = ConsumerGroupTopicPartitions(self._group, places)
        futures = self._connection.admin.alter_consumer_group_offsets([asked], request_timeout=ASK_SECONDS)
        self._is_telling = True
        futures[self._group].add_done_callback(self._answered)

    def _answered(self, answer: "Future[Any]") -> None:
        with self._lock:
            self._is_telling = False
            self._note(answer)
            if not self._connection.is_closed:
                self._tell()

    def _note(self, answer: "Future[Any]") -> None:
        """A failure is said when it is new: only a display misses something."""
        said = ""
        try:
            for place in answer.result().topic_partitions:
                said = str(place.error) if place.error else said
        except KafkaException as raised:
            said = error_of(raised).str()
        if said and said != self._said:
            _logger.warning("The consumer group '%s' does not show how far processing is: %s", self._group, said)
        self._said = said
