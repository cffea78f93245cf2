"""What makes a backup whole and of one moment; tests/test_backup_stack.py backs up and restores the real thing."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from support.clocks import DAY_MS, NOW_MS, Hand
from support.sending import LANE, LEASE_MS, Book

from wakeline.backup.holding import HOLD_MS, PATIENCE_MS, Hold
from wakeline.backup.making import Backup, Progress, sqlite_files
from wakeline.backup.manifest import FORMAT, NAME, Manifest, check_files, files_below, read_manifest, write_manifest
from wakeline.backup.restoring import Restore
from wakeline.backup.sqlite import Pinned
from wakeline.errors import BackupError, LanesHeldError, LedgerError
from wakeline.pipeline.lanes import Lease
from wakeline.settings import Settings, read_settings

RANGES = {0: (0, 5)}
SILENT = Progress(lambda step: None, lambda share: None)
FACTS: dict[str, Any] = {
    "wakeline": "0.1.0",
    "clickhouse": "26.9",
    "held_at_ms": NOW_MS,
    "held_seconds": 0.1,
    "stream": "events",
    "stream_kind": "embedded",
    "ledger_kind": "sqlite",
    "warehouse_embedded": False,
    "database": "wakeline",
    "offsets": {0: 5},
    "archive_url": None,
}


def saw_nothing(size: int) -> None:
    """For checks that nobody watches."""


# Of one moment


def test_a_copy_is_the_file_as_it_was_when_it_was_pinned(tmp_path: Path) -> None:
    writer = sqlite3.connect(tmp_path / "live.sqlite", isolation_level=None)
    writer.execute("PRAGMA journal_mode = WAL")
    writer.execute("PRAGMA user_version = 7")
    writer.execute("CREATE TABLE rows (body BLOB)")
    writer.executemany("INSERT INTO rows VALUES (?)", [(bytes(3_000),)] * 3_000)
    shares: list[float] = []

    def show(share: float) -> None:
        shares.append(share)
        writer.execute("INSERT INTO rows VALUES (x'00')")

    with Pinned(tmp_path / "live.sqlite") as pinned:
        writer.execute("DELETE FROM rows WHERE rowid <= 1000")
        pinned.copy(tmp_path / "copy.sqlite", show)
    with closing(sqlite3.connect(tmp_path / "copy.sqlite")) as copy:
        assert copy.execute("SELECT count(*) FROM rows").fetchone() == (3_000,)
        assert copy.execute("PRAGMA user_version").fetchone() == (7,)
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert (tmp_path / "copy.sqlite").stat().st_mode & 0o777 == 0o600
    writer.close()


def test_lanes_stand_still_once_the_batch_under_way_is_done_and_go_on_afterwards(book: Book, clock: Hand) -> None:
    lease = book.hold()
    book.lanes.begin(lease, RANGES, NOW_MS, DAY_MS)

    def sleep(seconds: float) -> None:
        clock.sleep(seconds)
        book.lanes.commit(lease, RANGES, NOW_MS, NOW_MS + LEASE_MS)

    with Hold(book.lanes, clock, sleep).held():
        assert book.lanes.begun_batches() == []
        assert book.lanes.committed() == {0: 5}
        with pytest.raises(LanesHeldError):
            book.lanes.begin(lease, {0: (5, 6)}, clock(), LEASE_MS)
    book.lanes.begin(lease, {0: (5, 6)}, clock(), LEASE_MS)


def test_a_batch_that_does_not_end_is_not_waited_for_for_ever_and_nothing_stays_held(book: Book, clock: Hand) -> None:
    lease = book.lanes.acquire(LANE, "run-1", NOW_MS, DAY_MS)
    assert lease is not None
    book.lanes.begin(lease, RANGES, NOW_MS, DAY_MS)
    with (
        pytest.raises(BackupError, match=rf"within {PATIENCE_MS // 1000} seconds"),
        Hold(book.lanes, clock, clock.sleep).held(),
    ):
        pass
    book.lanes.begin(lease, RANGES, clock(), LEASE_MS)


def test_a_hold_goes_on_while_it_is_kept_and_ends_by_itself_when_it_is_not(book: Book, clock: Hand) -> None:
    lease = book.lanes.acquire(LANE, "run-1", NOW_MS, DAY_MS)
    assert lease is not None
    hold = Hold(book.lanes, clock, clock.sleep)
    with ExitStack() as holding:
        holding.enter_context(hold.held())
        for _ in range(4):
            clock.sleep(HOLD_MS / 1_000 * 0.75)
            hold.keep()
        with pytest.raises(LanesHeldError):
            book.lanes.begin(lease, RANGES, clock(), LEASE_MS)
        clock.sleep(HOLD_MS / 1_000)
        book.lanes.begin(lease, RANGES, clock(), LEASE_MS)
        with pytest.raises(BackupError, match="stood still for so long"):
            holding.close()


def test_a_batch_that_nobody_finishes_is_no_state_to_back_up(book: Book, clock: Hand) -> None:
    lease: Lease = book.hold()
    book.lanes.begin(lease, RANGES, NOW_MS, LEASE_MS)
    book.lanes.release(lease)
    with (
        pytest.raises(BackupError, match="start the stack with 'wakeline up'"),
        Hold(book.lanes, clock, clock.sleep).held(),
    ):
        pass


def test_lanes_that_nobody_works_on_need_not_be_held(book: Book, clock: Hand) -> None:
    with Hold(book.lanes, clock, clock.sleep).held():
        lease = book.hold()
        book.lanes.begin(lease, RANGES, NOW_MS, LEASE_MS)


def test_what_is_there_is_copied_and_nothing_else(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    for name in ("stream.sqlite", "ledger.sqlite", "spool-8200.sqlite", "refused-8200.sqlite", "other.sqlite"):
        (tmp_path / name).touch()
    names = [path.name for path in sqlite_files(settings)]
    assert names == ["stream.sqlite", "ledger.sqlite", "spool-8200.sqlite", "refused-8200.sqlite"]
    (tmp_path / "alerts.sqlite").touch()
    assert "alerts.sqlite" in [path.name for path in sqlite_files(settings)]


# Whole


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    folder = tmp_path / "backup"
    (folder / "archive").mkdir(parents=True)
    (folder / "ledger.sqlite").write_bytes(b"ledger")
    (folder / "archive" / "hour.parquet").write_bytes(b"hour")
    write_manifest(folder, FACTS, list(files_below(folder, saw_nothing)))
    return folder


def test_a_backup_that_is_whole_passes(backup: Path) -> None:
    manifest = read_manifest(backup)
    assert [file.path for file in manifest.files] == ["archive/hour.parquet", "ledger.sqlite"]
    assert manifest.bytes == 10
    check_files(backup, manifest, saw_nothing)


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (lambda folder: (folder / "ledger.sqlite").unlink(), "ledger.sqlite is missing in the backup"),
        (lambda folder: (folder / "ledger.sqlite").write_bytes(b"Ledger"), "ledger.sqlite is not what was backed up"),
        (lambda folder: (folder / "archive" / "x").touch(), "x does not belong to the backup"),
    ],
    ids=["missing", "changed", "foreign"],
)
def test_a_backup_that_is_not_what_it_was_is_refused(
    backup: Path, harm: Callable[[Path], object], sentence: str
) -> None:
    harm(backup)
    with pytest.raises(BackupError, match=sentence):
        check_files(backup, read_manifest(backup), saw_nothing)


def test_a_folder_without_a_manifest_is_no_backup(backup: Path) -> None:
    (backup / NAME).unlink()
    with pytest.raises(BackupError, match="is not a whole backup"):
        read_manifest(backup)


def test_a_backup_of_a_newer_version_says_which(backup: Path) -> None:
    known = json.loads((backup / NAME).read_text())
    (backup / NAME).write_text(json.dumps({**known, "format": FORMAT + 1, "wakeline": "7.1.0"}))
    with pytest.raises(BackupError, match=r"made by Wakeline 7\.1\.0"):
        read_manifest(backup)


def test_a_damaged_manifest_is_one_sentence(backup: Path) -> None:
    (backup / NAME).write_text("{")
    with pytest.raises(BackupError, match="is damaged"):
        read_manifest(backup)


# Wrong input


def restore(backup: Path, settings: Settings, stopped_at_ms: int | None = None) -> Manifest:
    return Restore(settings, None, backup, stopped_at_ms, lambda: NOW_MS + 10, SILENT).run()


def settings_for(folder: Path, **sections: Any) -> Settings:
    return Settings(data_dir=folder, **{"warehouse": {"embedded": False}, **sections})


def test_nothing_is_restored_over_something(backup: Path, tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    (data_dir / "secrets.json").touch()
    with pytest.raises(BackupError, match="is not empty, and a restore overwrites nothing"):
        restore(backup, settings_for(data_dir))


def test_a_backup_is_restored_into_a_deployment_of_its_kind(backup: Path, tmp_path: Path) -> None:
    other = settings_for(tmp_path / "data", stream={"name": "other"})
    with pytest.raises(BackupError, match=r"was made with stream\.name = 'events', and here it is 'other'"):
        restore(backup, other)


@pytest.mark.parametrize("stopped_at_ms", [NOW_MS - 1, NOW_MS + 11])
def test_the_old_stack_stopped_between_the_backup_and_now(backup: Path, tmp_path: Path, stopped_at_ms: int) -> None:
    with pytest.raises(BackupError, match="--stopped-at must be between the backup's time, 2027-01-15T08:00:00"):
        restore(backup, settings_for(tmp_path / "data"), stopped_at_ms)


def test_a_restore_that_fails_leaves_nothing(backup: Path, tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="file is not a database"):
        restore(backup, settings_for(tmp_path / "data"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backup"]


def test_a_backup_overwrites_nothing(backup: Path, tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="is there already"):
        Backup(Settings(data_dir=tmp_path / "data"), None, backup, lambda: NOW_MS, SILENT).make()


def test_settings_are_read_without_making_secrets(tmp_path: Path) -> None:
    (tmp_path / "wakeline.toml").write_text('data_dir = "data"\n')
    assert read_settings(tmp_path / "wakeline.toml").data_dir == tmp_path / "data"
    assert not (tmp_path / "data").exists()
