"""What makes a backup whole and of one moment; tests/test_backup_stack.py backs up and restores the real thing."""

import json
import socket
import sqlite3
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result
from support.clocks import DAY_MS, MINUTE_MS, NOW_MS, Hand
from support.sending import LANE, LEASE_MS, Book, intended

from wakeline.activation.gates import RESTORED
from wakeline.backup.holding import PATIENCE_SECONDS, standing_still
from wakeline.backup.making import Backup, Progress, sqlite_files
from wakeline.backup.manifest import FORMAT, NAME, Manifest, check_files, files_below, read_manifest, write_manifest
from wakeline.backup.restoring import Restore
from wakeline.backup.sqlite import Pinned
from wakeline.cli import cli
from wakeline.clock import to_iso
from wakeline.engines import open_postgres, open_sqlite
from wakeline.errors import BackupError, LedgerError
from wakeline.replay.audit import open_audit
from wakeline.replay.standstill import Leases
from wakeline.settings import CONFIG_VARIABLE, ArchiveSettings, LedgerSettings, Settings, read_settings, with_secrets
from wakeline.streams.factory import open_stream

if TYPE_CHECKING:
    from support.postgres import PostgresServer

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


def leases_of(book: Book, clock: Hand, sleep: Callable[[float], None]) -> Leases:
    return Leases(book.lanes, "backup-1", clock, sleep, DAY_MS)


def test_lanes_stand_still_once_the_batch_under_way_is_done_and_go_on_afterwards(book: Book, clock: Hand) -> None:
    lease = book.hold()
    book.lanes.begin(lease, RANGES, NOW_MS, DAY_MS)

    def end_the_batch(seconds: float) -> None:
        assert book.lanes.stand_still(clock())
        book.lanes.commit(lease, RANGES, NOW_MS, NOW_MS + LEASE_MS)
        book.lanes.release(lease)

    with standing_still(leases_of(book, clock, end_the_batch)):
        assert book.lanes.committed() == {0: 5}
        assert book.lanes.acquire(LANE, "run-2", clock(), LEASE_MS) is None
    book.hold("run-2")


def test_a_batch_that_does_not_end_is_not_waited_for_for_ever(book: Book, clock: Hand) -> None:
    lease = book.lanes.acquire(LANE, "run-1", NOW_MS, DAY_MS)
    assert lease is not None
    book.lanes.begin(lease, RANGES, NOW_MS, DAY_MS)
    still = standing_still(leases_of(book, clock, clock.sleep))
    with pytest.raises(BackupError, match=rf"within {PATIENCE_SECONDS:.0f} seconds"), still:
        pass
    assert not book.lanes.stand_still(clock())


def test_a_moment_in_which_the_lanes_went_on_is_none(book: Book, clock: Hand) -> None:
    with ExitStack() as still:
        still.enter_context(standing_still(leases_of(book, clock, clock.sleep)))
        clock.now_ms += 2 * DAY_MS
        book.hold("run-1", clock())
        with pytest.raises(BackupError, match="the lanes went on meanwhile"):
            still.close()


def test_a_batch_that_nobody_finishes_is_no_state_to_back_up(book: Book, clock: Hand) -> None:
    lease = book.hold()
    book.lanes.begin(lease, RANGES, NOW_MS, LEASE_MS)
    book.lanes.release(lease)
    still = standing_still(leases_of(book, clock, clock.sleep))
    with pytest.raises(BackupError, match="start the stack with 'wakeline up'"), still:
        pass


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


def restore(backup: Path, settings: Settings, stopped_at_ms: int | None = None, now_ms: int = NOW_MS + 10) -> Manifest:
    return Restore(settings, None, backup, stopped_at_ms, "bob", lambda: now_ms, SILENT).run()


def settings_for(folder: Path, **sections: Any) -> Settings:
    return Settings(data_dir=folder, **{"warehouse": {"embedded": False}, **sections})


def test_nothing_is_restored_over_something(backup: Path, tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    (data_dir / "secrets.json").touch()
    with pytest.raises(BackupError, match="is not empty, and a restore overwrites nothing"):
        restore(backup, settings_for(data_dir))


def test_a_mounted_disk_is_refused_before_anything_is_done(
    backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "is_mount", lambda path: path == tmp_path / "data")
    with pytest.raises(BackupError, match="is where a disk is mounted"):
        restore(backup, settings_for(tmp_path / "data"))
    assert not (tmp_path / "data.restoring").exists()


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


def test_a_stack_that_still_runs_is_not_restored_into(tmp_path: Path) -> None:
    folder = tmp_path / "backup"
    (folder / "warehouse").mkdir(parents=True)
    write_manifest(folder, {**FACTS, "warehouse_embedded": True}, [])
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = settings_for(tmp_path / "data", warehouse={"port": port})
        with pytest.raises(BackupError, match=f"Port {port} of the warehouse is in use; stop the stack"):
            restore(folder, settings)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backup"]


def test_a_backup_overwrites_nothing(backup: Path, tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="is there already"):
        Backup(Settings(data_dir=tmp_path / "data"), None, backup, lambda: NOW_MS, SILENT).make()


def test_settings_are_read_without_making_secrets(tmp_path: Path) -> None:
    (tmp_path / "wakeline.toml").write_text('data_dir = "data"\n')
    assert read_settings(tmp_path / "wakeline.toml").data_dir == tmp_path / "data"
    assert not (tmp_path / "data").exists()


# There and back, with an outside ClickHouse, whose backups are its own affair


@pytest.fixture
def deployment(tmp_path: Path) -> Settings:
    """A stream with an event and a ledger with a decision."""
    settings = load_settings_of(tmp_path / "one")
    stream = open_stream(settings, lambda: NOW_MS)
    stream.append([("user:ann", b"{}")])
    stream.close()
    engine = open_sqlite(settings.ledger_path)
    work_a_little(Book(engine))
    engine.dispose()
    return settings


def load_settings_of(folder: Path) -> Settings:
    return with_secrets(settings_for(folder))


def work_a_little(book: Book) -> None:
    lease = book.hold()
    book.lanes.begin(lease, RANGES, NOW_MS, LEASE_MS)
    book.claim(lease, intended())
    book.lanes.commit(lease, {0: (0, 0)}, NOW_MS, NOW_MS + LEASE_MS)
    book.lanes.release(lease)


def test_what_is_restored_is_what_was_backed_up_and_what_occurred_before_is_held(
    deployment: Settings, tmp_path: Path
) -> None:
    made = Backup(deployment, None, tmp_path / "backup", lambda: NOW_MS + 1, SILENT).make()
    assert (made.held_at_ms, made.offsets, made.archive_url) == (NOW_MS + 1, {0: 0}, None)
    assert [file.path for file in made.files] == ["ledger.sqlite", "secrets.json", "stream.sqlite"]
    there = settings_for(tmp_path / "two")
    restore(tmp_path / "backup", there)

    assert (there.data_dir / "secrets.json").read_bytes() == (deployment.data_dir / "secrets.json").read_bytes()
    assert (there.data_dir / "secrets.json").stat().st_mode & 0o777 == 0o600
    assert there.data_dir.stat().st_mode & 0o777 == 0o700
    engine = open_sqlite(there.ledger_path)
    book = Book(engine)
    assert [row["idempotency_key"] for row in book.rows()] == [intended().key]
    assert book.ledger.pauses()[RESTORED]["paused_at_ms"] == NOW_MS + 10
    assert book.ledger.pauses()[RESTORED]["reason"].startswith("restored from a backup of 2027-01-15T08:00:00.001Z")
    lease = book.hold("run-2", NOW_MS + MINUTE_MS)  # By then the leases of the backup have expired.
    told = book.claim(lease, intended("order/2"), intended("order/3", occurred_at_ms=NOW_MS + 10))
    assert [one.reason for one in told] == ["restored_ledger", ""]
    engine.dispose()


def test_who_knows_when_the_old_stack_stopped_lets_out_what_came_later(deployment: Settings, tmp_path: Path) -> None:
    Backup(deployment, None, tmp_path / "backup", lambda: NOW_MS + 1, SILENT).make()
    restore(tmp_path / "backup", settings_for(tmp_path / "two"), NOW_MS + 5)
    engine = open_sqlite(tmp_path / "two" / "ledger.sqlite")
    assert Book(engine).ledger.pauses()[RESTORED]["paused_at_ms"] == NOW_MS + 5
    engine.dispose()


def test_a_restore_of_a_backup_that_was_made_after_a_restore_holds_what_occurred_until_now(
    deployment: Settings, tmp_path: Path
) -> None:
    Backup(deployment, None, tmp_path / "backup", lambda: NOW_MS + 1, SILENT).make()
    restore(tmp_path / "backup", settings_for(tmp_path / "two"), NOW_MS + 5)
    Backup(settings_for(tmp_path / "two"), None, tmp_path / "second", lambda: NOW_MS + DAY_MS, SILENT).make()
    restore(tmp_path / "second", settings_for(tmp_path / "three"), now_ms=NOW_MS + 2 * DAY_MS)
    engine = open_sqlite(tmp_path / "three" / "ledger.sqlite")
    assert Book(engine).ledger.pauses()[RESTORED]["paused_at_ms"] == NOW_MS + 2 * DAY_MS
    engine.dispose()


def wakeline(settings_file: Path, *arguments: str) -> Result:
    """What somebody at a terminal sees."""
    return CliRunner(env={CONFIG_VARIABLE: str(settings_file)}).invoke(cli, arguments)


def audit_of(settings_file: Path) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads(wakeline(settings_file, "audit", "--json").stdout)
    return entries


def test_a_backup_and_its_restore_are_in_the_audit_of_the_restored_ledger(deployment: Settings, tmp_path: Path) -> None:
    files = {name: tmp_path / f"{name}.toml" for name in ("one", "two")}
    for name, file in files.items():
        file.write_text(f'data_dir = "{name}"\n[warehouse]\nembedded = false\n', encoding="utf-8")
    command = ("backup", str(tmp_path / "backup"), "--while-held", "echo secret", "--by", "ann", "--json")
    made = json.loads(wakeline(files["one"], *command).stdout)
    assert wakeline(files["one"], *command).exit_code == 1
    facts = {
        "files": len(made["files"]),
        "bytes": sum(one["bytes"] for one in made["files"]),
        "state_of": to_iso(made["held_at_ms"]),
    }
    [failed, done] = audit_of(files["one"])
    assert (failed["state"], failed["error"]) == (
        "failed",
        f"{tmp_path / 'backup'} is there already; name a folder that is not.",
    )
    assert (done["operation"], done["done_by"], done["state"], done["result"]) == ("backup", "ann", "done", facts)
    assert done["config"] == {"target": str(tmp_path / "backup"), "while_held": "echo"}

    assert wakeline(files["two"], "restore", str(tmp_path / "backup"), "--by", "bob").exit_code == 0
    [restored, begun] = audit_of(files["two"])
    assert (restored["operation"], restored["done_by"], restored["state"]) == ("restore", "bob", "done")
    assert (restored["config"], restored["result"]) == ({"source": str(tmp_path / "backup"), "stopped_at": ""}, facts)
    assert (begun["operation"], begun["state"]) == ("backup", "started"), "At that moment it was under way."


def test_a_command_runs_while_the_lanes_stand_still_and_its_failure_is_the_backups(
    deployment: Settings, tmp_path: Path
) -> None:
    told = tmp_path / "told"
    Backup(deployment, None, tmp_path / "one-more", lambda: NOW_MS, SILENT, ("touch", str(told))).make()
    assert told.exists()
    with pytest.raises(BackupError, match="The command false ended with exit code 1"):
        Backup(deployment, None, tmp_path / "none", lambda: NOW_MS, SILENT, ("false",)).make()
    with pytest.raises(BackupError, match="The command no-such-program cannot be run: No such file"):
        Backup(deployment, None, tmp_path / "none", lambda: NOW_MS, SILENT, ("no-such-program",)).make()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "one-more", "told"]


def test_the_output_of_the_command_is_none_of_the_backups(
    deployment: Settings, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    Backup(deployment, None, tmp_path / "backup", lambda: NOW_MS, SILENT, ("echo", "held")).make()
    assert capfd.readouterr() == ("", "held\n")


@pytest.mark.parametrize(("command", "fault"), [("pg_dump 'x", "no closing quotation"), (" ", "it is empty")])
def test_a_command_that_is_none_is_refused(tmp_path: Path, command: str, fault: str) -> None:
    done = CliRunner().invoke(cli, ["backup", str(tmp_path / "backup"), "--while-held", command])
    assert (done.exit_code, fault in done.stderr) == (2, True), done.output
    assert not list(tmp_path.iterdir())


def test_a_local_archive_is_in_the_backup_and_one_elsewhere_is_named(deployment: Settings, tmp_path: Path) -> None:
    (deployment.data_dir / "archive").mkdir()
    (deployment.data_dir / "archive" / "hour.parquet").write_bytes(b"hour")
    Backup(deployment, None, tmp_path / "backup", lambda: NOW_MS, SILENT).make()
    restore(tmp_path / "backup", settings_for(tmp_path / "two"))
    assert (tmp_path / "two" / "archive" / "hour.parquet").read_bytes() == b"hour"
    elsewhere = deployment.model_copy(update={"archive": ArchiveSettings(url="s3://bucket/events")})
    made = Backup(elsewhere, None, tmp_path / "other", lambda: NOW_MS, SILENT).make()
    assert made.archive_url == "s3://bucket/events"
    assert not (tmp_path / "other" / "archive").exists()


@pytest.mark.stack
def test_a_ledger_on_postgres_must_not_be_older_than_the_backup(
    deployment: Settings, tmp_path: Path, postgres: "PostgresServer"
) -> None:
    ledger = LedgerSettings(kind="postgres", url=postgres.create_database())
    settings = deployment.model_copy(update={"ledger": ledger})
    engine = open_postgres(ledger.url)
    book = Book(engine)
    work_a_little(book)
    Backup(settings, None, tmp_path / "backup", lambda: NOW_MS, SILENT).make()
    assert not (tmp_path / "backup" / "ledger.sqlite").exists()
    restore(tmp_path / "backup", settings_for(tmp_path / "two", ledger=ledger))
    assert RESTORED in book.ledger.pauses()

    lease = book.hold("run-2", NOW_MS + 10)
    with pytest.raises(BackupError, match="A lane of the ledger is at work"):
        restore(tmp_path / "backup", settings_for(tmp_path / "three", ledger=ledger))
    entries = open_audit(engine).latest(9)
    assert sorted((one.operation, one.done_by, one.state) for one in entries) == [
        ("restore", "bob", "done"),
        ("restore", "bob", "failed"),
    ]
    book.lanes.correct_offsets(lease, {0: 3})
    book.lanes.release(lease)
    Backup(settings, None, tmp_path / "later", lambda: NOW_MS, SILENT).make()
    lease = book.hold("run-3", NOW_MS + 10)
    book.lanes.correct_offsets(lease, {0: 2})
    book.lanes.release(lease)
    with pytest.raises(BackupError, match="The ledger is older than the backup of 2027"):
        restore(tmp_path / "later", settings_for(tmp_path / "three", ledger=ledger))
    engine.dispose()
