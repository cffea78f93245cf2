"""Measures streams and lanes side by side through the whole stack: a table in docs/performance.md.

Run with `.venv/bin/python benchmarks/streams.py`. Each case is a fresh stack with a broker of its own, offered a rate
that all of them can take, for the latency, and then one that is too much, for the events a second. The first case is
what the others are compared with. Brokers are those of the tests and share the machine; Kinesis is an imitation.
"""

import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import orjson
from bench import Benchmark
from deployment import FOLDER, fresh_settings, remove, take_lock
from measure import Gauge
from render import table
from resources import OTHERS
from results import Step
from rich.console import Console
from run import Display
from support.streams import KINDS

from wakeline.clock import system_clock
from wakeline.errors import WakelineError
from wakeline.stack.supervisor import Stack

_RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True)
class Case:
    """What is compared."""

    stream: str
    lanes: int


@dataclass(frozen=True, slots=True)
class Result:
    """What a case did at the rate that it can take, and at the one that is too much."""

    case: Case
    usual: Step
    too_much: Step


def _cases(_context: click.Context, _parameter: click.Parameter, value: str) -> list[Case]:
    cases = [part.partition(":") for part in value.split(",")]
    wrong = [part for part in cases if part[0] not in KINDS or not part[2].isdecimal() or int(part[2]) < 1]
    if wrong:
        raise click.BadParameter(f"{''.join(wrong[0])!r} is not a stream and a number of lanes such as kafka:2.")
    return [Case(stream, int(lanes)) for stream, _, lanes in cases]


@click.command(context_settings={"show_default": True})
@click.option(
    "--cases",
    callback=_cases,
    default="embedded:1,kafka:1,kafka:2,kafka:4,kinesis:1",
    help="Stream and number of lanes of each.",
)
@click.option("--rate", default=500.0, type=click.FloatRange(min=1), help="Events a second of the latency.")
@click.option("--too-much", default=4_000.0, type=click.FloatRange(min=1), help="Events a second that are too many.")
@click.option("--seconds", default=10.0, type=click.FloatRange(min=1), help="Measured seconds of each rate.")
def main(cases: list[Case], rate: float, too_much: float, seconds: float) -> None:
    """Compare streams and numbers of lanes on this machine."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    console = Console(stderr=True)
    results: list[Result] = []
    try:
        lock = take_lock()
        for case in cases:
            results.append(_measure(case, rate, too_much, seconds, console))
            _write(results)
    except WakelineError as error:
        click.echo(f"bench: {error}", err=True)
        click.echo(f"bench: the logs are in {FOLDER.name}/logs", err=True)
        sys.exit(1)
    remove()
    os.close(lock)
    click.echo(streams_table(results))


def _write(results: Sequence[Result]) -> None:
    """After each case: minutes of measuring are not to be lost with the rest."""
    _RESULTS.mkdir(parents=True, exist_ok=True)
    (_RESULTS / "streams.json").write_bytes(orjson.dumps(results, option=orjson.OPT_INDENT_2) + b"\n")
    (_RESULTS / "streams.md").write_text(streams_table(results) + "\n", encoding="utf-8")


def _measure(case: Case, rate: float, too_much: float, seconds: float, console: Console) -> Result:
    """Raises WakelineError when something happened that must never happen, such as a lost event."""
    console.print(f"{case.stream}, {case.lanes} lanes")
    with (
        fresh_settings(case.stream, case.lanes) as (settings, config, broker),
        Display(console) as display,
        Stack(settings, config, display.say) as stack,
    ):
        began_ms = system_clock()
        stack.start()
        gauge = Gauge(settings)
        try:
            benchmark = Benchmark(settings, stack, gauge, display.show, seconds, 2.0, broker)
            benchmark.cold_start(began_ms)
            benchmark.prepare(wait_for_batch_models=False)
            result = Result(case, *(benchmark.step(one) for one in (rate, too_much)))
            faults = benchmark.faults(benchmark.totals())
        finally:
            gauge.close()
    if faults:
        raise WakelineError(f"{case.stream}, {case.lanes} lanes: {' '.join(faults)}")
    return result


def streams_table(results: Sequence[Result]) -> str:
    """One row for each case; ratios are to the first one."""
    rate = f"at {results[0].usual.rate:,.0f} events/s"
    latency = (f"p50 ms {rate}", f"p95 ms {rate}", "p95 ratio")
    header = ("stream", "lanes", *latency, "events/s", "events/s ratio", "CPU ms per event", "cores of others")
    return table(header, (_row(result, results[0]) for result in results))


def _row(result: Result, first: Result) -> list[str]:
    latency, first_latency = (one.usual.latency_ms["total_from_due"] for one in (result, first))
    processed = result.too_much.processed_per_second
    return [
        result.case.stream,
        str(result.case.lanes),
        f"{latency['p50']:,.0f}",
        f"{latency['p95']:,.0f}",
        f"{latency['p95'] / first_latency['p95']:.2f}",
        f"{processed:,.0f}",
        f"{processed / first.too_much.processed_per_second:.2f}",
        f"{result.too_much.cpu_ms_per_event:.2f}",
        f"{result.too_much.resources.get(OTHERS, {}).get('cores', 0.0):.1f}",
    ]


if __name__ == "__main__":
    os.chdir(Path(__file__).resolve().parent.parent)
    main()
