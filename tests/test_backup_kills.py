"""A backup or a restore that is killed leaves nothing half that looks whole."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from support.ports import free_ports
from support.stack import await_that, is_free
from support.warehouse import WarehouseProcess

from wakeline.backup.manifest import read_manifest
from wakeline.settings import CONFIG_VARIABLE
from wakeline.streams.embedded import EmbeddedStream

pytestmark = [pytest.mark.stack, pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")]

_SECONDS = 60


@pytest.fixture
def environment(warehouse: WarehouseProcess) -> dict[str, str]:
    stream = warehouse.settings.stream
    EmbeddedStream(warehouse.settings.stream_path, stream.name, stream.partitions, lambda: 0).close()
    known = {CONFIG_VARIABLE: str(warehouse.settings_path), "WAKELINE_LANE__LEASE_SECONDS": "1"}
    return {**os.environ, **known}


def command(*arguments: object) -> Sequence[str]:
    return [sys.executable, "-m", "wakeline", *map(str, arguments)]


def done(environment: dict[str, str], *arguments: object) -> None:
    said = subprocess.run(command(*arguments), env=environment, capture_output=True, text=True, timeout=_SECONDS)
    assert said.returncode == 0, said.stderr


def kill_group(process: "subprocess.Popen[bytes]") -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_a_backup_that_is_killed_is_none_and_the_next_one_is(environment: dict[str, str], tmp_path: Path) -> None:
    held, target = tmp_path / "held", tmp_path / "backup"
    script = tmp_path / "stand-still"
    script.write_text(f"#!/bin/sh\ntouch {held}\nexec sleep 600\n")
    script.chmod(0o700)
    killed = subprocess.Popen(
        command("backup", target, "--while-held", script), env=environment, start_new_session=True
    )
    await_that("the backup is in its middle", held.exists, _SECONDS)
    kill_group(killed)
    assert not target.exists()
    assert list(tmp_path.rglob("manifest.json")) == []

    await_that("the next one succeeds", lambda: subprocess.call(command("backup", target), env=environment) == 0, 30)
    assert read_manifest(target).files
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backup", "held", "stand-still"]


def test_a_restore_that_is_killed_is_none_and_the_next_one_is(environment: dict[str, str], tmp_path: Path) -> None:
    backup, data_dir = tmp_path / "backup", tmp_path / "data"
    done(environment, "backup", backup)
    port, native_port = free_ports(2)
    elsewhere = {
        **environment,
        "WAKELINE_DATA_DIR": str(data_dir),
        "WAKELINE_WAREHOUSE__PORT": str(port),
        "WAKELINE_WAREHOUSE__NATIVE_PORT": str(native_port),
    }
    killed = subprocess.Popen(command("restore", backup), env=elsewhere, start_new_session=True)
    await_that("the restore is in its middle", lambda: not is_free(port), _SECONDS)
    kill_group(killed)
    assert not data_dir.exists()

    await_that("the warehouse of the killed one has ended", lambda: is_free(port), _SECONDS)
    done(elsewhere, "restore", backup)
    assert (data_dir / "secrets.json").read_bytes() == (backup / "secrets.json").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backup", "data"]
    assert is_free(port)
