"""Run by `make bench`: how long an event takes to its mail, and how many events a second the whole stack takes.

Starts a fresh stack, offers it one rate after the other, each as an open loop from a process of its own, until one
is too much, and writes results/latest.json and results/latest.md. It asserts no time: the exit code is 1 only when
something happened that must never happen, such as a lost event, an order mailed twice, or a process that died.
`make bench` then runs collector.py, sends.py and sdk.py, which measure the collector, sends and the browser SDK alone.
"""

import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import orjson
from bench import Benchmark
from deployment import FOLDER, fresh_settings, remove, take_lock
from machine import machine_facts
from measure import Gauge
from render import markdown
from results import Step, highest_sustained
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from support.streams import KINDS

from wakeline.clock import system_clock, to_iso
from wakeline.errors import WakelineError
from wakeline.stack.supervisor import Stack

_RATES = "100,1000,2000,5000,10000,20000,50000"
_QUICK_RATES, _QUICK_SECONDS, _QUICK_WARM_UP_SECONDS = [100.0, 1_000.0], 8.0, 2.0
_RESULTS = Path(__file__).parent / "results"


def _rates(_context: click.Context, _parameter: click.Parameter, value: str) -> list[float]:
    try:
        return sorted({float(part) for part in value.split(",") if float(part) > 0})
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is not a list of numbers such as {_RATES}.") from error


@click.command(context_settings={"show_default": True})
@click.option(
    "--rates", callback=_rates, default=_RATES, help="Events a second; it ends at the first that is too many."
)
@click.option("--seconds", default=30.0, type=click.FloatRange(min=1), help="Measured seconds of each rate.")
@click.option("--warm-up", default=5.0, type=click.FloatRange(min=0), help="Seconds before them that do not count.")
@click.option("--quick", is_flag=True, help=f"A smoke run: {_QUICK_SECONDS:.0f} s each of two rates.")
@click.option("--stream", default=KINDS[0], type=click.Choice(KINDS), help="Its broker is that of the tests.")
@click.option("--lanes", default=1, type=click.IntRange(min=1), help="Resident runs that share the stream.")
@click.option("--keep", is_flag=True, help=f"Leave the stack's data in {FOLDER.name} instead of deleting it.")
@click.option(
    "--results", default=_RESULTS, show_default=False, type=click.Path(path_type=Path), help="Folder of the results."
)
def main(
    rates: list[float],
    seconds: float,
    warm_up: float,
    quick: bool,
    stream: str,
    lanes: int,
    keep: bool,
    results: Path,
) -> None:
    """Measure latency and throughput of the whole stack on this machine."""
    if quick:
        rates, seconds, warm_up = _QUICK_RATES, _QUICK_SECONDS, _QUICK_WARM_UP_SECONDS
    # Else the stack, which is in a session of its own, would outlive this process.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        lock = take_lock()
        faults = _run(rates, seconds, warm_up, quick, stream, lanes, results)
    except WakelineError as error:
        click.echo(f"bench: {error}", err=True)
        click.echo(f"bench: the logs are in {FOLDER.name}/logs", err=True)
        sys.exit(1)
    if not keep and not faults:
        remove()
    os.close(lock)
    sys.exit(1 if faults else 0)


def _run(
    rates: Sequence[float], seconds: float, warm_up: float, quick: bool, stream: str, lanes: int, results: Path
) -> list[str]:
    console = Console(stderr=True)
    with (
        fresh_settings(stream, lanes) as (settings, config, broker),
        Display(console) as display,
        Stack(settings, config, display.say) as stack,
    ):
        machine = machine_facts(FOLDER)
        began_ms = system_clock()
        stack.start()
        gauge = Gauge(settings)
        try:
            benchmark = Benchmark(settings, stack, gauge, display.show, seconds, warm_up, broker)
            facts: dict[str, Any] = {"measured_at": to_iso(began_ms), "machine": machine}
            facts |= {"stream": stream, "lanes": lanes}
            facts["cold_start_seconds"] = benchmark.cold_start(began_ms)
            benchmark.prepare(wait_for_batch_models=not quick)
            steps = _steps(benchmark, rates, display)
            facts["idle_seconds"] = benchmark.idle()
            totals = benchmark.totals()
            facts |= {"totals": asdict(totals), "faults": benchmark.faults(totals)}
        finally:
            gauge.close()
    _write(facts, steps, results)
    console.print(
        f"Highest sustained rate: {highest_sustained(steps) or 0:,.0f} events/s; see {results.name}/latest.md."
    )
    for fault in facts["faults"]:
        console.print(fault)
    return list(facts["faults"])


def _steps(benchmark: Benchmark, rates: Sequence[float], display: "Display") -> list[Step]:
    steps: list[Step] = []
    for rate in rates:
        steps.append(benchmark.step(rate))
        display.done(steps[-1])
        if steps[-1].not_sustained:
            break
    return steps


def _write(facts: dict[str, Any], steps: Sequence[Step], results: Path) -> None:
    results.mkdir(parents=True, exist_ok=True)
    everything = {
        **facts,
        "highest_sustained_rate": highest_sustained(steps),
        "steps": [{**asdict(step), "not_sustained": step.not_sustained} for step in steps],
    }
    (results / "latest.json").write_bytes(
        orjson.dumps(everything, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS) + b"\n"
    )
    (results / "latest.md").write_text(markdown(facts, steps), encoding="utf-8")


class Display:
    """A progress bar in a terminal, else a line for every new thing."""

    def __init__(self, console: Console) -> None:
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        self._progress = Progress(*columns, console=console, transient=True)
        self._console = console
        self._task = self._progress.add_task("starting", total=None)
        self._said = ""

    def __enter__(self) -> "Display":
        if self._console.is_terminal:
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def say(self, part: str) -> None:
        self.show(f"starting: {part}", 0, 0)

    def show(self, what: str, seconds: float, of_seconds: float) -> None:
        self._progress.update(self._task, description=what, completed=max(0.0, seconds), total=of_seconds or None)
        if what != self._said and not self._console.is_terminal:
            self._console.print(what)
        self._said = what

    def done(self, step: Step) -> None:
        total = step.latency_ms["total_from_due"]
        times = " / ".join(f"{total.get(name, 0):,.0f}" for name in ("p50", "p95", "p99"))
        verdict = f"not sustained: {step.not_sustained}" if step.not_sustained else "sustained"
        self._console.print(f"{step.rate:,.0f} events/s: p50 / p95 / p99 {times} ms, {verdict}")


if __name__ == "__main__":
    os.chdir(Path(__file__).resolve().parent.parent)
    main()
