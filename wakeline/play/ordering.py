"""Bringing rows together and into time order, without holding more of them than has to be held."""

import heapq
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import ExitStack
from itertools import count, islice
from typing import IO, Protocol, TypeVar

from wakeline.play.message import TimedMessage
from wakeline.play.source import SourceFile

_CHUNK_LINES = 250_000


class Row(Protocol):
    """A row of a file: its time and its line number, counted from 1."""

    @property
    def at_ms(self) -> int: ...

    @property
    def line(self) -> int: ...


R = TypeVar("R", bound=Row)


def in_order(source: SourceFile, rows: Iterable[R]) -> Iterator[R]:
    """The same rows. Raises WakelineError at the first that is earlier than the one before it."""
    latest_ms = 0
    for row in rows:
        if row.at_ms < latest_ms:
            raise source.bad_line(row.line, "earlier than the line before, but the file must be in time order")
        latest_ms = row.at_ms
        yield row


def gather(rows: Iterable[R], key: Callable[[R], Hashable], window_ms: int) -> Iterator[list[R]]:
    """Rows with the same key, at most `window_ms` after the first of them, together at the first one's place.

    Takes rows in time order and yields groups in time order; holds the rows of one window.
    """
    waiting: OrderedDict[Hashable, list[R]] = OrderedDict()
    for row in rows:
        while waiting and row.at_ms - next(iter(waiting.values()))[0].at_ms > window_ms:
            yield waiting.popitem(last=False)[1]
        waiting.setdefault(key(row), []).append(row)
    yield from waiting.values()


def interleave(visits: Iterable[Iterator[TimedMessage]]) -> Iterator[TimedMessage]:
    """All messages in time order; visits must come in the order of their first message.

    Holds only the visits that have begun and not ended.
    """
    begun: list[tuple[int, int, TimedMessage, Iterator[TimedMessage]]] = []
    numbers = count()
    for visit in visits:
        for first in islice(visit, 1):
            while begun and begun[0][0] <= first.at_ms:
                yield _advance(begun)
            heapq.heappush(begun, (first.at_ms, next(numbers), first, visit))
    while begun:
        yield _advance(begun)


def sorted_lines(lines: Iterable[str], chunk_lines: int = _CHUNK_LINES) -> Iterator[str]:
    """The lines, each with its end, in the order of their text; temporary files hold what memory should not."""
    remaining = iter(lines)
    with ExitStack() as stack:
        chunks: list[IO[str]] = []
        while chunk := sorted(islice(remaining, chunk_lines)):
            spilled = stack.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8"))
            spilled.writelines(chunk)
            spilled.seek(0)
            chunks.append(spilled)
        yield from heapq.merge(*chunks)


def _advance(begun: list[tuple[int, int, TimedMessage, Iterator[TimedMessage]]]) -> TimedMessage:
    _, number, message, visit = heapq.heappop(begun)
    for following in islice(visit, 1):
        heapq.heappush(begun, (following.at_ms, number, following, visit))
    return message
