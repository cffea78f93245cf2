"""Showing how far playing has got: a bar on a terminal, else a line every ten seconds."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from wakeline.clock import Clock
from wakeline.play.player import Standing

_LINE_EVERY_MS = 10_000

#: Takes the standing after every batch and while waiting.
Report = Callable[[Standing], None]


@dataclass(frozen=True, slots=True)
class Extent:
    """How much there is to play, and how much of it is done, both in the same unit: bytes, messages or time."""

    total: int
    done: Callable[[Standing], int]

    def percent(self, standing: Standing) -> int:
        """Rounded down, from 0 to 100."""
        return min(100, 100 * self.done(standing) // max(self.total, 1))


@contextmanager
def reporting(extent: Extent, clock: Clock, console: Console) -> Iterator[Report]:
    """Yields what to call with the standing; `console` is where it shows."""
    if not console.is_terminal:
        yield _lines(extent, clock)
        return
    columns = (BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[posted]:,} messages"))
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        yield _bar(extent, progress)


def _bar(extent: Extent, progress: Progress) -> Report:
    task = progress.add_task("", total=extent.total, posted=0)

    def show(standing: Standing) -> None:
        progress.update(task, completed=extent.done(standing), posted=standing.posted)

    return show


def _lines(extent: Extent, clock: Clock) -> Report:
    next_ms = clock() + _LINE_EVERY_MS

    def show(standing: Standing) -> None:
        nonlocal next_ms
        if clock() >= next_ms:
            next_ms = clock() + _LINE_EVERY_MS
            click.echo(f"{standing.posted:,} messages posted, {extent.percent(standing)} %", err=True)

    return show
