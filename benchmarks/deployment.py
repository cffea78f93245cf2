"""A fresh stack for the benchmark: its own folder, ports and broker, nothing of the user's settings."""

import fcntl
import os
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from support.streams import open_broker

from wakeline.errors import WakelineError
from wakeline.settings import Settings, load_settings

#: In the repository and not in a temporary folder, which may be memory: durable writes must cost what they cost.
FOLDER = Path(__file__).resolve().parent.parent / ".wakeline-bench"
_PORTS = (
    "collector.port",
    "warehouse.port",
    "warehouse.native_port",
    "pages.port",
    "metrics.port",
    "metrics.collector_port",
    "dagster.port",
    "dagster.code_port",
)
_RUNS = """query($filter: RunsFilter) { runsOrError(filter: $filter) {
  ... on Runs { results { runId jobName status startTime endTime } } } }"""
_TERMINATE = "mutation($run: String!) { terminateRun(runId: $run) { __typename } }"
_SECONDS = 30.0


@contextmanager
def fresh_settings(stream: str, lanes: int) -> Iterator[tuple[Settings, Path, dict[str, int]]]:
    """Settings of an empty deployment, and the file they are in; what an earlier benchmark left is removed.

    If the kind of stream needs a broker, one of the tests' runs meanwhile: the third is its process, by name.
    """
    for name in [name for name in os.environ if name.startswith("WAKELINE_")]:
        del os.environ[name]
    remove()
    FOLDER.mkdir()
    (FOLDER / ".gitignore").write_text("*\n", encoding="utf-8")
    path = FOLDER / "wakeline.toml"
    path.write_text(settings_text(_free_ports(len(_PORTS))), encoding="utf-8")
    with open_broker(stream, FOLDER / "broker") as broker:
        os.environ |= {**broker.environment, "WAKELINE_LANE__COUNT": str(lanes)}
        yield load_settings(path), path, {"broker": broker.process.pid} if broker.process else {}


def await_answer(url: str, patience_seconds: float = _SECONDS) -> None:
    """Wait until a server answers; raises its last error when it does not."""
    deadline = time.monotonic() + patience_seconds
    while True:
        try:
            httpx.get(url).raise_for_status()
            return
        except httpx.TransportError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def take_lock() -> int:
    """A file descriptor that keeps other benchmarks away while it is open. Raises WakelineError when one runs."""
    lock = os.open(Path(__file__).parent, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise WakelineError("Another benchmark is running; wait for its end.") from error
    return lock


def remove() -> None:
    """Delete the deployment's folder."""
    shutil.rmtree(FOLDER, ignore_errors=True)


def settings_text(ports: list[int]) -> str:
    """The settings file: the defaults but for ports and folders."""
    sections: dict[str, list[str]] = {}
    for name, port in zip(_PORTS, ports, strict=True):
        section, key = name.split(".")
        sections.setdefault(section, []).append(f"{key} = {port}")
    sections["activation"] = [f'public_url = "http://127.0.0.1:{ports[0]}"']
    parts = ['project_dir = ".."\ndata_dir = "."']
    parts += ["\n".join((f"[{section}]", *lines)) for section, lines in sections.items()]
    return "\n\n".join(parts) + "\n"


def _free_ports(count: int) -> list[int]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


class Dagster:
    """The web server's GraphQL, as its own pages use it."""

    def __init__(self, settings: Settings) -> None:
        self._url = f"http://{settings.dagster.host}:{settings.dagster.port}/graphql"

    def runs(self, **wanted: object) -> list[dict[str, Any]]:
        """Runs with runId, jobName, status, startTime and endTime; `wanted` is a RunsFilter."""
        found: list[dict[str, Any]] = self._ask(_RUNS, {"filter": wanted})["runsOrError"]["results"]
        return found

    def terminate(self, run_id: str) -> None:
        """Cancel a run, as the button in the pages does."""
        self._ask(_TERMINATE, {"run": run_id})

    def _ask(self, query: str, variables: dict[str, object]) -> dict[str, Any]:
        answer = httpx.post(self._url, json={"query": query, "variables": variables}, timeout=_SECONDS)
        data: dict[str, Any] = answer.raise_for_status().json()["data"]
        return data


def overlapping(runs: list[dict[str, Any]], begin: float, end: float) -> list[str]:
    """Names of the jobs whose runs took part of the time between two moments, in seconds since 1970."""
    return sorted(
        {
            run["jobName"]
            for run in runs
            if run["startTime"] and run["startTime"] < end and begin < (run["endTime"] or end)
        }
    )


def mails(settings: Settings) -> int:
    """Mails in the outbox."""
    return sum(1 for _ in settings.outbox_dir.glob("*.eml"))
