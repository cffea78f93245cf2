"""Ranges of offsets of landing: which are to be read, in pieces that one insert can take."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from wakeline.pipeline.lanes import Ranges

#: (stream, partition).
Place = tuple[str, int]
#: Where the rows of each partition begin or end; ends are exclusive.
Offsets = Mapping[Place, int]


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """Offsets [first, end) of a partition."""

    stream: str
    partition: int
    first: int
    end: int

    @property
    def place(self) -> Place:
        return self.stream, self.partition

    def __len__(self) -> int:
        return self.end - self.first


def spans_between(firsts: Offsets, ends: Offsets) -> list[Span]:
    """What lies between where each partition begins and where it ends, in order; partitions without rows left out."""
    places = sorted(place for place, end in ends.items() if firsts.get(place, 0) < end)
    return [Span(*place, firsts.get(place, 0), ends[place]) for place in places]


def without(spans: Iterable[Span], stream: str, batches: Iterable[Ranges]) -> list[Span]:
    """The spans without the offsets of these batches of `stream`."""
    left = list(spans)
    for batch in batches:
        for partition, (first, end) in batch.items():
            left = [rest for span in left for rest in _cut(span, (stream, partition), first, end)]
    return left


def _cut(span: Span, place: Place, first: int, end: int) -> Iterator[Span]:
    if span.place != place or not max(first, span.first) < min(end, span.end):
        yield span
        return
    if span.first < first:
        yield replace(span, end=first)
    if end < span.end:
        yield replace(span, first=end)


def chunks(spans: Iterable[Span], offsets: int) -> Iterator[Sequence[Span]]:
    """The spans, in order, in groups of at most so many offsets; a long one is cut, short ones share a group."""
    group: list[Span] = []
    room = offsets
    for span in spans:
        rest = span
        while len(rest) > room:
            yield [*group, replace(rest, end=rest.first + room)]
            rest, group, room = replace(rest, first=rest.first + room), [], offsets
        group.append(rest)
        room -= len(rest)
    if group:
        yield group


def total(spans: Iterable[Span]) -> int:
    """How many offsets there are."""
    return sum(len(span) for span in spans)
