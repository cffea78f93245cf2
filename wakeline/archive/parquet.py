"""Parquet between ClickHouse and a local file: ClickHouse itself writes and reads it."""

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clickhouse_connect.driver.client import Client

from wakeline.archive.hours import HOUR_MS, Hour, Partitions
from wakeline.errors import ArchiveError, WarehouseError
from wakeline.warehouse.client import FAULTS, first_line

_COPY_BYTES = 1_048_576

_SELECT = """
    SELECT * FROM landing
    WHERE stream = {stream:String}
      AND appended_at >= fromUnixTimestamp64Milli({first:Int64}) AND appended_at < fromUnixTimestamp64Milli({end:Int64})
    ORDER BY partition, offset
"""
# Written in one thread, so that the same rows give the same file.
_WRITING = {
    "max_threads": 1,
    "output_format_parquet_compression_method": "zstd",
    "output_format_parquet_parallel_encoding": 0,
}
_PARTITIONS = "SELECT toString(partition), count(), min(offset), max(offset) FROM {table:Identifier} GROUP BY partition"
_CREATE = "CREATE TABLE {table:Identifier} AS landing ENGINE = MergeTree ORDER BY (partition, offset)"
_DROP = "DROP TABLE IF EXISTS {table:Identifier}"
# What a killed process left.
_LEFT = """
    SELECT name FROM system.tables
    WHERE database = currentDatabase() AND startsWith(name, {prefix:String})
      AND metadata_modification_time < now() - INTERVAL 1 DAY
"""
_PREFIX = "archive_scratch_"


def write_parquet(client: Client, hour: Hour, path: Path) -> None:
    """The rows of landing of an hour, in order, into a file at `path`. Raises WarehouseError."""
    parameters = {"stream": hour.stream, "first": hour.start_ms, "end": hour.start_ms + HOUR_MS}
    try:
        with (
            client.raw_stream(_SELECT, parameters, settings=_WRITING, fmt="Parquet") as stream,
            path.open("wb") as file,
        ):
            shutil.copyfileobj(stream, file, _COPY_BYTES)
    except FAULTS as error:
        raise WarehouseError(f"ClickHouse did not write {hour} as Parquet: {first_line(error)}") from error


@contextmanager
def loaded(client: Client, hour: Hour, path: Path) -> Iterator[str]:
    """The table that holds the rows of a file meanwhile. Raises ArchiveError when the file cannot be read."""
    table = f"{_PREFIX}{secrets.token_hex(8)}"
    try:
        _drop_left(client)
        client.command(_CREATE, {"table": table})
        try:
            with path.open("rb") as file:
                client.raw_insert(table, insert_block=file, fmt="Parquet")
        except FAULTS as error:
            raise ArchiveError(f"The archive's file of {hour} cannot be read: {first_line(error)}") from error
        yield table
    finally:
        client.command(_DROP, {"table": table})


def check_rows(client: Client, hour: Hour, path: Path) -> Partitions:
    """What ClickHouse reads back from a file."""
    with loaded(client, hour, path) as table:
        rows = client.query(_PARTITIONS, {"table": table}).result_rows
    return {name: (count, low, high) for name, count, low, high in rows}


def _drop_left(client: Client) -> None:
    for [table] in client.query(_LEFT, {"prefix": _PREFIX}).result_rows:
        client.command(_DROP, {"table": table})
