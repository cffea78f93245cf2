"""A whole stack for tests that break it: real processes on free ports, with a data folder of its own."""

import contextlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xmlrpc.client import ServerProxy

import httpx
import sqlalchemy as sa
from supervisor.xmlrpc import SupervisorTransport

from support.ports import free_ports
from wakeline.clock import system_clock
from wakeline.engines import open_database
from wakeline.errors import WakelineError
from wakeline.pipeline.factory import lane_store
from wakeline.pipeline.lanes import FIRST_LANE, LaneState
from wakeline.play.storefront import simulate
from wakeline.settings import CONFIG_VARIABLE, Settings, load_settings
from wakeline.settled import unsettled
from wakeline.stack.programs import socket_path
from wakeline.stack.supervisor import Stack
from wakeline.streams.factory import open_stream
from wakeline.warehouse.client import connect
from wakeline.warehouse.landing import Landing

PROJECT_DIR = Path(__file__).resolve().parents[2]
PEOPLE = 120
MINUTES = 30
#: Half an hour of shopping in twenty seconds.
SPEED = 90
LEASE_SECONDS = 5

#: For looks that open connections: more of them would take the cores from what is waited for.
DEAR_POLL_SECONDS = 0.3

_POLL_SECONDS = 0.05
_START_SECONDS = 300
_STOP_SECONDS = 100
_PLAY_SECONDS = 120
_SETTLE_SECONDS = 90
_BATCH_SECONDS = 30

_SETTINGS = """\
project_dir = "{project_dir}"
data_dir = "data"

[collector]
port = {collector}
allowed_origins = ["http://127.0.0.1:{pages}"]

[warehouse]
port = {warehouse}
native_port = {native}

[pages]
port = {pages}

[metrics]
port = {metrics}
collector_port = {collector_metrics}

[dagster]
port = {web}
code_port = {code}

[lane]
lease_seconds = {lease_seconds}

[sla]
heartbeat_seconds = {heartbeat_seconds}

[activation]
public_url = "http://127.0.0.1:{collector}"
automated_click_seconds = {automated_click_seconds}

[dbt_vars]
abandoned_cart_after_seconds = 5
category_dwell_minutes = {category_dwell_minutes}
"""
#: Without heartbeats, so that what was played is all that comes.
_SHORTENABLE = {"automated_click_seconds": 2.0, "category_dwell_minutes": 10.0, "heartbeat_seconds": 0.0}
_PORTS = ("collector", "warehouse", "native", "pages", "metrics", "collector_metrics", "web", "code")

# Dagster writes the process of a run into the run's log.
_RUN_LOG = """
    query Log($run: ID!) {
      logsForRun(runId: $run) {
        ... on EventConnection {
          events { ... on EngineEvent { metadataEntries { label ... on TextMetadataEntry { text } } } }
        }
      }
    }
"""
_CANCEL = "mutation Cancel($run: String!) { terminateRun(runId: $run) { __typename } }"
_RUN_STATUS = "query Status($run: ID!) { runOrError(runId: $run) { ... on Run { status } } }"


class RunningStack:
    """A stack that `wakeline up` runs; `messages` are all that were played into it, with repetitions.

    `shortened` are waits of the settings for which a test has no time; `environment` adds to that of its processes, and
    must be set in this one as well where it holds settings.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str] | None = None, **shortened: float) -> None:
        self.messages: list[dict[str, Any]] = []
        self.settings_path = folder / "wakeline.toml"
        self.settings_path.write_text(_settings_text(shortened), encoding="utf-8")
        self._environment = {**os.environ, **(environment or {}), CONFIG_VARIABLE: str(self.settings_path)}
        self.settings: Settings = load_settings(self.settings_path)
        self._log_path = folder / "up.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when everything answers."""
        with self._log_path.open("wb") as log:
            self._process = self._wakeline(["up"], log)
        await_that("the stack is up", self._is_up, _START_SECONDS)

    def stop(self) -> None:
        """Stop it as Ctrl-C does; safe to call twice."""
        if self._process is None:
            return
        process, self._process = self._process, None
        process.terminate()
        assert process.wait(_STOP_SECONDS) == 0, self._said()

    def kill(self) -> None:
        """Kill every process of it at once, as far as that can be told from a machine that goes down.

        Safe to call twice.
        """
        if self._process is None:
            return
        process, self._process = self._process, None
        process.kill()
        process.wait()
        while alive := self.leftovers():
            for pid in alive:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def program(self, name: str) -> int:
        """The process of a supervised program that runs now."""
        return Stack(self.settings, self.settings_path, lambda step: None).pids()[name]

    def stop_program(self, name: str) -> None:
        """Stop a supervised program, which then stays stopped."""
        self._supervise("stopProcess", name)

    def start_program(self, name: str) -> None:
        """Start it again."""
        self._supervise("startProcess", name)

    def worker(self, lane: str = FIRST_LANE) -> int:
        """The process of the run that holds the lane: the holder is a Dagster run, whose log names the process."""
        run_id = self.lane(lane).holder
        events = self.ask_dagster(_RUN_LOG, run_id)["logsForRun"]["events"]
        entries = (entry for event in events for entry in event.get("metadataEntries", ()))
        pid = next(int(entry["text"]) for entry in entries if entry["label"] == "pid")
        assert parent_of(pid) == self.program("code"), f"Process {pid} of run {run_id} is not the code server's child."
        return pid

    def run_status(self, run_id: str) -> str:
        """The status that Dagster shows of a run."""
        return str(self.ask_dagster(_RUN_STATUS, run_id)["runOrError"]["status"])

    def cancel(self, run_id: str) -> None:
        """Cancel a run as Dagster's UI does."""
        answer = self.ask_dagster(_CANCEL, run_id)
        assert answer["terminateRun"]["__typename"] == "TerminateRunSuccess", answer

    def lane(self, lane: str = FIRST_LANE) -> LaneState:
        """Who holds the lane."""
        engine = open_database(self.settings)
        try:
            return lane_store(self.settings, engine).state(lane)
        finally:
            engine.dispose()

    def ledger(self, query: sa.Select[Any]) -> Sequence[sa.RowMapping]:
        """Rows of the ledger database."""
        engine = open_database(self.settings)
        try:
            with engine.connect().execution_options(read_only=True) as connection:
                return connection.execute(query).mappings().all()
        finally:
            engine.dispose()

    def warehouse(self, query: str) -> Sequence[Sequence[Any]]:
        """Rows of ClickHouse."""
        client = connect(self.settings.warehouse)
        try:
            return client.query(query).result_rows
        finally:
            client.close()

    def received(self) -> int:
        """How many events were ever appended to the stream; where it does not count them, how many have landed."""
        stream = open_stream(self.settings, system_clock)
        try:
            events = stream.lag({}).events
        finally:
            stream.close()
        return sum(self.landed().values()) if events is None else events

    def landed(self) -> dict[int, int]:
        """Partition -> how many of its events are in landing."""
        rows = self.warehouse("SELECT partition, count() FROM landing GROUP BY partition")
        return {int(partition): int(events) for partition, events in rows}

    def mails(self) -> dict[str, int]:
        """Key -> time of writing of every mail that the outbox has."""
        return {path.stem: path.stat().st_mtime_ns for path in self.settings.outbox_dir.glob("*.eml")}

    @contextmanager
    def between_ingest_and_commit(self) -> Iterator[None]:
        """The lane stands still in the middle of a batch: what it would write next is the ledger, which is locked.

        Nothing here may open the ledger meanwhile.
        """
        with contextlib.closing(
            sqlite3.connect(self.settings.ledger_path, isolation_level=None, timeout=30)
        ) as connection:
            await_that("a batch has begun", lambda: _locked_in_a_batch(connection), _BATCH_SECONDS)
            begun = _begun(connection)
            await_that("the batch is ingested", lambda: self._is_ingested(begun), _BATCH_SECONDS)
            yield

    @contextmanager
    def play(self, seed: int, people: int = PEOPLE, minutes: float = MINUTES, speed: float = SPEED) -> Iterator["Play"]:
        """Shopper traffic, new for every seed; ended with the context if it has not ended by itself."""
        messages = [timed.message for timed in simulate(seed, people, minutes)]
        self.messages += messages
        log_path = self._log_path.with_name(f"play-{seed}.log")
        with log_path.open("wb") as log:
            options = {"people": people, "minutes": minutes, "speed": speed, "seed": seed}
            arguments = [part for name, value in options.items() for part in (f"--{name}", str(value))]
            process = self._wakeline(["play", "--format", "storefront", "--json", *arguments], log, subprocess.PIPE)
        try:
            yield Play(self, process, len(messages), log_path)
        finally:
            if process.poll() is None:
                process.kill()
            process.communicate()

    def await_settled(self, seconds: float = _SETTLE_SECONDS) -> None:
        """Returns when everything that was played is processed to its end."""
        reasons = [""]

        def is_settled() -> bool:
            with contextlib.suppress(WakelineError):
                reasons.append(unsettled(self.settings, len(self.messages)) or "")
                return not reasons[-1]
            return False

        await_that(lambda: f"everything is settled ({reasons[-1]})", is_settled, seconds, DEAR_POLL_SECONDS)

    def leftovers(self) -> dict[int, str]:
        """Processes of this deployment that are alive: every program and every run has its data folder about it."""
        mark = str(self.settings.data_dir).encode()
        others = [pid for pid in _all_processes() if pid != os.getpid()]
        return {pid: _command(pid) for pid in others if mark in _about(pid)}

    def ports(self) -> dict[str, int]:
        """What listens where while the stack runs."""
        settings = self.settings
        return {
            "collector": settings.collector.port,
            "warehouse": settings.warehouse.port,
            "native": settings.warehouse.native_port,
            "pages": settings.pages.port,
            "metrics": settings.metrics.port,
            "collector_metrics": settings.metrics.collector_port,
            "web": settings.dagster.port,
            "code": settings.dagster.code_port,
        }

    def _supervise(self, method: str, program: str) -> None:
        transport = SupervisorTransport(None, None, f"unix://{socket_path(self.settings)}")
        with ServerProxy("http://127.0.0.1", transport=transport) as proxy:
            getattr(proxy.supervisor, method)(program)

    def _is_ingested(self, begun: dict[str, list[int]]) -> bool:
        client = connect(self.settings.warehouse)
        try:
            ends = Landing(client, self.settings.stream.name).committed()
        finally:
            client.close()
        return all(ends.get(int(partition), 0) >= end for partition, (_, end) in begun.items())

    def _wakeline(self, arguments: list[str], log: Any, out: Any = None) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [sys.executable, "-m", "wakeline", *arguments],
            stdout=log if out is None else out,
            stderr=log,
            env=self._environment,
        )

    def _is_up(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self._said()
        return "Collector: http" in self._said()

    def _said(self) -> str:
        return self._log_path.read_text(encoding="utf-8", errors="replace")

    def ask_dagster(self, query: str, run_id: str) -> dict[str, Any]:
        url = f"http://{self.settings.dagster.host}:{self.settings.dagster.port}/graphql"
        answer = httpx.post(url, json={"query": query, "variables": {"run": run_id}}, timeout=30)
        return dict(answer.raise_for_status().json()["data"])


class Play:
    """Traffic under way."""

    def __init__(
        self, stack: RunningStack, process: "subprocess.Popen[bytes]", message_count: int, log_path: Path
    ) -> None:
        self._stack = stack
        self._process = process
        self._message_count = message_count
        self._log_path = log_path
        self._received_before = stack.received()
        self._mails_before = len(stack.mails())

    def await_middle(self, least_mails: int = 3) -> None:
        """Returns when a third of the events came in and some mails went out, with most of the play to come."""
        in_middle = lambda: self._is_in_its_middle(least_mails)  # noqa: E731
        await_that("the play is in its middle", in_middle, _PLAY_SECONDS, DEAR_POLL_SECONDS)
        assert self._process.poll() is None, "The play was over before anything could be broken."

    def finish(self, seconds: float = _PLAY_SECONDS) -> dict[str, Any]:
        """The player's own result, once everything is posted."""
        out, _ = self._process.communicate(timeout=seconds)
        assert self._process.returncode == 0, self._log_path.read_text(encoding="utf-8", errors="replace")
        result = dict(json.loads(out))
        assert result["posted"] == self._message_count
        return result

    def _is_in_its_middle(self, least_mails: int) -> bool:
        came_in = self._stack.received() - self._received_before
        went_out = len(self._stack.mails()) - self._mails_before
        return came_in > self._message_count // 3 and went_out >= least_mails


def await_that(
    what: str | Callable[[], str], condition: Callable[[], bool], seconds: float, poll_seconds: float = _POLL_SECONDS
) -> None:
    """Returns as soon as the condition holds; fails with `what` when it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        said = what if isinstance(what, str) else what()
        assert time.monotonic() < deadline, f"Waited {seconds} s in vain until {said}."
        time.sleep(poll_seconds)


def parent_of(pid: int) -> int:
    """The parent of a process."""
    return int(_status(pid)["PPid"])


def is_alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    return _status(pid).get("State", "Z")[0] not in "ZX"


def stop_process(pid: int) -> None:
    """SIGSTOP; returns when none of its threads runs any more."""
    os.kill(pid, signal.SIGSTOP)
    await_that(f"process {pid} stands still", lambda: _status(pid)["State"].startswith("T"), 10)


def is_free(port: int) -> bool:
    """Whether nobody listens on a port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def _settings_text(shortened: dict[str, float]) -> str:
    ports = dict(zip(_PORTS, free_ports(len(_PORTS)), strict=True))
    waits = {**_SHORTENABLE, **shortened}
    return _SETTINGS.format(project_dir=PROJECT_DIR, lease_seconds=LEASE_SECONDS, **waits, **ports)


def _locked_in_a_batch(connection: sqlite3.Connection) -> bool:
    connection.execute("BEGIN IMMEDIATE")
    if _begun(connection):
        return True
    connection.execute("ROLLBACK")
    return False


def _begun(connection: sqlite3.Connection) -> dict[str, list[int]]:
    [[intent]] = connection.execute("SELECT intent FROM lanes WHERE lane = ?", (FIRST_LANE,))
    return dict(json.loads(intent or "{}"))


def _all_processes() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]


def _about(pid: int) -> bytes:
    about = b""
    for name in ("environ", "cmdline"):
        with contextlib.suppress(OSError):
            about += Path(f"/proc/{pid}/{name}").read_bytes()
    return about


def _command(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""


def _status(pid: int) -> dict[str, str]:
    with contextlib.suppress(OSError):
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
        return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return {}
