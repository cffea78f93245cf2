"""Starts, watches and stops the stack through supervisord."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any
from xmlrpc.client import Fault, ServerProxy

import httpx
from supervisor.xmlrpc import SupervisorTransport

from wakeline.alerts.channels import open_channels
from wakeline.clock import system_clock
from wakeline.engines import open_database
from wakeline.errors import StreamError, WakelineError
from wakeline.pipeline.factory import lane_store
from wakeline.pipeline.stream_check import check_stream
from wakeline.settings import Settings
from wakeline.stack.dagster_instance import require_storage, storage_environment, write_instance
from wakeline.stack.programs import dagster_home, log_path, socket_path, supervisor_config
from wakeline.streams.factory import open_stream
from wakeline.warehouse.client import connect

_POLL_SECONDS = 0.1
_START_SECONDS = 120
_STOP_SECONDS = 90
_LOG_TAIL_LINES = 15


class Stack:
    """The processes of one deployment on this machine; a context manager that stops what it started."""

    def __init__(self, settings: Settings, config_path: Path | None, say: Callable[[str], None]) -> None:
        self._settings = settings
        self._config_path = config_path
        self._say = say
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Stack":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start everything and return when all of it answers. Raises WakelineError naming what does not, and why.

        A stream that cannot be read is said and not waited for: all else runs without it, and shows what is wrong.
        """
        open_channels(self._settings.alerts)  # A wrong address is told now, not when something is wrong.
        self._check_ports()
        require_storage(self._settings.dagster)
        self._start_supervisor()
        self._say("warehouse")
        self._await("warehouse", self._warehouse_answers)
        from wakeline.warehouse.deploy import deploy  # Imports dbt, which takes seconds: meanwhile the engine starts.

        storage = self._create_dagster_storage()
        deploy(self._settings, self._say)
        self._require_dagster_storage(storage)
        for name in ("code", "daemon", "web"):
            self._say(f"dagster {name}")
            self._call("startProcess", name, False)
        for name, port in self._ports().items():
            self._await(name, lambda port=port: _listens(*port))  # type: ignore[misc]
        self._await("web", self._dagster_answers)
        if fault := stream_fault(self._settings):
            self._say(f"no resident run yet, the stream cannot be read: {fault}")
        else:
            self._say("resident run")
            self._await("daemon", self._lanes_are_held)

    def stop(self) -> None:
        """Stop every process, in the reverse order of starting; safe to call twice."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise WakelineError(f"The stack did not stop within {_STOP_SECONDS} s and was killed.") from None
        finally:
            self._process = None

    def pids(self) -> dict[str, int]:
        """Program name -> process id of what runs now."""
        return {one["name"]: one["pid"] for one in self._call("getAllProcessInfo") if one["pid"]}

    def check(self) -> None:
        """Raise WakelineError when a process could not be kept running."""
        for one in self._call("getAllProcessInfo"):
            if one["statename"] == "FATAL":
                raise WakelineError(self._why(one["name"]))

    def _check_ports(self) -> None:
        for name, (host, port) in self._ports().items():
            if _listens(host, port):
                raise WakelineError(
                    f"Port {port} of the {name} is in use; stop what uses it (another stack?) or set another port."
                )

    def _ports(self) -> dict[str, tuple[str, int]]:
        settings = self._settings
        ports = {
            "collector": (settings.collector.host, settings.collector.port),
            "metrics": (settings.metrics.host, settings.metrics.port),
            "pages": (settings.pages.host, settings.pages.port),
            "code": ("127.0.0.1", settings.dagster.code_port),
            "web": (settings.dagster.host, settings.dagster.port),
        }
        if settings.warehouse.embedded:
            ports["warehouse"] = (settings.warehouse.host, settings.warehouse.port)
        return ports

    def _start_supervisor(self) -> None:
        home = dagster_home(self._settings)
        # Counters begin anew with the stack; a power cut may have left something there that cannot be read.
        shutil.rmtree(self._settings.lane_metrics_dir, ignore_errors=True)
        for folder in (home, self._settings.data_dir / "logs", self._settings.data_dir / "supervisor"):
            folder.mkdir(parents=True, exist_ok=True)
        write_instance(self._settings.project_dir, home, self._settings.dagster)
        config = self._settings.data_dir / "supervisor" / "supervisord.conf"
        config.write_text(supervisor_config(self._settings, self._config_path), encoding="utf-8")
        with log_path(self._settings, "supervisor-start").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "supervisor.supervisord", "-n", "-c", str(config)],
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches this process only, which then stops the others in order.
                env={**os.environ, **storage_environment(self._settings.dagster), "PYTHONWARNINGS": "ignore"},
            )
        # That the file is there says nothing: a supervisor that was killed leaves its own behind.
        self._await("supervisor", lambda: _accepts(socket_path(self._settings)))

    def _create_dagster_storage(self) -> "subprocess.Popen[bytes]":
        """Daemon and web server would both create the tables, and fail each other."""
        dagster = str(Path(sys.executable).with_name("dagster"))
        home = {"DAGSTER_HOME": str(dagster_home(self._settings))}
        environment = {**os.environ, **home, **storage_environment(self._settings.dagster)}
        return subprocess.Popen(
            [dagster, "instance", "info"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment
        )

    def _require_dagster_storage(self, storage: "subprocess.Popen[bytes]") -> None:
        _, said = storage.communicate(timeout=_START_SECONDS)
        if storage.returncode != 0:
            raise WakelineError(f"Dagster cannot open its storage: {said.decode().strip().splitlines()[-1]}")

    def _await(self, name: str, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not ready():
            if self._process is not None and self._process.poll() is not None:
                raise WakelineError(f"The process supervisor ended: {self._tail('supervisor-start')}")
            if name != "supervisor":
                self.check()
            if time.monotonic() > deadline:
                raise WakelineError(self._why(name))
            time.sleep(_POLL_SECONDS)

    def _warehouse_answers(self) -> bool:
        if not self._settings.warehouse.embedded:
            connect(self._settings.warehouse, database="default").close()
            return True
        return _listens(self._settings.warehouse.host, self._settings.warehouse.port)

    def _dagster_answers(self) -> bool:
        host, port = self._ports()["web"]
        try:
            return httpx.get(f"http://{host}:{port}/server_info", timeout=5).is_success
        except httpx.TransportError:
            return False

    def _lanes_are_held(self) -> bool:
        engine = open_database(self._settings)
        lanes = lane_store(self._settings, engine)
        states = [lanes.state(lane) for lane in lanes.names()]
        engine.dispose()
        return all(state.holder and state.expires_at_ms > system_clock() for state in states)

    def _why(self, name: str) -> str:
        return f"The {name} does not run: {self._tail(name)}"

    def _tail(self, name: str) -> str:
        path = log_path(self._settings, name)
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
        said = [line for line in lines[-_LOG_TAIL_LINES:] if line.strip()]
        return said[-1] if said else f"see {path}."

    def _call(self, method: str, *arguments: object) -> Any:
        transport = SupervisorTransport(None, None, f"unix://{socket_path(self._settings)}")
        try:
            with ServerProxy("http://127.0.0.1", transport=transport) as proxy:
                return getattr(proxy.supervisor, method)(*arguments)
        except Fault as fault:
            raise WakelineError(f"The process supervisor refuses {method}: {fault.faultString}.") from fault


def stream_fault(settings: Settings) -> str:
    """Why the lanes cannot read the stream, in a sentence that says what to do; empty when they can."""
    engine = open_database(settings)
    stream = open_stream(settings, system_clock)
    try:
        check_stream(stream, lane_store(settings, engine))
    except StreamError as error:
        return str(error)
    finally:
        stream.close()
        engine.dispose()
    return ""


def _listens(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False


def _accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0
