"""Makes a backup of all state while the stack works; why in this order is in docs/decisions/0021-backups.md."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from wakeline.backup.holding import standing_still
from wakeline.backup.manifest import Manifest, files_below, write_manifest
from wakeline.backup.sqlite import Pinned
from wakeline.backup.warehouse import BASE, CHANGES, WarehouseBackups
from wakeline.clock import Clock
from wakeline.durable import sync
from wakeline.engines import open_database
from wakeline.errors import BackupError, RebuildError
from wakeline.pipeline.factory import lane_store
from wakeline.replay.standstill import Leases
from wakeline.settings import Settings
from wakeline.warehouse.client import connect
from wakeline.warehouse.landing import Landing
from wakeline.warehouse.server import backups_dir

#: Within a backup.
WAREHOUSE, ARCHIVE, SECRETS, SETTINGS_FILE = "warehouse", "archive", "secrets.json", "settings.toml"

_STDERR = 2


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a backup is: `say` is told each step, `show` the share of it that is done where that is known."""

    say: Callable[[str], None]
    show: Callable[[float], None]


@dataclass
class Backup:
    """One backup into `target`, which must not be there yet; `while_held` is a command to run meanwhile."""

    settings: Settings
    settings_file: Path | None
    target: Path
    clock: Clock
    progress: Progress
    while_held: Sequence[str] = ()
    sleep: Callable[[float], None] = time.sleep

    def make(self) -> Manifest:
        """Returns when all of it is on disk. Raises WakelineError, and then has left nothing at `target`."""
        if self.target.exists():
            raise BackupError(f"{self.target} is there already; name a folder that is not.")
        with ExitStack() as parts:
            database = open_database(self.settings)
            parts.callback(database.dispose)
            lanes = lane_store(self.settings, database)
            lease_ms = round(self.settings.lane.lease_seconds * 1000)
            leases = Leases(lanes, f"backup-{os.getpid()}", self.clock, self.sleep, lease_ms)
            parts.enter_context(_alone(leases))
            return self._make(leases, parts)

    def _make(self, leases: Leases, parts: ExitStack) -> Manifest:
        draft = parts.enter_context(_draft_of(self.target))
        warehouse = parts.enter_context(self._warehouse())
        if warehouse:
            self.progress.say("warehouse, while the lanes work")
            warehouse.back_up(BASE)
        pinned, facts = self._hold(leases, warehouse, parts)
        for one in pinned:
            self.progress.say(one.path.name)
            with one:
                one.copy(draft / one.path.name, self.progress.show)
        self._copy_files(draft)
        clickhouse = warehouse.version() if warehouse else ""
        return self._finish(draft, {**self._settings_facts(), **facts, "clickhouse": clickhouse})

    def _hold(
        self, leases: Leases, warehouse: WarehouseBackups | None, parts: ExitStack
    ) -> tuple[list[Pinned], dict[str, Any]]:
        """The moment that the backup is of: what is pinned here is copied when the lanes are at work again."""
        self.progress.say("what has changed meanwhile, while the lanes stand still")
        with standing_still(leases):
            began = time.monotonic()
            if warehouse:
                warehouse.back_up(CHANGES, BASE)
            self._run_command()
            pinned = [parts.enter_context(Pinned(path)) for path in sqlite_files(self.settings)]
            offsets = self._landed() if warehouse else leases.lanes.committed()
            held_at_ms = self.clock()
        return pinned, {
            "held_at_ms": held_at_ms,
            "held_seconds": round(time.monotonic() - began, 3),
            "offsets": offsets,
        }

    def _run_command(self) -> None:
        if not self.while_held:
            return
        try:
            # Its output is none of the backup's result.
            ended = subprocess.run(self.while_held, check=False, stdout=_STDERR).returncode
        except OSError as error:
            raise BackupError(f"The command {self.while_held[0]} cannot be run: {error.strerror}.") from error
        if ended:
            raise BackupError(f"The command {self.while_held[0]} ended with exit code {ended}.")

    @contextmanager
    def _warehouse(self) -> Iterator[WarehouseBackups | None]:
        """None for an outside ClickHouse, whose backups are its own affair."""
        warehouse = self.settings.warehouse
        if not warehouse.embedded:
            yield None
            return
        folder = backups_dir(self.settings.data_dir.resolve() / "warehouse")
        shutil.rmtree(folder, ignore_errors=True)  # Of a backup that was killed; nobody else makes one now.
        client = connect(warehouse)
        try:
            yield WarehouseBackups(client, warehouse.database, folder, self.sleep)
        finally:
            client.close()
            shutil.rmtree(folder, ignore_errors=True)

    def _landed(self) -> dict[int, int]:
        client = connect(self.settings.warehouse)
        try:
            return Landing(client, self.settings.stream.name).committed()
        finally:
            client.close()

    def _copy_files(self, draft: Path) -> None:
        data_dir = self.settings.data_dir
        shutil.copy2(data_dir / SECRETS, draft / SECRETS)
        if self.settings_file:
            shutil.copyfile(self.settings_file, draft / SETTINGS_FILE)
        if not self._archive_url() and (data_dir / ARCHIVE).is_dir():
            self.progress.say("archive")
            shutil.copytree(data_dir / ARCHIVE, draft / ARCHIVE)
        if self.settings.warehouse.embedded:
            self.progress.say("warehouse")
            shutil.move(backups_dir(data_dir.resolve() / "warehouse"), draft / WAREHOUSE)

    def _archive_url(self) -> str | None:
        return self.settings.archive.url or None

    def _settings_facts(self) -> dict[str, Any]:
        settings = self.settings
        return {
            "wakeline": version("wakeline"),
            "stream": settings.stream.name,
            "stream_kind": settings.stream.kind,
            "ledger_kind": settings.ledger.kind,
            "warehouse_embedded": settings.warehouse.embedded,
            "database": settings.warehouse.database,
            "archive_url": self._archive_url(),
        }

    def _finish(self, draft: Path, facts: dict[str, Any]) -> Manifest:
        self.progress.say("checksums")
        total = sum(path.stat().st_size for path in draft.rglob("*") if path.is_file())
        done = 0

        def saw(size: int) -> None:
            nonlocal done
            done += size
            self.progress.show(done / max(total, 1))

        manifest = write_manifest(draft, facts, list(files_below(draft, saw)))
        draft.rename(self.target)
        sync(self.target.parent)
        return manifest


def sqlite_files(settings: Settings) -> list[Path]:
    """The files that are copied as they are at one moment; those of other kinds of stream and ledger are elsewhere."""
    files = [settings.data_dir / "alerts.sqlite"]
    files += [settings.stream_path] if settings.stream.kind == "embedded" else []
    files += [settings.ledger_path] if settings.ledger.kind == "sqlite" else []
    files += [path for name in ("spool", "refused") for path in sorted(settings.data_dir.glob(f"{name}-*.sqlite"))]
    return [path for path in files if path.exists()]


@contextmanager
def _alone(leases: Leases) -> Iterator[None]:
    """Nothing exchanges tables or writes into landing beside the lanes, and there is no second backup."""
    with ExitStack() as held:
        try:
            held.enter_context(leases.alone())
            held.enter_context(leases.no_restore())
        except RebuildError as error:
            raise BackupError(
                "Another backup, a rebuild of profiles, or a job of the archive is at work; back up when it has ended."
            ) from error
        yield


@contextmanager
def _draft_of(target: Path) -> Iterator[Path]:
    """A folder beside the target that is no backup yet; gone at the end unless it was renamed."""
    draft = target.with_name(f".{target.name}.partial")
    try:
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700, parents=True)
        yield draft
    except OSError as error:
        raise BackupError(f"The backup cannot be written to {target}: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
