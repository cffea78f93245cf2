"""The default event stream: an append-only log in one SQLite file on a local disk, for one machine.

Any number of threads and processes append and read at once. A commit is synced to disk before `append`
returns, and readers never wait for writers (write-ahead log, https://sqlite.org/wal.html).
"""

import time
from collections import deque
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from threading import Lock

from wakeline.clock import Clock
from wakeline.errors import StreamError
from wakeline.streams.embedded_blocks import MAX_PARTITIONS, NewBlock, RoutedEvent, pack
from wakeline.streams.embedded_file import APPLICATION_ID, Connections, create_file, not_a_stream
from wakeline.streams.embedded_log import (
    drop_chunk,
    insert_blocks,
    select_head,
    select_heads,
    select_records,
)
from wakeline.streams.protocol import PartitionHead, Record, partition_of

# Appends are merged into one transaction up to here; beyond it the write-ahead log grows for no gain.
MAX_GROUP_BYTES = 8_388_608

# A waiting append polls for the write lock; between two chunks of retention it must find it free.
RETAIN_PAUSE_SECONDS = 0.01


class _Call:
    """One caller's append, waiting to be committed together with the others'."""

    def __init__(self, events: list[RoutedEvent]) -> None:
        self.events = events
        self.bytes = sum(len(value) for _, _, value in events)
        self.done = False
        self.error: StreamError | None = None


class EmbeddedStream:
    """An `EventStream` in the SQLite file `path`, made with `partitions` partitions when it is not there yet.

    Raises StreamError when the file cannot be made or used, or holds another number of partitions. Not to be
    carried over a fork.
    """

    def __init__(self, path: Path, name: str, partitions: int, clock: Clock) -> None:
        if not 1 <= partitions <= MAX_PARTITIONS:
            raise StreamError(f"stream.partitions must be between 1 and {MAX_PARTITIONS}, not {partitions}.")
        create_file(path, partitions)
        self.name = name
        self.partitions = partitions
        self._path = path
        self._clock = clock
        self._connections = Connections(path)
        self._waiting: deque[_Call] = deque()
        self._leader = Lock()
        self._check_file()

    def append(self, events: Sequence[tuple[str, bytes]]) -> None:
        """Append (key, value) pairs, all or none; returns only once they are synced to disk.

        Concurrent calls share a transaction. Raises StreamFullError when trying again later may help, else
        StreamError. Whoever tries again must bear a repetition: a sync can fail after the bytes arrived.
        """
        if not events:
            return
        call = _Call([(partition_of(key, self.partitions), key, value) for key, value in events])
        self._waiting.append(call)
        with self._leader:  # Whoever gets in commits for all who wait; they then find their call done.
            while not call.done:
                self._commit_group()
        if call.error is not None:
            raise call.error

    def heads(self) -> list[PartitionHead]:
        """One head per partition, in partition order; cheap enough to poll."""
        with self._connections.take() as connection:
            return select_heads(connection)

    def read(self, partition: int, offset: int, max_rows: int, max_bytes: int) -> list[Record]:
        """Records from `offset` on, in order: at most `max_rows`; only a lone first one exceeds `max_bytes`.

        Raises StreamError for an offset that retention has removed or that was never given out: going on from
        elsewhere would skip events in silence.
        """
        with self._connections.take() as connection:
            # One snapshot, so that retention cannot get between the check and the rows.
            connection.execute("BEGIN")
            self._check_offset(self._known(select_head(connection, partition), partition), offset)
            records = select_records(connection, partition, offset, max_rows, max_bytes)
            connection.execute("COMMIT")
        return records

    def retain(self, committed: dict[int, int], before_ms: int) -> int:
        """Drop records appended before `before_ms` and below their partition's committed offset.

        Returns how many. Only a prefix is dropped: a record stays while an earlier one of its partition does.
        """
        return sum(self._retain_partition(*entry, before_ms) for entry in committed.items())

    def close(self) -> None:
        """Finish the append under way and release the file; later calls raise StreamError."""
        with self._leader:
            self._connections.close()

    def _check_file(self) -> None:
        with self._connections.take() as connection:
            if connection.execute("PRAGMA application_id").fetchone() != (APPLICATION_ID,):
                raise not_a_stream(self._path)
            stored = len(select_heads(connection))
        if stored != self.partitions:
            raise StreamError(
                f"The event stream {self._path} has {stored} partitions but stream.partitions is "
                f"{self.partitions}; set it to {stored}, or move the file away once all of it is processed."
            )

    def _commit_group(self) -> None:
        group: list[_Call] = []
        error: StreamError | None = StreamError("The append failed with another one of the same transaction.")
        try:
            self._take_waiting(group)
            self._commit(pack(chain.from_iterable(call.events for call in group), self._clock()))
            error = None
        except StreamError as failure:
            error = failure
        finally:
            for call in group:
                call.error, call.done = error, True

    def _take_waiting(self, group: list[_Call]) -> None:
        size = 0
        while self._waiting and size < MAX_GROUP_BYTES:
            group.append(self._waiting.popleft())
            size += group[-1].bytes

    def _commit(self, blocks: list[NewBlock]) -> None:
        with self._connections.take() as connection:
            connection.execute("BEGIN IMMEDIATE")
            insert_blocks(connection, blocks)
            connection.execute("COMMIT")

    def _known(self, head: PartitionHead | None, partition: int) -> PartitionHead:
        if head is None:
            raise StreamError(f"The event stream {self._path} has no partition {partition}.")
        return head

    def _check_offset(self, head: PartitionHead, offset: int) -> None:
        if not head.earliest <= offset <= head.next:
            raise StreamError(
                f"Offset {offset} of partition {head.partition} is not in the event stream {self._path}, "
                f"which holds {head.earliest} to {head.next}; file and committed offsets do not match."
            )

    def _retain_partition(self, partition: int, committed: int, before_ms: int) -> int:
        dropped = 0
        while chunk := self._retain_chunk(partition, committed, before_ms):
            dropped += chunk
            time.sleep(RETAIN_PAUSE_SECONDS)
        return dropped

    def _retain_chunk(self, partition: int, committed: int, before_ms: int) -> int:
        with self._connections.take() as connection:
            connection.execute("BEGIN IMMEDIATE")
            head = self._known(select_head(connection, partition), partition)
            dropped = drop_chunk(connection, head, committed, before_ms)
            connection.execute("COMMIT")
        return dropped
