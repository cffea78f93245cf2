"""Appends to the topic: an idempotent producer, and one answer for all events of a call."""

import time
from collections.abc import Sequence
from threading import Lock

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from wakeline.streams.kafka_connection import ASK_SECONDS, Connection
from wakeline.streams.kafka_errors import error_of
from wakeline.streams.kafka_topic import Topic
from wakeline.streams.protocol import partition_of

# Another thread's poll may have taken the report that this one waits for.
_POLL_SECONDS = 0.01
# How much is too much is the topic's to say, not the client's.
_MOST_BYTES = 64_000_000


class _Call:
    """One append: what was handed to librdkafka, and what became of it."""

    def __init__(self, seconds: float) -> None:
        self.handed_over = 0
        self.deadline = time.monotonic() + seconds
        self.error: KafkaError | None = None
        self._reports: list[KafkaError | None] = []

    def report(self, error: KafkaError | None, _: Message) -> None:
        """What librdkafka calls, in whatever thread polls."""
        self._reports.append(error)
        self.error = self.error or error

    @property
    def is_settled(self) -> bool:
        """Whether there is a report on everything."""
        return len(self._reports) == self.handed_over


class Appending:
    """Appends to the topic; made at the first append. For any thread."""

    def __init__(self, connection: Connection, topic: Topic) -> None:
        self._connection = connection
        self._settings = connection.settings
        self._topic = topic
        self._lock = Lock()
        self._producer: Producer | None = None

    def append(self, events: Sequence[tuple[str, bytes]]) -> None:
        """Returns once all replicas in step hold all events, else raises StreamError: then some may be there."""
        partitions = self._topic.partitions()
        producer = self._opened()
        call = _Call(self._settings.append_seconds)
        for key, value in events:
            if call.error is None:
                self._hand_over(producer, call, key, value, partition_of(key, partitions))
        # Also after an error: what is on its way must not arrive behind the repetition.
        while not call.is_settled:
            producer.poll(_POLL_SECONDS)
        if call.error is not None:
            raise self._failed(call.error)
        self._connection.complaints.clear()

    def close(self) -> None:
        """Nothing is on its way: each append waits for its own events."""
        with self._lock:
            self._producer = None

    def _opened(self) -> Producer:
        with self._lock:
            self._connection.require_open()
            if self._producer is None:
                self._producer = Producer(self._connection.config(self._config()))
            return self._producer

    def _config(self) -> dict[str, object]:
        return {
            "enable.idempotence": True,
            "acks": "all",
            # An append holds what came during the one before: it is a batch already.
            "linger.ms": 0,
            "compression.type": self._settings.compression,
            "delivery.timeout.ms": max(1, round(self._settings.append_seconds * 1000)),
            "message.max.bytes": _MOST_BYTES,
            "topic.metadata.propagation.max.ms": 1_000,
        }

    def _hand_over(self, producer: Producer, call: _Call, key: str, value: bytes, partition: int) -> None:
        may_refresh = True
        while call.error is None:
            try:
                producer.produce(self._settings.topic, value, key.encode(), partition, on_delivery=call.report)
                call.handed_over += 1
                return
            except BufferError:
                if time.monotonic() > call.deadline:
                    call.error = KafkaError(KafkaError._QUEUE_FULL)
                producer.poll(_POLL_SECONDS)
            except KafkaException as raised:
                if error_of(raised).code() != KafkaError._UNKNOWN_PARTITION or not may_refresh:
                    call.error = error_of(raised)
                may_refresh = False
                self._refresh(producer)

    def _refresh(self, producer: Producer) -> None:
        """The topic has partitions that this client has not heard of yet."""
        try:
            producer.list_topics(self._settings.topic, ASK_SECONDS)
        except KafkaException:
            producer.poll(0)  # The cause is told there, and the next attempt fails.

    def _failed(self, error: KafkaError) -> Exception:
        if error.fatal() or error.code() == KafkaError._FATAL:
            # librdkafka has lost count of what was written, and this producer takes nothing any more.
            self.close()
        return self._connection.explained(error, "write to")
