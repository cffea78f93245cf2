"""The public event clients, unmodified, as users run them."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from support.programs import require

CLIENTS = Path(__file__).resolve().parents[1] / "clients"
_TIMEOUT_SECONDS = 90
#: Clients batch, wait and retry with these of the machine's variables out of the way.
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")

#: What is in ClickHouse. Snowplow has numbers in `value`, RudderStack's Python client has traits in the context.
ARRIVED = """
    SELECT
        type,
        event,
        greatest(
            JSONExtractInt(message, 'properties', 'n'),
            JSONExtractInt(message, 'properties', 'value'),
            JSONExtractInt(message, 'traits', 'n'),
            if(type = 'identify', JSONExtractInt(message, 'context', 'traits', 'n'), 0)
        ) AS n
    FROM landing
    WHERE status = 'accepted'
"""

#: (type, event name, number) of an event that a client was given.
Given = tuple[str, str, int]


def run_client(command: str, script: str, *arguments: str) -> list[Given]:
    """What the client was given; returns when it says that it has sent everything."""
    unset = {*_PROXIES, *(name.lower() for name in _PROXIES)}
    done = subprocess.run(
        [command, str(CLIENTS / script), *arguments],
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_SECONDS,
        env={name: value for name, value in os.environ.items() if name not in unset},
    )
    assert done.returncode == 0, done.stderr
    return [tuple(one) for one in json.loads(done.stdout.splitlines()[-1])]


def python() -> str:
    """The interpreter of the tests."""
    return sys.executable


def node() -> str:
    """Node, with the clients installed; without them the test is skipped, or fails where `CI` is set."""
    found = shutil.which("node")
    if found is None:
        require("Node.js is not installed; install it to test the JavaScript clients.")
    if not (CLIENTS / "node_modules").is_dir():
        require("The JavaScript clients are not installed; run 'make clients'.")
    return str(found)


def bundle(script: str, folder: Path) -> Path:
    """A script with the clients it imports, as one file for a page."""
    node()
    target = folder / "bundle.js"
    esbuild = CLIENTS / "node_modules" / ".bin" / "esbuild"
    options = ["--bundle", "--format=esm", "--platform=browser", "--log-level=error", f"--outfile={target}"]
    subprocess.run([str(esbuild), str(CLIENTS / script), *options], check=True, timeout=_TIMEOUT_SECONDS)
    return target


def sorted_events(events: Iterable[Iterable[object]]) -> list[tuple[str, str, int]]:
    """Events in an order of their own, for comparison."""
    return sorted((str(kind), str(name), int(str(number))) for kind, name, number in events)
