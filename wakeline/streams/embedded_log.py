"""The SQL of the embedded stream: what happens inside a transaction on one connection."""

import sqlite3
from contextlib import closing
from itertools import chain

from wakeline.streams.embedded_blocks import PARTITION_STRIDE, NewBlock, unpack
from wakeline.streams.protocol import PartitionHead, Record

# Retention holds the write lock for one chunk at a time, so one must be done in milliseconds.
RETAIN_CHUNK_BLOCKS = 256
RETAIN_CHUNK_BYTES = 4_194_304

_HEADS = "SELECT partition, earliest, next FROM heads ORDER BY partition"
_HEAD = "SELECT partition, earliest, next FROM heads WHERE partition = ?"
_SET_EARLIEST = "UPDATE heads SET earliest = ? WHERE partition = ?"
_BLOCKS = "SELECT id, appended_at_ms, keys, sizes, body FROM blocks WHERE id >= ? AND id < ? ORDER BY id"
_BLOCK_SIZES = """
SELECT id, appended_at_ms, length(body) FROM blocks WHERE id >= ? AND id < ? ORDER BY id LIMIT ?
"""
_SIZE = "SELECT coalesce(sum(length(body)), 0) FROM blocks"
_DELETE_BLOCKS = "DELETE FROM blocks WHERE id >= ? AND id < ?"
_INSERT_BLOCKS = f"""
INSERT INTO blocks
SELECT b.column1 * {PARTITION_STRIDE} + h.next + b.column2, b.column3, b.column4, b.column5, b.column6
FROM (VALUES __rows__) AS b JOIN heads AS h ON h.partition = b.column1
"""  # noqa: S608  # The stride is a constant.
_ADVANCE_NEXT = f"""
UPDATE heads SET next = max(next, coalesce((
    SELECT id % {PARTITION_STRIDE} + 1 FROM blocks
    WHERE id >= heads.partition * {PARTITION_STRIDE} AND id < (heads.partition + 1) * {PARTITION_STRIDE}
    ORDER BY id DESC LIMIT 1
), 0))
"""  # noqa: S608  # The stride is a constant.


def select_heads(connection: sqlite3.Connection) -> list[PartitionHead]:
    """One head per partition, in partition order."""
    return [PartitionHead(*row) for row in connection.execute(_HEADS).fetchall()]


def select_head(connection: sqlite3.Connection, partition: int) -> PartitionHead | None:
    """The head of a partition; None when there is no such partition."""
    row = connection.execute(_HEAD, (partition,)).fetchone()
    return None if row is None else PartitionHead(*row)


def insert_blocks(connection: sqlite3.Connection, blocks: list[NewBlock]) -> None:
    """Give the blocks their partitions' next offsets, in few statements because each costs."""
    places = ",".join(["(?, ?, ?, ?, ?, ?)"] * len(blocks))
    connection.execute(_INSERT_BLOCKS.replace("__rows__", places), tuple(chain.from_iterable(blocks)))
    connection.execute(_ADVANCE_NEXT)


def select_records(
    connection: sqlite3.Connection, partition: int, offset: int, max_rows: int, max_bytes: int
) -> list[Record]:
    """Records from `offset` on, at most `max_rows` and, after the first, within `max_bytes`."""
    found: list[Record] = []
    size = 0
    with closing(connection.execute(_BLOCKS, _ids(partition, offset, PARTITION_STRIDE))) as blocks:
        for record in chain.from_iterable(unpack(block, offset) for block in blocks):
            size += len(record.value)
            if found and size > max_bytes:
                break
            found.append(record)
            if len(found) >= max_rows:
                break
    return found


def select_size(connection: sqlite3.Connection) -> int:
    """Bytes of all blocks' values; a block dropped in part counts whole."""
    [[size]] = connection.execute(_SIZE).fetchall()
    return int(size)


def drop_chunk(connection: sqlite3.Connection, head: PartitionHead, committed: int, before_ms: int) -> int:
    """Drop one chunk of records below `committed` that were appended before `before_ms`; returns how many."""
    earliest = _end_of_chunk(connection, head, committed, before_ms)
    if earliest > head.earliest:
        # A block dropped in part stays until the rest of it may go; the head's `earliest` hides the part.
        connection.execute(_DELETE_BLOCKS, _ids(head.partition, 0, earliest))
        connection.execute(_SET_EARLIEST, (earliest, head.partition))
    return earliest - head.earliest


def _end_of_chunk(connection: sqlite3.Connection, head: PartitionHead, committed: int, before_ms: int) -> int:
    end, size = head.earliest, 0
    ids = _ids(head.partition, head.earliest, PARTITION_STRIDE)
    blocks = connection.execute(_BLOCK_SIZES, (*ids, RETAIN_CHUNK_BLOCKS)).fetchall()
    for row_id, appended_at_ms, body_bytes in blocks:
        if appended_at_ms >= before_ms or end >= committed or size > RETAIN_CHUNK_BYTES:
            break
        end = min(row_id % PARTITION_STRIDE + 1, committed)
        size += body_bytes
    return end


def _ids(partition: int, first: int, end: int) -> tuple[int, int]:
    """The range of row ids of blocks whose last offset is at least `first` and below `end`."""
    return partition * PARTITION_STRIDE + first, partition * PARTITION_STRIDE + end
