"""How the embedded stream packs records into rows: one block per partition and commit.

Every SQLite call gives up the interpreter lock and may wait milliseconds to get it back from a busy thread.
With a row per record a large append would take seconds; a block is one call, however many records it holds.
"""

from collections.abc import Iterable, Iterator

import orjson

from wakeline.streams.protocol import Record

# A reader decodes whole blocks, so one must stay small next to the bytes it asks for.
MAX_BLOCK_BYTES = 262_144

# A block's row id is partition * PARTITION_STRIDE + offset of its last record; row ids end at 2**63.
PARTITION_STRIDE = 1 << 48
MAX_PARTITIONS = 1 << 15

#: Partition, key and value of a record that has no offset yet.
RoutedEvent = tuple[int, str, bytes]
#: Partition, last record's distance from the partition's next offset, time of the append, keys and sizes as
#: JSON lists, and all values one after the other.
NewBlock = tuple[int, int, int, str, str, bytes]
#: Row id, time of the append, keys, sizes, values.
StoredBlock = tuple[int, int, str, str, bytes]


def pack(events: Iterable[RoutedEvent], appended_at_ms: int) -> list[NewBlock]:
    """Blocks that hold all events, each partition's in the order they came."""
    by_partition: dict[int, list[tuple[str, bytes]]] = {}
    for partition, key, value in events:
        by_partition.setdefault(partition, []).append((key, value))
    return [
        (partition, last, appended_at_ms, *_columns(rows))
        for partition, all_rows in by_partition.items()
        for last, rows in _cut(all_rows)
    ]


def unpack(block: StoredBlock, offset: int) -> Iterator[Record]:
    """The records of a block from `offset` on."""
    row_id, appended_at_ms, keys_json, sizes_json, body = block
    partition, last = divmod(row_id, PARTITION_STRIDE)
    keys, sizes = orjson.loads(keys_json), orjson.loads(sizes_json)
    start = 0
    for at, key, size in zip(range(last - len(keys) + 1, last + 1), keys, sizes, strict=True):
        if at >= offset:
            yield Record(partition, at, appended_at_ms, key, body[start : start + size])
        start += size


def _cut(rows: list[tuple[str, bytes]]) -> Iterator[tuple[int, list[tuple[str, bytes]]]]:
    start = size = 0
    for end, (_, value) in enumerate(rows, 1):
        size += len(value)
        if size >= MAX_BLOCK_BYTES or end == len(rows):
            yield end - 1, rows[start:end]
            start, size = end, 0


def _columns(rows: list[tuple[str, bytes]]) -> tuple[str, str, bytes]:
    keys = orjson.dumps([key for key, _ in rows]).decode()
    sizes = orjson.dumps([len(value) for _, value in rows]).decode()
    return keys, sizes, b"".join([value for _, value in rows])
