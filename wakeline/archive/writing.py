"""Writes the hours of the landing table that the archive does not have yet, or not all of."""

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from clickhouse_connect.driver.client import Client

from wakeline.archive.hours import Hour, Partitions, Version, read_versions, write_versions
from wakeline.archive.leases import Leases
from wakeline.archive.parquet import check_rows, write_parquet
from wakeline.archive.store import Store
from wakeline.clock import to_epoch_ms
from wakeline.errors import ArchiveError, WarehouseError
from wakeline.warehouse.client import FAULTS, first_line

_HOURS = """
    SELECT stream, toStartOfHour(appended_at) AS hour, partition, count(), min(offset), max(offset)
    FROM landing
    WHERE appended_at >= fromUnixTimestamp64Milli({first:Int64}) AND appended_at < fromUnixTimestamp64Milli({end:Int64})
    GROUP BY stream, hour, partition
    ORDER BY stream, hour, partition
"""


@dataclass(frozen=True, slots=True)
class Written:
    """A file that was written."""

    hour: Hour
    rows: int
    size: int


def archive_hours(
    client: Client, store: Store, leases: Leases, first_ms: int, end_ms: int, log: Callable[[str], None]
) -> Iterator[Written]:
    """Write each hour from `first_ms` up to `end_ms` whose rows are not all in the archive; each is said in `log`.

    A second time nothing is written unless rows have come. Raises ArchiveError, also when another run is at it,
    LeaseLostError and WarehouseError.
    """
    with leases.held():
        yield from _write_hours(client, store, leases, _landed(client, first_ms, end_ms), log)


def _write_hours(
    client: Client, store: Store, leases: Leases, landed: Mapping[Hour, Partitions], log: Callable[[str], None]
) -> Iterator[Written]:
    refused = []
    for hour, partitions in landed.items():
        versions = read_versions(store, hour)
        if len(versions) == 1 and _covers(versions[0].partitions, partitions):
            continue
        if not all(_covers(partitions, version.partitions) for version in versions):
            refused.append(hour)
            continue
        version = _write(client, store, leases, hour, versions)
        log(f"Archived {version.rows} rows of {hour} ({version.size} bytes)")
        yield Written(hour, version.rows, version.size)
    if refused:
        raise ArchiveError(
            f"Landing lacks rows of {refused[0]} that the archive has, and has others: run restore_hours for"
            f" {len(refused)} such hours first, so that none are lost."
        )


def _landed(client: Client, first_ms: int, end_ms: int) -> dict[Hour, Partitions]:
    try:
        rows = client.query(_HOURS, {"first": first_ms, "end": end_ms}).result_rows
    except FAULTS as error:
        raise WarehouseError(f"ClickHouse did not say what landing holds: {first_line(error)}") from error
    found: dict[Hour, dict[str, tuple[int, int, int]]] = {}
    for stream, start, partition, count, low, high in rows:
        found.setdefault(Hour(to_epoch_ms(start), stream), {})[str(partition)] = (count, low, high)
    return dict(sorted(found.items()))


def _covers(more: Partitions, less: Partitions) -> bool:
    """Whether one has all the rows that the other has, as far as counts and offsets tell."""
    return all(
        name in more and more[name][0] >= count and more[name][1] <= low and more[name][2] >= high
        for name, (count, low, high) in less.items()
    )


def _write(client: Client, store: Store, leases: Leases, hour: Hour, before: list[Version]) -> Version:
    with tempfile.TemporaryDirectory(prefix="wakeline-archive-") as folder:
        path = Path(folder, "events.parquet")
        with leases.kept():
            write_parquet(client, hour, path)
            partitions = check_rows(client, hour, path)
        with path.open("rb") as file:
            version = Version(partitions, path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())
        with leases.kept():
            # Named before it is there: cut off between the two, either file is known for what it is.
            write_versions(store, hour, [version, *before])
            store.upload(hour.file, path)
            write_versions(store, hour, [version])
    return version
