"""The default event stream: an append-only log in one SQLite file on a local disk, for one machine.

Any number of threads and processes append and read at once. A commit is synced to disk before `append`
returns, and readers never wait for writers (write-ahead log, https://sqlite.org/wal.html).
"""

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
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
    select_size,
)
from wakeline.streams.offsets import require_within
from wakeline.streams.protocol import Facts, Lag, PartitionHead, Record, every, partition_of
from wakeline.streams.sharing import share_out

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
        self._partitions = partitions
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
        call = _Call([(partition_of(key, self._partitions), key, value) for key, value in events])
        self._waiting.append(call)
        with self._leader:  # Whoever gets in commits for all who wait; they then find their call done.
            while not call.done:
                self._commit_group()
        if call.error is not None:
            raise call.error

    def partitions(self) -> list[int]:
        """All of them: their number never changes."""
        return list(range(self._partitions))

    def earliest(self, partition: int) -> int:
        """The first offset that is kept."""
        with self._connections.take() as connection:
            return self._known(select_head(connection, partition), partition).earliest

    def read(
        self, starts: Mapping[int, int], max_rows: int, max_bytes: int, max_wait_seconds: float = 0
    ) -> list[Record]:
        """Records of each partition from its start on; returns at once when there is none.

        Raises StreamError for an offset that retention has removed or that was never given out.
        """
        with self._connections.take() as connection:
            # One snapshot, so that retention cannot get between the check and the rows.
            connection.execute("BEGIN")
            heads = [self._checked(select_head(connection, partition), partition, starts) for partition in starts]
            unread = [head.partition for head in heads if starts[head.partition] < head.next]
            records = share_out(
                unread,
                lambda partition, rows, size: select_records(connection, partition, starts[partition], rows, size),
                max_rows,
                max_bytes,
            )
            connection.execute("COMMIT")
        return records

    def commit(self, committed: Mapping[int, int]) -> None:
        """Nothing to tell: there is no broker."""

    def lag(self, committed: Mapping[int, int], is_meant: Callable[[int], bool] = every) -> Lag:
        """Unread events of these partitions, and the age of the oldest of them; cheap enough to poll."""
        with self._connections.take() as connection:
            heads = [head for head in select_heads(connection) if is_meant(head.partition)]
            starts = {head.partition: max(head.earliest, committed.get(head.partition, 0)) for head in heads}
            unread = [head for head in heads if head.next > starts[head.partition]]
            oldest = [select_records(connection, head.partition, starts[head.partition], 1, 1) for head in unread]
        waiting_since_ms = min((record.appended_at_ms for found in oldest for record in found), default=None)
        seconds = 0.0 if waiting_since_ms is None else max(0, self._clock() - waiting_since_ms) / 1000
        return Lag(sum(head.next - starts[head.partition] for head in unread), seconds)

    def facts(self) -> Facts:
        """The file's own id and its partitions; what nobody has read is kept for ever."""
        with self._connections.take() as connection:
            [[identity]] = connection.execute("PRAGMA user_version").fetchall()
        return Facts(str(identity), tuple(self.partitions()), None)

    def verify(self, committed: Mapping[int, int], last_read_ms: int | None = None) -> None:
        """Raises StreamError for an offset that is not between a partition's first and its end."""
        for head in self.heads():
            if head.partition in committed:
                require_within(str(self._path), head, committed[head.partition])

    def heads(self) -> list[PartitionHead]:
        """One head per partition, in partition order; cheap enough to poll."""
        with self._connections.take() as connection:
            return select_heads(connection)

    def size_bytes(self) -> int:
        """Bytes of the values that are kept, within a block; cheap enough for every start, not for every append."""
        with self._connections.take() as connection:
            return select_size(connection)

    def retain(self, committed: Mapping[int, int], before_ms: int) -> int:
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
        if stored != self._partitions:
            raise StreamError(
                f"The event stream {self._path} has {stored} partitions but stream.partitions is "
                f"{self._partitions}; set it to {stored}, or move the file away once all of it is processed."
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

    def _checked(self, head: PartitionHead | None, partition: int, starts: Mapping[int, int]) -> PartitionHead:
        known = self._known(head, partition)
        require_within(str(self._path), known, starts[partition])
        return known

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
