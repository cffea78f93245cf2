"""`wakeline play`: post a data set, or a simulated shop, to the collector as if it happened now."""

import dataclasses
import random
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import click
import orjson
from rich.console import Console

from wakeline.alerts.links import host_of
from wakeline.clock import system_clock
from wakeline.play import player
from wakeline.play.collector_client import CollectorClient
from wakeline.play.feeds import READERS, STOREFRONT, Feed, file_feed, storefront_feed
from wakeline.play.interrupt import StopSwitch
from wakeline.play.player import PlayResult
from wakeline.play.progress import reporting
from wakeline.settings import CollectorSettings, PageSettings, load_settings

_INTERRUPTED = 130


@click.command()
@click.argument("path", required=False, type=click.Path(path_type=Path))
@click.option(
    "--format",
    "format_name",
    required=True,
    type=click.Choice([*READERS, STOREFRONT]),
    help="Format of PATH, or storefront for the simulated shop, which takes no PATH.",
)
@click.option(
    "--speed",
    default=1.0,
    show_default=True,
    type=click.FloatRange(min=0, min_open=True),
    help="How many times faster than it happened; 3600 plays an hour in a second.",
)
@click.option("--limit", type=click.IntRange(min=1), help="Play only so many messages.")
@click.option("--url", help="Address of the collector; without it the one of the settings.")
@click.option(
    "--give-up-after",
    metavar="SECONDS",
    default=120.0,
    show_default=True,
    type=click.FloatRange(min=0),
    help="Stop when the collector has not taken a batch for so long.",
)
@click.option("--people", type=click.IntRange(min=1), help="storefront: how many people.  [default: 60]")
@click.option(
    "--minutes",
    type=click.FloatRange(min=0, min_open=True),
    help="storefront: how many simulated minutes.  [default: 30]",
)
@click.option(
    "--seed",
    type=int,
    help="storefront: another one gives other people; the same again is only duplicates.  [default: 1]",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.pass_context
def play(
    context: click.Context,
    path: Path | None,
    format_name: str,
    speed: float,
    limit: int | None,
    url: str | None,
    give_up_after: float,
    people: int | None,
    minutes: float | None,
    seed: int | None,
    as_json: bool,
) -> None:
    """Post the events of PATH to the collector as if they happened now.

    The first event is now, and the gaps between events are the original ones, divided by the speed. Every
    message keeps its id however often it is posted, so nothing is counted twice. Ctrl-C stops after the batch
    under way.
    """
    simulation = {"people": people, "minutes": minutes, "seed": seed}
    given = {name: value for name, value in simulation.items() if value is not None}
    settings = load_settings()
    with _feed(format_name, path, given, settings.pages) as feed:
        chosen = feed.limited_to(limit) if limit else feed
        result = _play(chosen, speed, settings.collector, url, give_up_after)
    click.echo(orjson.dumps(dataclasses.asdict(result)).decode() if as_json else _sentence(result))
    context.exit(_INTERRUPTED if result.stopped else 0)


def _feed(
    format_name: str, path: Path | None, simulation: dict[str, Any], pages: PageSettings
) -> AbstractContextManager[Feed]:
    if format_name == STOREFRONT:
        if path is not None:
            raise click.UsageError(f"--format {STOREFRONT} is simulated and takes no PATH.")
        return nullcontext(storefront_feed(f"http://{pages.host}:{pages.port}", **simulation))
    if path is None:
        raise click.UsageError(f"--format {format_name} needs the PATH of a file.")
    if simulation:
        raise click.UsageError(f"--{next(iter(simulation))} is for --format {STOREFRONT} only.")
    return file_feed(format_name, path)


def _play(feed: Feed, speed: float, collector: CollectorSettings, url: str | None, give_up_after: float) -> PlayResult:
    address = url or f"http://{host_of(collector.host)}:{collector.port}"
    with (
        CollectorClient(address, collector.write_key, system_clock) as client,
        reporting(feed.extent, system_clock, Console(stderr=True)) as report,
        StopSwitch() as switch,
    ):
        return player.play(
            feed.messages,
            speed,
            client.post,
            system_clock,
            time.sleep,
            random.Random(),  # noqa: S311 - spreads retries, protects nothing
            give_up_after_seconds=give_up_after,
            report=report,
            stopped=lambda: switch.is_pressed,
        )


def _sentence(result: PlayResult) -> str:
    start = "Stopped: posted" if result.stopped else "Posted"
    return (
        f"{start} {result.posted:,} messages in {result.batches:,} batches and {result.seconds:.1f} s "
        f"({result.retries:,} retries, at most {result.late_seconds_max:.1f} s late)."
    )
