"""How far behind a lane is on Kafka when the broker answers only some of its clients; no broker is needed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import pytest
from support.clocks import NOW_MS, SECOND_MS

from wakeline.errors import StreamFullError
from wakeline.settings import KafkaSettings
from wakeline.streams.kafka import KafkaStream
from wakeline.streams.kafka_lag import OldestUnread
from wakeline.streams.kafka_topic import Topic
from wakeline.streams.protocol import Lag, PartitionHead


@dataclass
class Oldest:
    """Knows when the first unread records of some partitions came, as others give nothing out."""

    known: Mapping[int, int | None]

    def appended_at_ms(self, unread: Mapping[int, tuple[int, int]], look_seconds: float = 0) -> dict[int, int | None]:
        return {partition: self.known[partition] for partition in unread if partition in self.known}


class Ends:
    """Two partitions, with seven records and with two."""

    def partitions(self) -> int:
        return 2

    def heads(self, partitions: Mapping[int, int]) -> list[PartitionHead]:
        return [PartitionHead(partition, 0, {0: 7, 1: 2}[partition]) for partition in partitions]


def stream_that_knows(known: Mapping[int, int | None]) -> KafkaStream:
    stream = KafkaStream(KafkaSettings(brokers="localhost:1", topic="events"), "events", 2, lambda: NOW_MS)
    stream._topic = cast(Topic, Ends())
    stream._oldest = cast(OldestUnread, Oldest(known))
    return stream


@pytest.mark.parametrize("known", [{}, {1: NOW_MS - SECOND_MS}, {1: None}])
def test_events_whose_age_nobody_tells_are_not_taken_for_none_by_who_processes_them(
    known: Mapping[int, int | None],
) -> None:
    stream = stream_that_knows(known)
    with pytest.raises(StreamFullError, match=r"^Kafka at localhost:1 does not give out what partition 0 of the topic"):
        stream.lag({}, lambda partition: True)
    assert stream.lag({0: 7, 1: 2}, lambda partition: True) == Lag(0, 0)


def test_a_display_counts_events_whose_age_nobody_tells() -> None:
    assert stream_that_knows({}).lag({}) == Lag(9, 0)
    assert stream_that_knows({1: NOW_MS - SECOND_MS}).lag({}) == Lag(9, 1)


def test_offsets_without_records_are_neither_unread_nor_unknown() -> None:
    stream = stream_that_knows({0: None, 1: NOW_MS - SECOND_MS})
    assert stream.lag({}, lambda partition: True) == Lag(2, 1)
    assert stream.lag({}, lambda partition: partition == 0) == Lag(0, 0)
