"""Puts archived hours back into the landing table, and so through every view behind it, each row once.

A part is noted down before it is inserted under a token of its own. One that was cut off is done again exactly so, and
ClickHouse leaves out of each table what that has.
"""

import hashlib
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from clickhouse_connect.driver.client import Client

from wakeline.activation.consent import said_in
from wakeline.activation.ledger.protocol import Ledger
from wakeline.archive.begun import BegunParts, DynamoBegunParts
from wakeline.archive.gaps import Archived, gaps_before
from wakeline.archive.hours import Hour, hour_of, read_versions
from wakeline.archive.leases import Leases
from wakeline.archive.parquet import loaded
from wakeline.archive.parts import Look, Part, Place, accepted_rows, insert_part, inserts_so_far, look
from wakeline.archive.store import Store
from wakeline.errors import ArchiveError
from wakeline.pipeline.classify import LandingRow
from wakeline.pipeline.lanes import Lease
from wakeline.warehouse.fence import require_open
from wakeline.warehouse.landing import Landing

# Tables remember their last 10,000 inserts, and one insert may be several of a table's, one for each month.
MAX_INSERTS_SINCE = 1_000


@dataclass(frozen=True, slots=True)
class Restored:
    """An hour: rows in the archive; of these those that landing had, those that the lanes have begun to ingest and
    those that were inserted (in a dry run: would be)."""

    hour: Hour
    archived: int
    landed: int
    begun: int
    inserted: int


@dataclass
class Restorer:
    """Restores from `store` into the landing table of `client`; `stream` is the one that the lanes ingest."""

    client: Client
    store: Store
    begun: BegunParts | DynamoBegunParts
    leases: Leases
    ledger: Ledger
    #: Names of the sources that are believed in what they say of others.
    trusted: Collection[str]
    #: Source -> purposes of which its yes counts only once it is confirmed.
    double_opt_in: Mapping[str, Collection[str]]
    stream: str
    log: Callable[[str], None]

    def __post_init__(self) -> None:
        self._landing = Landing(self.client, self.stream)
        self._ends: dict[int, int] = {}
        self._archived = Archived(self.store, [])

    def restore(self, first_ms: int, end_ms: int, dry_run: bool) -> Iterator[Restored]:
        """Restore, or only look at, the hours from `first_ms` up to `end_ms`, oldest first; each is said in the log.

        A restore that was cut off is finished first, whatever its hours. Raises ArchiveError for a file that is
        missing or damaged, for an hour that an earlier one must be restored before, and when another run is at it;
        LeaseLostError; WarehouseError, also while a rebuild that was cut off must be done again.
        """
        with self.leases.held() as lease:
            if not dry_run:
                require_open(self.client)
            hours = self._hours()
            self._archived = Archived(self.store, [hour for hour in hours if hour.stream == self.stream])
            self._finish_begun(dry_run)
            self._ends = self._known_ends()
            for hour in hours:
                if first_ms <= hour.start_ms < end_ms:
                    restored = self._restore(hour, None if dry_run else lease)
                    self.log(_sentence(restored, dry_run))
                    yield restored

    def _known_ends(self) -> dict[int, int]:
        """Where lanes would go on: behind landing, and behind what they have begun and will ingest again."""
        ends = self._landing.committed()
        for batch in self.leases.begun_batches():
            for partition, (first, end) in batch.items():
                if first <= ends.get(partition, 0):
                    ends[partition] = max(end, ends.get(partition, 0))
        return ends

    def _hours(self) -> list[Hour]:
        files = (
            name.removesuffix(".json").removesuffix(".parquet") + ".parquet" for name in self.store.names("stream=")
        )
        return sorted({hour for file in files if (hour := hour_of(file)) is not None})

    def _finish_begun(self, dry_run: bool) -> None:
        for part, inserts_before in self.begun.all():
            if dry_run:
                self.log(f"A restore was cut off in {part.hour}; the next one that is no dry run finishes that first.")
                continue
            if inserts_so_far(self.client) - inserts_before > MAX_INSERTS_SINCE:
                raise ArchiveError(
                    f"A restore was cut off in {part.hour} so long ago that ClickHouse may not know what it has of it;"
                    " see 'A restore that was cut off' in docs/archive.md."
                )
            with self._file(part.hour) as table:
                self._insert(table, part)
            self.log(f"Finished what was cut off in {part.hour}")

    def _restore(self, hour: Hour, lease: Lease | None) -> Restored:
        """Without a lease nothing is written."""
        landed = begun = inserted = 0
        with self._file(hour) as table:
            place: Place | None = (0, 0)
            while place is not None:
                found = self._look(table, hour, place)
                if lease and self._is_ahead(hour, found) and self.leases.pause_lanes():
                    self._ends = self._known_ends()
                    continue  # What the lanes did until they stood still is not in it.
                self._require_no_gap(hour, found)
                if lease and found.after:
                    self._record(lease, accepted_rows(self.client, table, place, found.after))
                if found.ranges and lease:
                    self._begin(table, Part(hour, found.ranges))
                landed, begun, inserted = landed + found.landed, begun + found.left, inserted + len(found.missing)
                place = found.after
        return Restored(hour, landed + begun + inserted, landed, begun, inserted)

    def _look(self, table: str, hour: Hour, place: Place) -> Look:
        batches = self.leases.begun_batches() if hour.stream == self.stream else []

        def is_begun(place: Place) -> bool:
            bounds = [batch[place[0]] for batch in batches if place[0] in batch]
            return any(first <= place[1] < end for first, end in bounds)

        return look(self.client, table, hour.stream, place, is_begun)

    def _is_ahead(self, hour: Hour, found: Look) -> bool:
        """Whether a lane would ingest some of it next, and at the same time."""
        if hour.stream != self.stream or not found.missing:
            return False
        return any(offset >= self._ends.get(partition, 0) for partition, offset in found.missing)

    def _require_no_gap(self, hour: Hour, found: Look) -> None:
        if hour.stream != self.stream:
            return
        gaps = gaps_before(found.missing, self._ends)
        if gaps:
            self._archived.require_none_before(hour, gaps)
        for partition, (end, first) in gaps.items():
            self.log(
                f"Before {hour} offsets {end} to {first - 1} of partition {partition} are neither in landing nor in the"
                " archive; lanes go on behind them"
            )
        for partition, offset in found.missing:
            self._ends[partition] = max(offset + 1, self._ends.get(partition, 0))

    def _record(self, lease: Lease, rows: Sequence[LandingRow]) -> None:
        """Before they are inserted, and whether or not landing has them: the ledger may be the older of the two."""
        with self.leases.kept():
            self.ledger.record(lease, *said_in(rows, self.trusted, self.double_opt_in))

    def _begin(self, table: str, part: Part) -> None:
        self.begun.add(part, inserts_so_far(self.client))
        self._insert(table, part)

    def _insert(self, table: str, part: Part) -> None:
        with self.leases.kept():
            self._landing.prepare()
            insert_part(self.client, table, part)
        self.begun.remove(part)

    @contextmanager
    def _file(self, hour: Hour) -> Iterator[str]:
        with tempfile.TemporaryDirectory(prefix="wakeline-restore-") as folder, self.leases.kept():
            path = Path(folder, "events.parquet")
            if not self.store.download(hour.file, path):
                raise ArchiveError(f"{hour.file} is missing in the archive {self.store}; restore it from a backup.")
            self._require_whole(hour, path)
            with loaded(self.client, hour, path) as table:
                yield table

    def _require_whole(self, hour: Hour, path: Path) -> None:
        versions = read_versions(self.store, hour)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest not in {version.sha256 for version in versions}:
            raise ArchiveError(
                f"{hour.file} in the archive {self.store} is damaged: it is not what its manifest says was written;"
                " restore it from a backup, or delete both and archive the hour again."
            )


def _sentence(restored: Restored, dry_run: bool) -> str:
    verb = "would be inserted" if dry_run else "inserted"
    begun = f", {restored.begun} begun by a lane" if restored.begun else ""
    return (
        f"{restored.hour}: {restored.archived} rows in the archive, {restored.landed} in landing{begun},"
        f" {restored.inserted} {verb}"
    )
