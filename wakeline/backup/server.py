"""The embedded ClickHouse for as long as a restore needs it."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from wakeline.errors import BackupError, WarehouseError
from wakeline.settings import CONFIG_VARIABLE, Settings
from wakeline.warehouse.client import connect

#: Of linux/prctl.h.
_PR_SET_PDEATHSIG = 1
_POLL_SECONDS = 0.1
_STOP_SECONDS = 40


@contextmanager
def serving(settings: Settings, settings_file: Path | None, sleep: Callable[[float], None]) -> Iterator[None]:
    """`wakeline warehouse` over the settings' data folder. Raises BackupError with what it says."""
    _require_stopped(settings)
    log = settings.data_dir / "warehouse.log"
    environment = {**os.environ, "WAKELINE_DATA_DIR": str(settings.data_dir.resolve())}
    if settings_file:
        environment[CONFIG_VARIABLE] = str(settings_file.resolve())
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "wakeline", "warehouse"],
            stdout=out,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
            preexec_fn=_end_with_parent,
        )
    try:
        while not _answers(settings):
            if process.poll() is not None:
                said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
                raise BackupError(
                    f"The warehouse does not start: {said[-1].removeprefix('wakeline: ') if said else ''}"
                )
            sleep(_POLL_SECONDS)
        yield
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(_STOP_SECONDS)
    log.unlink()


def _require_stopped(settings: Settings) -> None:
    """A stack that goes on without its data folder has the same password, and would be restored into."""
    warehouse = settings.warehouse
    with socket.socket() as probe:
        if probe.connect_ex((warehouse.host, warehouse.port)) == 0:
            raise BackupError(f"Port {warehouse.port} of the warehouse is in use; stop the stack, then restore again.")


def _end_with_parent() -> None:
    """Nobody else would stop the server of a restore that is killed."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _answers(settings: Settings) -> bool:
    try:
        connect(settings.warehouse, database="default").close()
    except WarehouseError:
        return False
    return True
