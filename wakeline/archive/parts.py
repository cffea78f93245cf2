"""The parts that an archived hour is restored in: rows that landing lacks, few enough to be one block of an insert."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from clickhouse_connect.driver.client import Client

from wakeline.archive.hours import Hour
from wakeline.errors import WarehouseError
from wakeline.pipeline.classify import LandingRow
from wakeline.warehouse.client import FAULTS, first_line

# ClickHouse skips a repetition block by block, and cuts an insert into blocks at 256 MB.
PART_ROWS = 10_000
PART_BYTES = 67_108_864

#: Partition, first and last offset; both are rows of the file, as are those between them that it has.
Range = tuple[int, int, int]
#: Partition and offset.
Place = tuple[int, int]

_LOOK = """
    WITH part AS (
        SELECT partition, offset, length(message) AS size FROM {table:Identifier}
        WHERE (partition, offset) >= ({partition:UInt16}, {offset:UInt64})
        ORDER BY partition, offset LIMIT {rows:UInt32}
    )
    SELECT partition, offset, size, (partition, offset) IN (
        SELECT partition, offset FROM landing
        WHERE stream = {stream:String} AND (partition, offset) IN (SELECT partition, offset FROM part)
    )
    FROM part ORDER BY partition, offset
"""
# Of one thread, in order: so the same rows are the same block.
_INSERT = """
    INSERT INTO landing SELECT * FROM {table:Identifier}
    WHERE arrayExists(
        (p, low, high) -> partition = p AND offset BETWEEN low AND high,
        {partitions:Array(UInt16)}, {lows:Array(UInt64)}, {highs:Array(UInt64)}
    )
    ORDER BY partition, offset
"""
_ACCEPTED = """
    SELECT partition, offset, toUnixTimestamp64Milli(appended_at), toUnixTimestamp64Milli(received_at), source, message,
        message_id, id, user_id, anonymous_id, type, event, toUnixTimestamp64Milli(occurred_at), position
    FROM {table:Identifier}
    WHERE status = 'accepted'
      AND (partition, offset) >= ({partition:UInt16}, {offset:UInt64})
      AND (partition, offset) < ({end_partition:UInt16}, {end_offset:UInt64})
    ORDER BY partition, offset
"""
_INSERTS = """
    SELECT max(max_block_number) FROM system.parts
    WHERE database = currentDatabase() AND table = 'landing' AND active
"""


@dataclass(frozen=True, slots=True)
class Part:
    """Rows of an hour's file that are inserted together."""

    hour: Hour
    ranges: Sequence[Range]

    @property
    def token(self) -> str:
        """The deduplication token: the stream and its rows, nothing else."""
        spans = ",".join(f"{partition}:{low}-{high}" for partition, low, high in self.ranges)
        return f"restore/{self.hour.stream}/{hashlib.sha256(spans.encode()).hexdigest()}"


@dataclass(frozen=True, slots=True)
class Look:
    """What the next rows of a file are to landing; the caller said to leave the `left`, and goes on at `after`."""

    landed: int
    left: int
    missing: Sequence[Place]
    ranges: Sequence[Range]
    after: Place | None


def look(client: Client, table: str, stream: str, start: Place, leave: Callable[[Place], bool]) -> Look:
    """What landing lacks of the next rows from `start` on."""
    parameters = {"table": table, "stream": stream, "partition": start[0], "offset": start[1], "rows": PART_ROWS}
    try:
        rows = list(client.query(_LOOK, parameters).result_rows)
    except FAULTS as error:
        raise WarehouseError(f"ClickHouse did not compare the archive with landing: {first_line(error)}") from error
    rows = rows[: _fitting([size for _, _, size, _ in rows])]
    known = [((partition, offset), landed, leave((partition, offset))) for partition, offset, _, landed in rows]
    missing = [place for place, landed, left in known if not landed and not left]
    return Look(
        landed=sum(landed for _, landed, _ in known),
        left=sum(left and not landed for _, landed, left in known),
        missing=missing,
        ranges=_ranges([place for place, _, _ in known], set(missing)),
        after=(rows[-1][0], rows[-1][1] + 1) if rows else None,
    )


def insert_part(client: Client, table: str, part: Part) -> None:
    """Insert the rows into landing and all views behind it; again, each table takes what it has not."""
    parameters = {
        "table": table,
        "partitions": [partition for partition, _, _ in part.ranges],
        "lows": [low for _, low, _ in part.ranges],
        "highs": [high for _, _, high in part.ranges],
    }
    settings = {"insert_deduplication_token": part.token, "max_insert_threads": 1, "max_threads": 1}
    try:
        client.command(_INSERT, parameters, settings=settings)
    except FAULTS as error:
        raise WarehouseError(f"ClickHouse did not take a part of {part.hour}: {first_line(error)}") from error


def accepted_rows(client: Client, table: str, start: Place, end: Place) -> list[LandingRow]:
    """The accepted rows of a file from `start` up to `end`, as they were when they were ingested."""
    parameters = {
        "table": table,
        "partition": start[0],
        "offset": start[1],
        "end_partition": end[0],
        "end_offset": end[1],
    }
    try:
        return [_accepted(*row) for row in client.query(_ACCEPTED, parameters).result_rows]
    except FAULTS as error:
        raise WarehouseError(f"ClickHouse did not give rows of the archive: {first_line(error)}") from error


def _accepted(
    partition: int, offset: int, appended_at_ms: int, received_at_ms: int, source: str, message: str, *rest: Any
) -> LandingRow:
    message_id, id_, user_id, anonymous_id, type_, event, occurred_at_ms, position = rest
    raw = message.encode()
    return LandingRow(
        partition, offset, appended_at_ms, received_at_ms, source, raw,
        message_id=message_id, id=id_, user_id=user_id, anonymous_id=anonymous_id, type=type_, event=event,
        occurred_at_ms=occurred_at_ms, position=position, parsed=orjson.loads(raw),
    )  # fmt: skip


def inserts_so_far(client: Client) -> int:
    """A number that grows by at least one with each insert into landing."""
    try:
        return int(client.query(_INSERTS).result_rows[0][0])
    except FAULTS as error:
        raise WarehouseError(f"ClickHouse did not answer about landing: {first_line(error)}") from error


def _fitting(sizes: Sequence[int]) -> int:
    """How many of the first rows are within the bytes of a part; at least one."""
    total = 0
    for index, size in enumerate(sizes):
        total += size
        if total > PART_BYTES and index:
            return index
    return len(sizes)


def _ranges(places: Sequence[Place], missing: set[Place]) -> list[Range]:
    """The missing of the places, which are in order, as ranges that have no other of the places in them."""
    ranges: list[Range] = []
    grows = False
    for partition, offset in places:
        if (partition, offset) not in missing:
            grows = False
        elif grows and ranges[-1][0] == partition:
            ranges[-1] = (partition, ranges[-1][1], offset)
        else:
            ranges.append((partition, offset, offset))
            grows = True
    return ranges
