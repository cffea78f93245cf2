"""What every event stream offers: the same method names in the same order for each of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from zlib import crc32


@dataclass(frozen=True, slots=True)
class Record:
    """One appended event: `value` is the envelope of `wakeline.events`, `offset` is dense per partition.

    `position` is the broker's own name of the record where that is no offset (a Kinesis sequence number), else empty.
    """

    partition: int
    offset: int
    appended_at_ms: int
    key: str
    value: bytes
    position: str = ""


@dataclass(frozen=True, slots=True)
class PartitionHead:
    """Offsets of one partition: `earliest` is the first still kept, `next` the one the next append gets."""

    partition: int
    earliest: int
    next: int


@dataclass(frozen=True, slots=True)
class Lag:
    """How far processing is behind: unread `events`, None where a broker does not count them, and the oldest's age."""

    events: int | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Facts:
    """What a stream says of itself.

    `identity` is another one when the stream was deleted and made anew: offsets of the old one then mean nothing.
    `retention_hours` is how long events are kept that nobody has read, None for ever.
    """

    identity: str
    partitions: tuple[int, ...]
    retention_hours: float | None


def every(_partition: int) -> bool:
    """All partitions are meant."""
    return True


class EventStream(Protocol):
    """A partitioned, ordered, durable log. Offsets are ours: nothing here remembers who has read what."""

    name: str

    def append(self, events: Sequence[tuple[str, bytes]]) -> None:
        """Append (key, value) pairs; returns only once they are durable, or raises StreamError.

        StreamFullError when trying again later may help, EventRefusedError when an event is too large for ever. Whoever
        tries again must bear a repetition.
        """

    def partitions(self) -> list[int]:
        """The partitions that may be read now, in order.

        Where partitions replace each other, the new ones are there once the old ones are read and committed.
        """

    def earliest(self, partition: int) -> int:
        """The offset at which reading a partition begins that was never read."""

    def read(
        self, starts: Mapping[int, int], max_rows: int, max_bytes: int, max_wait_seconds: float = 0
    ) -> list[Record]:
        """Records of each partition from its start on, in order and without a gap, each partition its fair share.

        At most `max_rows` or one of each partition, whichever is more; only a lone first record of a partition exceeds
        its share of `max_bytes`. Waits up to `max_wait_seconds` when there is none.

        Raises StreamError for a start that has left the stream or that was never given out: going on from elsewhere
        would skip events in silence.
        """

    def commit(self, committed: Mapping[int, int]) -> None:
        """Tell the broker how far processing is, for its own displays of lag; nothing is ever read back."""

    def lag(self, committed: Mapping[int, int], is_meant: Callable[[int], bool] = every) -> Lag:
        """How far `committed`, the next offset of each partition, is behind the end of the partitions that are meant.

        Asks the broker, which a read that gave nothing may not have reached. Raises StreamError when nobody answers,
        and, with `is_meant`, when the broker does not tell how old the oldest unread event is: 0 seconds mean that none
        is unread.
        """

    def facts(self) -> Facts:
        """Asks the broker. Raises StreamError, in a sentence, with what is wrong: address, credentials, the stream.

        StreamFullError when nobody answers, which may pass.
        """

    def verify(self, committed: Mapping[int, int], last_read_ms: int | None = None) -> None:
        """Raises StreamError when processing cannot go on at these offsets without missing an event.

        `last_read_ms` is when all of the stream was last read on, None where nobody knows: for streams that do not tell
        by themselves what has expired.
        """

    def retain(self, committed: Mapping[int, int], before_ms: int) -> int:
        """Drop records appended before `before_ms` and below the committed offset; returns how many.

        Brokers do so by themselves, by their own retention: nothing happens there.
        """

    def close(self) -> None:
        """Release files and connections; appended events stay."""


def partition_of(key: str, partitions: int) -> int:
    """The partition of a key: the same for the same key on every machine and in every process."""
    return crc32(key.encode()) % partitions
