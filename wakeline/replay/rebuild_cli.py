"""`wakeline rebuild`."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from wakeline.by_hand import by_option, doer
from wakeline.clock import system_clock
from wakeline.settings import load_settings

if TYPE_CHECKING:  # The command line is quick only as long as it imports what it needs.
    from wakeline.replay.rebuild import Order, RebuildResult


@click.command()
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@click.option("--execute", is_flag=True, help="Do it; without this it is only said what would be done.")
@click.option(
    "--accept-missing",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="Rebuild although landing lacks N events that it once had, and the profiles would lack as well.",
)
@by_option
@click.option("--json", "as_json", is_flag=True, help="Print what was done, or would be, as JSON.")
def rebuild(models: tuple[str, ...], execute: bool, accept_missing: int, by: str | None, as_json: bool) -> None:
    """Rebuild profile tables from landing with their SQL of now, while events flow; all of them if no MODEL is named.

    Lanes stand still for about a second at the end. Nothing is sent by it, and no mail is lost or sent twice.
    """
    import orjson
    from rich.console import Console

    from wakeline.replay.rebuild import Order
    from wakeline.replay.rebuild_view import result_table

    result = _run(Order(models, execute, accept_missing), doer(by))
    if as_json:
        click.echo(orjson.dumps(result.counts()).decode())
    else:
        Console().print(result_table(result))


def _run(order: "Order", who: str) -> "RebuildResult":
    from wakeline.replay.audit import Doing, audited_on
    from wakeline.replay.factory import deployed_chain, open_rebuild

    settings, holder = load_settings(), f"{who} (process {os.getpid()})"
    with audited_on(settings, system_clock, Doing("rebuild", who, "", asdict(order))) as kept:
        chain = deployed_chain(settings, order.models)
        with _bar(order.execute) as progress, open_rebuild(settings, holder, system_clock, _say, progress) as opened:
            result = opened.run(chain, order)
        kept |= result.counts()
    return result


def _say(line: str) -> None:
    click.echo(f"rebuild: {line}", err=True)


@contextmanager
def _bar(shown: bool) -> Iterator[Callable[[int, int], None]]:
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), disable=not shown) as bar:
        task = bar.add_task("rows of landing", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
