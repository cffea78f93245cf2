"""What the test brokers have in common: servers of others, each in a session of its own, on loopback."""

import contextlib
import os
import signal
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from support.stack import await_that, is_alive, stop_process

BROKERS = Path(__file__).resolve().parents[1] / "brokers"
_START_SECONDS = 60
_STOP_SECONDS = 30
_TAIL_LINES = 40
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")

Server = TypeVar("Server", bound="BrokerProcess")


class BrokerProcess(ABC):
    """A server of someone else's; what it keeps in `folder` and its ports outlive a restart."""

    name: str

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._log_path = folder / "broker.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process that runs now."""
        return self._running().pid

    def start(self) -> None:
        """Returns when it answers; fails with what it wrote when it does not."""
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(
                self._command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._working_folder(),
                env={**without_proxies(os.environ), **self._environment()},
                start_new_session=True,
                user=self._user,
            )
        await_that(lambda: f"{self.name} answers; it wrote:\n{self.said()}\n", self._is_ready, _START_SECONDS)

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self._running().terminate()
        return self._wait()

    def kill(self) -> None:
        """kill -9, also when it stands still; safe to call when it has ended."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._wait()

    def restart(self) -> None:
        """kill -9, then start it again on the same folder and ports."""
        self.kill()
        self.start()

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """It stands still meanwhile: connections stay open, and nothing answers."""
        pid = self.pid
        stop_process(pid)
        try:
            yield
        finally:
            if is_alive(pid):
                os.kill(pid, signal.SIGCONT)

    def said(self) -> str:
        """The end of what it wrote, without the frames of Java's stack traces, which would push out their cause."""
        lines = self._log_path.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join([line for line in lines if not line.startswith("\tat ")][-_TAIL_LINES:])

    @abstractmethod
    def _command(self) -> Sequence[str]:
        """The program and its arguments."""

    def _environment(self) -> Mapping[str, str]:
        return {}

    def _working_folder(self) -> Path:
        return self.folder

    @property
    def _user(self) -> str | None:
        """Who runs it instead of whoever runs the tests."""
        return None

    @abstractmethod
    def _answers(self) -> bool:
        """Whether it takes requests by now."""

    def _is_ready(self) -> bool:
        code = self._running().poll()
        assert code is None, f"{self.name} ended with {code}; it wrote:\n{self.said()}"
        return self._answers()

    def _running(self) -> "subprocess.Popen[bytes]":
        assert self._process is not None, f"{self.name} does not run."
        return self._process

    def _wait(self) -> int:
        process = self._running()
        code = process.wait(_STOP_SECONDS)
        self._process = None
        return code


@contextmanager
def started(server: Server) -> Iterator[Server]:
    """The server while the context lasts; it is killed at the end, whatever happened."""
    try:
        server.start()
        yield server
    finally:
        server.kill()


def without_proxies(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment that leads no request for this machine through a proxy."""
    unset = {*_PROXIES, *(name.lower() for name in _PROXIES)}
    return {name: value for name, value in environment.items() if name not in unset}
