"""What every event stream offers: the same method names in the same order for each of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from zlib import crc32


@dataclass(frozen=True, slots=True)
class Record:
    """One appended event: `value` is the envelope of `wakeline.events`, `offset` is dense per partition."""

    partition: int
    offset: int
    appended_at_ms: int
    key: str
    value: bytes


@dataclass(frozen=True, slots=True)
class PartitionHead:
    """Offsets of one partition: `earliest` is the first still kept, `next` the one the next append gets."""

    partition: int
    earliest: int
    next: int


class EventStream(Protocol):
    """A partitioned, ordered, durable log."""

    name: str
    partitions: int

    def append(self, events: Sequence[tuple[str, bytes]]) -> None:
        """Append (key, value) pairs; returns only once they are durable, or raises StreamFullError."""

    def heads(self) -> list[PartitionHead]:
        """One head per partition, in partition order."""

    def read(self, partition: int, offset: int, max_rows: int, max_bytes: int) -> list[Record]:
        """Records from `offset` on, in order: at most `max_rows`, and no more than `max_bytes` past the first."""

    def retain(self, committed: dict[int, int], before_ms: int) -> int:
        """Drop records appended before `before_ms` and below the committed offset; returns how many."""

    def close(self) -> None:
        """Release files and connections; appended events stay."""


def partition_of(key: str, partitions: int) -> int:
    """The partition of a key: the same for the same key on every machine and in every process."""
    return crc32(key.encode()) % partitions
