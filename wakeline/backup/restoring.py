"""Restores a backup into an empty data folder: built beside it, and put in its place when it is whole."""

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from wakeline.activation.gates import RESTORED
from wakeline.backup.making import ARCHIVE, SECRETS, WAREHOUSE, Progress
from wakeline.backup.manifest import Manifest, check_files, read_manifest
from wakeline.backup.server import serving
from wakeline.backup.warehouse import BASE, CHANGES, WarehouseBackups
from wakeline.clock import Clock, to_iso
from wakeline.durable import sync
from wakeline.engines import Database, open_database
from wakeline.errors import BackupError
from wakeline.pipeline.factory import lane_store, open_ledger
from wakeline.replay.audit import Doing, Result, audited_on, keep_done, open_audit
from wakeline.settings import Settings, with_secrets
from wakeline.streams.factory import open_stream
from wakeline.warehouse.client import connect
from wakeline.warehouse.landing import Landing
from wakeline.warehouse.server import backups_dir


@dataclass
class Restore:
    """One restore from `source`; the settings need no secrets, which are in the backup.

    `stopped_at_ms` is when the old stack sent its last mail, as far as known; what occurred before then is held. The
    audit of the restored ledger names `done_by`.
    """

    settings: Settings
    settings_file: Path | None
    source: Path
    stopped_at_ms: int | None
    done_by: str
    clock: Clock
    progress: Progress
    sleep: Callable[[float], None] = time.sleep

    def run(self) -> Manifest:
        """Returns when the data folder is whole. Raises WakelineError, and then has left nothing in its place."""
        with self._audited() as result:
            manifest = self._run()
            result |= manifest.facts()
        return manifest

    def _audited(self) -> AbstractContextManager[Result]:
        if self._brings_the_ledger:
            return nullcontext({})  # There is none yet, and making one would fill the folder that must be empty.
        return audited_on(self.settings, self.clock, self._doing())

    @property
    def _brings_the_ledger(self) -> bool:
        return self.settings.ledger.kind == "sqlite"

    def _doing(self) -> Doing:
        stopped_at = "" if self.stopped_at_ms is None else to_iso(self.stopped_at_ms)
        return Doing("restore", self.done_by, "", {"source": str(self.source.resolve()), "stopped_at": stopped_at})

    def _run(self) -> Manifest:
        began_ms, manifest = self.clock(), read_manifest(self.source)
        self._require_same(manifest)
        self._require_time(manifest)
        self._require_empty()
        self.progress.say("checksums")
        self._check_files(manifest)
        with _draft_of(self.settings.data_dir) as draft:
            self._fill(draft, manifest, began_ms)
            _sync_all(draft)
            draft.rename(self.settings.data_dir)
            sync(self.settings.data_dir.parent)
        return manifest

    def _require_same(self, manifest: Manifest) -> None:
        settings = self.settings
        pairs = {
            "stream.name": (settings.stream.name, manifest.stream),
            "stream.kind": (settings.stream.kind, manifest.stream_kind),
            "ledger.kind": (settings.ledger.kind, manifest.ledger_kind),
            "warehouse.embedded": (settings.warehouse.embedded, manifest.warehouse_embedded),
            "warehouse.database": (settings.warehouse.database, manifest.database),
        }
        for name, (here, there) in pairs.items():
            if here != there:
                raise BackupError(
                    f"{self.source} was made with {name} = '{there}', and here it is '{here}'; set it so."
                )

    def _require_time(self, manifest: Manifest) -> None:
        stopped_at_ms = self.stopped_at_ms
        if stopped_at_ms is not None and not manifest.held_at_ms <= stopped_at_ms <= self.clock():
            raise BackupError(
                f"--stopped-at must be between the backup's time, {to_iso(manifest.held_at_ms)}, and now."
            )

    def _require_empty(self) -> None:
        data_dir = self.settings.data_dir
        if data_dir.exists() and (not data_dir.is_dir() or any(data_dir.iterdir())):
            raise BackupError(
                f"{data_dir} is not empty, and a restore overwrites nothing: stop the stack and move the folder away,"
                " or set another data_dir."
            )
        if data_dir.is_mount():
            raise BackupError(
                f"{data_dir} is where a disk is mounted, and a restore puts a new folder in its place: set data_dir to"
                " a folder below it."
            )

    def _check_files(self, manifest: Manifest) -> None:
        done = 0

        def saw(size: int) -> None:
            nonlocal done
            done += size
            self.progress.show(done / max(manifest.bytes, 1))

        check_files(self.source, manifest, saw)

    def _fill(self, draft: Path, manifest: Manifest, began_ms: int) -> None:
        for file in manifest.files:
            if "/" not in file.path and file.path.endswith((".sqlite", SECRETS)):
                self.progress.say(file.path)
                shutil.copyfile(self.source / file.path, draft / file.path)
                (draft / file.path).chmod(0o600)
        if (self.source / ARCHIVE).is_dir():
            self.progress.say("archive")
            shutil.copytree(self.source / ARCHIVE, draft / ARCHIVE)
        settings = with_secrets(self.settings.model_copy(update={"data_dir": draft}))
        if manifest.warehouse_embedded:
            self._restore_warehouse(settings, manifest)
        self.progress.say("ledger")
        self._mark(settings, manifest, began_ms)
        _check_stream(settings, manifest)

    def _restore_warehouse(self, settings: Settings, manifest: Manifest) -> None:
        self.progress.say("warehouse")
        folder = backups_dir(settings.data_dir.resolve() / "warehouse")
        shutil.copytree(self.source / WAREHOUSE, folder)
        with serving(settings, self.settings_file, self.clock, self.sleep):
            client = connect(settings.warehouse, database="default")
            WarehouseBackups(client, manifest.database, folder, self.sleep).restore(CHANGES, BASE)
            client.close()
            client = connect(settings.warehouse)
            landed = Landing(client, manifest.stream).committed()
            client.close()
        shutil.rmtree(folder)
        if landed != manifest.offsets:
            raise BackupError(f"{self.source} is damaged: landing ends at {landed}, and should at {manifest.offsets}.")

    def _mark(self, settings: Settings, manifest: Manifest, began_ms: int) -> None:
        """From now on the ledger knows that it does not know of all mails, and who restored it."""
        now_ms = self.clock()
        database = open_database(settings)
        try:
            _require_not_older(settings, database, manifest, now_ms)
            ledger = open_ledger(database, 0)
            ledger.resume(RESTORED, "restore", now_ms)  # Of an earlier restore, which this one includes.
            reason = f"restored from a backup of {to_iso(manifest.held_at_ms)}; mails since then may be out"
            ledger.pause(RESTORED, "restore", reason, self.stopped_at_ms or now_ms)
            if self._brings_the_ledger:  # It is there, with this row in it, when the restore is done, and never else.
                keep_done(open_audit(database), self._doing(), began_ms, now_ms, manifest.facts())
        finally:
            database.dispose()


def _require_not_older(settings: Settings, database: Database, manifest: Manifest, now_ms: int) -> None:
    lanes = lane_store(settings, database)
    states = [lanes.state(name) for name in lanes.names()]
    if settings.ledger.kind != "sqlite" and any(one.holder and one.expires_at_ms > now_ms for one in states):
        raise BackupError("A lane of the ledger is at work; stop the stack, then restore again.")
    committed = lanes.committed()
    if any(committed.get(partition, 0) < end for partition, end in manifest.offsets.items()):
        raise BackupError(
            f"The ledger is older than the backup of {to_iso(manifest.held_at_ms)}: what was decided between the two"
            " would never be decided again. Restore a later one of the ledger."
        )


def _check_stream(settings: Settings, manifest: Manifest) -> None:
    stream = open_stream(settings, lambda: 0)
    try:
        stream.verify(manifest.offsets)
    finally:
        stream.close()


@contextmanager
def _draft_of(data_dir: Path) -> Iterator[Path]:
    """A folder beside the data folder, of this process alone; gone at the end unless it was renamed."""
    draft = data_dir.with_name(f"{data_dir.name}.restoring")
    try:
        draft.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(draft, os.O_RDONLY)
    except OSError as error:
        raise BackupError(f"{draft} cannot be made: {error.strerror}.") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise BackupError(f"Another restore is at work in {draft}; wait until it ends.") from None
    try:
        for left in draft.iterdir():  # Of a restore that was killed.
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        yield draft
    except OSError as error:
        raise BackupError(f"The backup cannot be restored into {draft}: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        os.close(handle)


def _sync_all(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder]:
        if path.is_dir() or path.is_file():
            sync(path)
