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

from wakeline.clock import Clock
from wakeline.errors import BackupError, WarehouseError
from wakeline.settings import CONFIG_VARIABLE, Settings
from wakeline.warehouse.client import connect

#: Of linux/prctl.h.
_PR_SET_PDEATHSIG = 1
_POLL_SECONDS = 0.1
#: It has nothing to load, so it answers within seconds even on a slow machine; how much is restored later is no matter.
START_SECONDS = 180
#: A server that takes so long for one answer may be starting still, and is asked again.
_ANSWER_SECONDS = 10
#: It ends by itself within half a minute, whatever it holds; only one that hangs does not.
_STOP_SECONDS = 180


@contextmanager
def serving(
    settings: Settings, settings_file: Path | None, clock: Clock, sleep: Callable[[float], None]
) -> Iterator[None]:
    """`wakeline warehouse` over the settings' data folder. Raises BackupError with what it says, or that it hangs."""
    _require_stopped(settings)
    log = settings.data_dir / "warehouse.log"
    process = _start(settings, settings_file, log)
    try:
        _await_answer(settings, process, log, clock, sleep)
        yield
    except BaseException:
        _kill(process)  # Nothing of what it holds is kept.
        raise
    if not _stop(process):
        raise BackupError(
            f"The warehouse hangs: it did not end within {_STOP_SECONDS} seconds, so what was restored may not be"
            " whole. Look at the disk, then restore again."
        )
    log.unlink()


def _start(settings: Settings, settings_file: Path | None, log: Path) -> "subprocess.Popen[bytes]":
    environment = {**os.environ, "WAKELINE_DATA_DIR": str(settings.data_dir.resolve())}
    if settings_file:
        environment[CONFIG_VARIABLE] = str(settings_file.resolve())
    with log.open("wb") as out:
        return subprocess.Popen(
            [sys.executable, "-m", "wakeline", "warehouse"],
            stdout=out,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
            preexec_fn=_end_with_parent,
        )


def _await_answer(
    settings: Settings, process: "subprocess.Popen[bytes]", log: Path, clock: Clock, sleep: Callable[[float], None]
) -> None:
    began_ms = clock()
    while not _answers(settings):
        if process.poll() is not None:
            raise BackupError(f"The warehouse does not start: {_said_last(log)}")
        if clock() - began_ms >= START_SECONDS * 1000:
            raise BackupError(
                f"The warehouse hangs: it does not answer {START_SECONDS} seconds after its start. Its last words:"
                f" {_said_last(log) or 'none'}"
            )
        sleep(_POLL_SECONDS)


def _said_last(log: Path) -> str:
    said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return said[-1].removeprefix("wakeline: ") if said else ""


def _stop(process: "subprocess.Popen[bytes]") -> bool:
    """Whether it ended when it was asked to; one that hangs is killed."""
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        _kill(process)
        return False
    return True


def _kill(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait()


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
        connect(settings.warehouse, database="default", patience_seconds=_ANSWER_SECONDS).close()
    except WarehouseError:
        return False
    return True
