"""A ClickHouse that hangs while a backup or a restore needs it is told in a sentence, and left by nobody."""

import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing
from pathlib import Path

import pytest
from support.clocks import Hand
from support.ports import free_ports
from support.stack import is_alive, stop_process
from support.warehouse import WarehouseProcess

from wakeline.backup import server
from wakeline.backup.server import START_SECONDS, serving
from wakeline.backup.warehouse import BASE, WarehouseBackups
from wakeline.errors import BackupError
from wakeline.settings import Settings
from wakeline.warehouse.client import connect
from wakeline.warehouse.server import backups_dir

pytestmark = [pytest.mark.stack, pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")]


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr(server, "_STOP_SECONDS", 1)
    port, native_port = free_ports(2)
    warehouse = {"port": port, "native_port": native_port, "password": "secret"}
    (tmp_path / "data").mkdir()
    text = f'data_dir = "{tmp_path / "data"}"\n[warehouse]\n' + "".join(f"{k} = {v!r}\n" for k, v in warehouse.items())
    (tmp_path / "wakeline.toml").write_text(text, encoding="utf-8")
    return Settings.model_validate({"data_dir": tmp_path / "data", "warehouse": warehouse})


class Freezing(Hand):
    """Stops a server at the first wait for it."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.settings = settings
        self.frozen = 0

    def sleep(self, seconds: float) -> None:
        """As ever, and the server hangs from now on."""
        super().sleep(seconds)
        if not self.frozen:
            self.frozen = freeze(self.settings)


def freeze(settings: Settings) -> int:
    """Stop the server over a data folder: its environment names that."""
    named = f"WAKELINE_DATA_DIR={settings.data_dir}".encode()
    [pid] = [pid for pid in map(int, children()) if named in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")]
    stop_process(pid)
    return pid


def children() -> list[str]:
    return [pid for path in Path("/proc/self/task").glob("*/children") for pid in path.read_text().split()]


def serve(settings: Settings, clock: Hand | None = None) -> AbstractContextManager[None]:
    file = settings.data_dir.with_name("wakeline.toml")
    return serving(settings, file, clock or Hand(), clock.sleep if clock else time.sleep)


def test_a_server_that_hangs_at_its_start_is_told_and_ended(settings: Settings) -> None:
    clock = Freezing(settings)
    began_ms, serving = clock(), serve(settings, clock)
    with pytest.raises(BackupError, match=f"hangs: it does not answer {START_SECONDS} seconds after its"), serving:
        pass
    assert clock() - began_ms >= START_SECONDS * 1000
    assert not is_alive(clock.frozen)


def test_a_server_that_hangs_at_its_end_is_told_and_ended(settings: Settings) -> None:
    frozen = []
    with pytest.raises(BackupError, match="hangs: it did not end within 1 seconds"), serve(settings):
        frozen.append(freeze(settings))
    assert not is_alive(frozen[0])


def test_what_went_wrong_before_it_hangs_is_what_is_told(settings: Settings) -> None:
    def fail() -> None:
        with serve(settings):
            freeze(settings)
            raise BackupError("The backup is damaged.")

    with pytest.raises(BackupError, match="is damaged"):
        fail()


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[WarehouseProcess]:
    """One of its own: it is left behind in the middle of something."""
    process = WarehouseProcess(tmp_path / "own").start()
    yield process
    process.kill()


def test_a_clickhouse_that_hangs_in_a_backup_is_told(warehouse: WarehouseProcess) -> None:
    known = warehouse.settings.warehouse
    with closing(connect(known, database="default", patience_seconds=1)) as client:
        folder = backups_dir(warehouse.settings.data_dir / "warehouse")
        stop_process(warehouse.pid)
        with pytest.raises(BackupError, match=r"^ClickHouse hangs or has ended: it does not answer any more"):
            WarehouseBackups(client, known.database, folder, time.sleep).back_up(BASE)
