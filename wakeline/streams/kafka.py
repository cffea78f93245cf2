"""Apache Kafka as an event stream: its partitions and offsets are ours.

Offsets are not dense where others write with transactions: a record's is at least the one that was asked for.
"""

from collections.abc import Callable, Mapping, Sequence

from wakeline.clock import Clock
from wakeline.errors import StreamFullError
from wakeline.settings import KafkaSettings
from wakeline.streams.kafka_appending import Appending
from wakeline.streams.kafka_connection import ASK_SECONDS, Connection
from wakeline.streams.kafka_lag import LOOK_SECONDS, Group, OldestUnread, Ranges
from wakeline.streams.kafka_reading import Reading
from wakeline.streams.kafka_topic import Topic
from wakeline.streams.protocol import Facts, Lag, Record, every

_RETRY_SECONDS = 1


class KafkaStream:
    """An `EventStream` in the topic of the settings, which is made with `partitions` partitions if it is missing.

    Nothing is asked before its first use. Any thread may call anything. Raises StreamError when a setting or a package
    is missing. Not to be carried over a fork.
    """

    def __init__(self, settings: KafkaSettings, name: str, partitions: int, clock: Clock) -> None:
        self.name = name
        self._clock = clock
        group = f"wakeline-{name}"
        self._connection = Connection(settings)
        self._topic = Topic(self._connection, partitions)
        self._appending = Appending(self._connection, self._topic)
        self._reading = Reading(self._connection, self._topic, group)
        self._oldest = OldestUnread(self._connection, group)
        self._group = Group(self._connection, group)

    def append(self, events: Sequence[tuple[str, bytes]]) -> None:
        """Append (key, value) pairs; returns only once all replicas in step hold them.

        Raises StreamFullError when that took longer than `append_seconds`, EventRefusedError when an event is larger
        than the topic takes, else StreamError. Some may be there then, and some may still arrive.
        """
        if events:
            self._appending.append(events)

    def partitions(self) -> list[int]:
        """All of them; one that is added is there after a few seconds. Raises StreamError for another topic."""
        self._topic.require_same()
        return list(range(self._topic.partitions()))

    def earliest(self, partition: int) -> int:
        """The first offset that is kept."""
        [head] = self._topic.heads([partition])
        return head.earliest

    def read(
        self, starts: Mapping[int, int], max_rows: int, max_bytes: int, max_wait_seconds: float = 0
    ) -> list[Record]:
        """Records of each partition from its start on; none while no broker answers.

        Raises StreamError for an offset that retention has removed or that was never given out, as soon as a broker
        says so, and for a topic that is missing, made anew or not ours to read.
        """
        return self._reading.read(starts, max_rows, max_bytes, max_wait_seconds)

    def commit(self, committed: Mapping[int, int]) -> None:
        """Tell the consumer group `wakeline-<name>`, without waiting; a failure is logged once."""
        self._group.tell(committed)

    def lag(self, committed: Mapping[int, int], is_meant: Callable[[int], bool] = every) -> Lag:
        """Unread events of these partitions, and the age of the oldest of them; cheap enough for once a second.

        Where others write with transactions, their markers count as events. Raises StreamError when nobody answers. Of
        all partitions the age leaves out those whose oldest event is not given out; of some it raises StreamFullError.
        """
        heads = self._topic.heads(filter(is_meant, range(self._topic.partitions())))
        starts = {head.partition: max(head.earliest, committed.get(head.partition, 0)) for head in heads}
        unread = {head.partition: (starts[head.partition], head.next) for head in heads}
        unread = {partition: (first, end) for partition, (first, end) in unread.items() if end > first}
        found = self._oldest_of(unread, is_meant)
        times = [appended_at_ms for appended_at_ms in found.values() if appended_at_ms is not None]
        # The broker's clock and ours may differ by more than an event that has just come is old.
        age_ms = max(1, self._clock() - min(times)) if times else 0
        empty = {partition for partition, appended_at_ms in found.items() if appended_at_ms is None}
        events = sum(end - first for partition, (first, end) in unread.items() if partition not in empty)
        return Lag(events, age_ms / 1000)

    def _oldest_of(self, unread: Ranges, is_meant: Callable[[int], bool]) -> dict[int, int | None]:
        """Whoever processes partitions must not take what is not given out for nothing; displays need not wait."""
        if is_meant is every:
            return self._oldest.appended_at_ms(unread, LOOK_SECONDS)
        found = self._oldest.appended_at_ms(unread, ASK_SECONDS)
        if missing := sorted(unread.keys() - found):
            settings = self._connection.settings
            raise StreamFullError(
                f"Kafka at {settings.brokers} does not give out what partition {missing[0]} of the topic"
                f" '{settings.topic}' holds; see whether all its brokers run.",
                _RETRY_SECONDS,
            )
        return found

    def facts(self) -> Facts:
        """The topic's id, its partitions and its `retention.ms`."""
        return self._topic.facts()

    def verify(self, committed: Mapping[int, int], last_read_ms: int | None = None) -> None:
        """Raises StreamError for an offset that is not between a partition's first and its end."""
        self._topic.verify(committed)

    def retain(self, committed: Mapping[int, int], before_ms: int) -> int:
        """Nothing happens: Kafka drops records by the topic's own retention."""
        return 0

    def close(self) -> None:
        """Returns when all clients are closed; later calls raise StreamError."""
        self._connection.close()
        self._appending.close()
        self._reading.close()
        self._oldest.close()
