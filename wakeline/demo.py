"""`wakeline demo`: the whole stack, shopper traffic, and a live report."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import orjson
from rich.console import Console, Group
from rich.live import Live
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from wakeline.cli import config_file, stop_on_sigterm, until_signalled
from wakeline.clock import system_clock
from wakeline.errors import WakelineError
from wakeline.report import STATUSES, build_report, report_tables
from wakeline.settings import CONFIG_VARIABLE, Settings, load_settings
from wakeline.settled import unsettled

_POSITIVE = click.FloatRange(min=0, min_open=True)
_CONFIG = Path("demo.toml")
#: What the shoppers cause; nobody signs up for anything that must be confirmed.
_PLAYED = ("abandoned_cart", "category_dwell", "order_confirmation")
_REPORT_NAME = "demo-report.json"
#: After the traffic is through, how long its last wake-ups and sends may take.
_SETTLE_SECONDS = 120
_REFRESH_SECONDS = 1.0
#: Pause between two lines where there is no terminal to draw on.
_LINE_SECONDS = 5.0


@click.command()
@click.option("--once", is_flag=True, help="Stop when the traffic is through and every send is settled.")
@click.option("--people", default=60, show_default=True, type=click.IntRange(min=1), help="Shoppers to simulate.")
@click.option("--minutes", default=60.0, show_default=True, type=_POSITIVE, help="Simulated minutes of shopping.")
@click.option("--speed", default=60.0, show_default=True, type=_POSITIVE, help="Simulated seconds per second.")
@click.option("--seed", type=int, help="Other shoppers for another seed; without it, new ones at every start.")
def demo(once: bool, people: int, minutes: float, speed: float, seed: int | None) -> None:
    """Start everything, play shopper traffic into the collector, and show what comes of it.

    Stays up until Ctrl-C. With --once it ends when all sends are settled: exit code 0 if every campaign that shoppers
    cause sent mail.
    """
    if CONFIG_VARIABLE not in os.environ and _CONFIG.exists():
        os.environ[CONFIG_VARIABLE] = str(_CONFIG.resolve())
    settings = load_settings()
    console = Console(stderr=True)
    stop_on_sigterm()
    from wakeline.stack.supervisor import Stack

    with _Steps(console) as steps, Stack(settings, config_file(), steps.say) as stack:
        stack.start()
        steps.done()
        console.print(_addresses(settings))
        traffic = _start_traffic(people, minutes, speed, seed if seed is not None else system_clock())
        try:
            if once:
                _watch_until_settled(settings, traffic, stack.check, console)
                _write_report(settings, console)
            else:
                _watch_until_signalled(settings, traffic, stack.check, console)
        finally:
            _end(traffic)
            console.print("Stopping the stack ...")


class _Steps:
    """Says what is being started, with the time it takes."""

    def __init__(self, console: Console) -> None:
        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        self._progress = Progress(*columns, console=console, transient=True)
        self._console = console
        self._task = self._progress.add_task("Starting", total=None)

    def __enter__(self) -> "_Steps":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def say(self, step: str) -> None:
        self._progress.update(self._task, description=f"Starting: {step}")
        if not self._console.is_terminal:
            self._console.print(f"Starting: {step}")

    def done(self) -> None:
        self._progress.stop()


def _addresses(settings: Settings) -> str:
    pages = f"http://{settings.pages.host}:{settings.pages.port}"
    return "\n".join(
        (
            "",
            f"  Dagster    http://{settings.dagster.host}:{settings.dagster.port}",
            f"  Outbox     {pages}/",
            f"  Demo shop  {pages}/shop",
            f"  Collector  http://{settings.collector.host}:{settings.collector.port}",
            "",
        )
    )


def _start_traffic(people: int, minutes: float, speed: float, seed: int) -> "subprocess.Popen[bytes]":
    options = {"people": people, "minutes": minutes, "speed": speed, "seed": seed}
    arguments = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    return subprocess.Popen(
        [sys.executable, "-m", "wakeline", "play", "--format", "storefront", "--json", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def _end(traffic: "subprocess.Popen[bytes]") -> None:
    if traffic.poll() is None:
        traffic.terminate()
    traffic.communicate()


def _posted(traffic: "subprocess.Popen[bytes]") -> int:
    """How many messages were posted. Raises WakelineError with what the player said when it failed."""
    out, err = traffic.communicate()
    if traffic.returncode != 0:
        raise WakelineError(f"The traffic failed: {err.decode().strip().splitlines()[-1]}")
    return int(json.loads(out)["posted"])


def _watch_until_settled(
    settings: Settings, traffic: "subprocess.Popen[bytes]", check: Callable[[], None], console: Console
) -> None:
    report = build_report(settings, system_clock)
    # Not what was received: a heartbeat that is not read yet cannot be told from other events.
    before = sum(report[status] for status in STATUSES)
    posted: int | None = None
    deadline = None
    with _Watcher(console) as watcher:
        while True:
            check()
            if posted is None and traffic.poll() is not None:
                posted = _posted(traffic)
                deadline = time.monotonic() + _SETTLE_SECONDS
            watcher.show(build_report(settings, system_clock))
            reason = "the traffic is still playing" if posted is None else unsettled(settings, before + posted)
            if reason is None:
                return
            if deadline is not None and time.monotonic() > deadline:
                raise WakelineError(f"The demo did not settle within {_SETTLE_SECONDS} s: {reason}.")
            time.sleep(_REFRESH_SECONDS)


def _watch_until_signalled(
    settings: Settings, traffic: "subprocess.Popen[bytes]", check: Callable[[], None], console: Console
) -> None:
    with _Watcher(console) as watcher:

        def refresh() -> None:
            check()
            if traffic.poll() not in (None, 0):
                _posted(traffic)
            watcher.show(build_report(settings, system_clock))

        until_signalled(refresh)


class _Watcher:
    """The live report: tables that stay in place on a terminal, a line now and then elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, refresh_per_second=2, transient=True)
        self._said_at = 0.0

    def __enter__(self) -> "_Watcher":
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def show(self, report: dict[str, Any]) -> None:
        if self._console.is_terminal:
            self._live.update(Group(*report_tables(report)))
        elif time.monotonic() - self._said_at > _LINE_SECONDS:
            self._said_at = time.monotonic()
            self._console.print(_line(report))


def _line(report: dict[str, Any]) -> str:
    sent = ", ".join(f"{name} {states.get('sent', 0)}" for name, states in sorted(report["sends"].items()))
    return f"{report['received']:,} events, {report['profiles']:,} profiles, sent: {sent or 'nothing yet'}"


def _write_report(settings: Settings, console: Console) -> None:
    report = build_report(settings, system_clock)
    path = settings.data_dir / _REPORT_NAME
    path.write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2))
    console.print(*report_tables(report))
    console.print(f"The report is in {path}.")
    silent = [name for name in _PLAYED if not report["sends"].get(name, {}).get("sent")]
    if silent:
        raise WakelineError(f"No mail was sent by {', '.join(silent)}; see 'sends' in {path} for the reasons.")
