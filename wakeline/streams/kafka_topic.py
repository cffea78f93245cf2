"""The topic: made when it is missing, and watched for partitions that are added and for a topic made anew."""

import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from threading import Lock
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import ConfigResource, NewTopic, OffsetSpec, TopicDescription

from wakeline.errors import StreamError
from wakeline.streams.kafka_connection import ASK_SECONDS, Connection
from wakeline.streams.kafka_errors import DENIED, MISSING, MOVING, UNANSWERED, error_of
from wakeline.streams.offsets import require_within
from wakeline.streams.protocol import Facts, PartitionHead

#: How soon an added partition, or another topic of the same name, is noticed.
LOOK_SECONDS = 5.0
# A broker that has just started may not know its topics yet.
_LOOKS_TO_BE_MISSING = 2
_PAUSE_SECONDS = 0.05
_MS_PER_HOUR = 3_600_000
# Times of events are the broker's: collectors need not agree on the time of day.
_SETTINGS = {"cleanup.policy": "delete", "message.timestamp.type": "LogAppendTime"}


class Topic:
    """The topic of the settings; it is asked for, and made, at first use. For any thread."""

    def __init__(self, connection: Connection, partitions: int) -> None:
        self._connection = connection
        self._name = connection.settings.topic
        self._new_partitions = partitions
        self._lock = Lock()
        self._first: TopicDescription | None = None
        self._seen: TopicDescription | None = None
        self._asked: Future[TopicDescription] | None = None
        self._look_at = 0.0
        self._missing_looks = 0
        self._failure: StreamError | None = None

    def partitions(self) -> int:
        """How many there are, as of a few seconds ago. Raises StreamError for a topic that is not there."""
        seen = self._looked()
        if self._failure is not None:
            raise self._failure
        return len(seen.partitions)

    def require_same(self) -> None:
        """Raises StreamError when the topic is missing, or another one than at first use."""
        self.partitions()
        if self._first and self._seen and str(self._first.topic_id) != str(self._seen.topic_id):
            raise StreamError(
                f"The topic '{self._name}' was deleted and made anew: its offsets start again and mean other events."
                " Give the new one another stream.name."
            )

    def facts(self) -> Facts:
        """Asks the broker. Raises StreamError for a topic that is compacted, as that drops events."""
        self._looked()
        resource = ConfigResource(ConfigResource.Type.TOPIC, self._name)
        [(_, said)] = self._ask(
            self._connection.admin.describe_configs([resource], request_timeout=ASK_SECONDS), "read the settings of"
        ).items()
        values = {name: entry.value for name, entry in said.items()}
        if "compact" in values["cleanup.policy"]:
            raise StreamError(
                f"The topic '{self._name}' is compacted, which drops events before they are read; set its"
                " cleanup.policy to delete, or stream.kafka.topic to another one."
            )
        described = self._ask(self._describe(), "describe")[self._name]
        retention_ms = int(values["retention.ms"])
        hours = None if retention_ms < 0 else retention_ms / _MS_PER_HOUR
        return Facts(str(described.topic_id), tuple(range(len(described.partitions))), hours)

    def heads(self, partitions: Iterable[int]) -> list[PartitionHead]:
        """The first and the next offset of each. Raises StreamError for one that does not exist."""
        numbers = list(partitions)
        for partition in numbers:
            self.require_partition(partition)
        deadline = time.monotonic() + ASK_SECONDS
        while numbers:
            try:
                return self._heads([TopicPartition(self._name, partition) for partition in numbers])
            except KafkaException as raised:
                error = error_of(raised)
                if error.code() not in MOVING or time.monotonic() > deadline:
                    raise self._connection.explained(error, "read") from raised
                self._connection.admin.poll(_PAUSE_SECONDS)
        return []

    def _heads(self, asked: Sequence[TopicPartition]) -> list[PartitionHead]:
        ask = self._connection.admin.list_offsets
        firsts = ask({one: OffsetSpec.earliest() for one in asked}, request_timeout=ASK_SECONDS)
        ends = ask({one: OffsetSpec.latest() for one in asked}, request_timeout=ASK_SECONDS)
        first, end = self._connection.raw_answers(firsts), self._connection.raw_answers(ends)
        # Asked together, the first may have moved behind what was the end.
        return [
            PartitionHead(one.partition, first[one].offset, max(first[one].offset, end[one].offset)) for one in asked
        ]

    def verify(self, committed: Mapping[int, int]) -> None:
        """Raises StreamError for an offset that is not between a partition's first and its end."""
        for head in self.heads(committed):
            require_within(f"'{self._name}'", head, committed[head.partition])

    def require_partition(self, partition: int) -> None:
        """Raises StreamError for a partition that does not exist."""
        if not 0 <= partition < self.partitions():
            raise StreamError(
                f"The topic '{self._name}' has no partition {partition}, which was read before: this is another stream."
                " Restore it, or give the new one another stream.name."
            )

    def _looked(self) -> TopicDescription:
        """What was last seen; waits for the broker at first use only."""
        self._connection.require_open()
        with self._lock:
            if self._seen is None:
                self._first = self._seen = self._made()
                self._look_at = time.monotonic() + LOOK_SECONDS
            self._look()
            return self._seen

    def _look(self) -> None:
        if self._asked is not None and self._asked.done():
            self._take(self._asked)
            self._asked = None
        if self._asked is None and time.monotonic() >= self._look_at:
            self._asked = self._describe()[self._name]
            self._look_at = time.monotonic() + LOOK_SECONDS

    def _take(self, answer: "Future[TopicDescription]") -> None:
        try:
            self._seen = answer.result()
            self._failure, self._missing_looks = None, 0
            self._connection.complaints.clear()
        except KafkaException as raised:
            self._take_error(error_of(raised))

    def _take_error(self, error: KafkaError) -> None:
        if error.code() in UNANSWERED:
            return
        self._missing_looks += error.code() in MISSING
        if error.code() not in MISSING or self._missing_looks >= _LOOKS_TO_BE_MISSING:
            self._failure = self._connection.explained(error, "describe")

    def _describe(self) -> "dict[str, Future[Any]]":
        topics = TopicCollection([self._name])
        return self._connection.admin.describe_topics(topics, request_timeout=ASK_SECONDS)

    def _made(self) -> TopicDescription:
        """Any number of processes may come here at once."""
        deadline = time.monotonic() + ASK_SECONDS
        found = self._found()
        if found is not None:
            return found
        self._create()
        while found is None or not all(one.leader and one.leader.host for one in found.partitions):
            if time.monotonic() > deadline:
                raise StreamError(
                    f"Kafka has made the topic '{self._name}', but nobody leads all of it; see whether all brokers run."
                )
            self._connection.admin.poll(_PAUSE_SECONDS)
            found = self._found()
        return found

    def _found(self) -> TopicDescription | None:
        try:
            found: TopicDescription = self._connection.raw_answers(self._describe())[self._name]
            return found
        except KafkaException as raised:
            if error_of(raised).code() in MISSING:
                return None
            raise self._connection.explained(error_of(raised), "describe") from raised

    def _create(self) -> None:
        copies = self._connection.settings.replication_factor
        new = NewTopic(self._name, self._new_partitions, copies, config=_SETTINGS)
        try:
            self._connection.raw_answers(self._connection.admin.create_topics([new], request_timeout=ASK_SECONDS))
        except KafkaException as raised:
            error = error_of(raised)
            if error.code() in DENIED:
                raise StreamError(
                    f"There is no topic '{self._name}', and Kafka does not allow"
                    f" {self._connection.settings.username or 'this client'} to make it; create it with"
                    f" {self._new_partitions} partitions, or allow Create on it."
                ) from raised
            if error.code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise self._connection.explained(error, "make") from raised

    def _ask(self, futures: "Mapping[Any, Future[Any]]", action: str) -> dict[Any, Any]:
        return self._connection.answers(futures, action)
