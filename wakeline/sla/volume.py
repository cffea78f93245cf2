"""Whether traffic is as usual: the latest minutes against the same time of earlier weeks, by a robust score."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import sqrt
from statistics import median

MINUTE_MS = 60_000
_WEEK_MS = 7 * 24 * 60 * MINUTE_MS
_HALF_HOUR_MINUTES = 30
#: Earlier weeks that traffic is compared with.
WEEKS = 8
#: With fewer weeks that have traffic at the same time, nothing is called usual.
MIN_WEEKS = 3
#: What the median absolute deviation of normally distributed values is multiplied with to give their deviation.
_MAD_SCALE = 1.4826
#: Traffic that never varies does not exist: a promotion ends, a page is a little slower.
_LEAST_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Minute:
    """What came in one minute; heartbeats stand apart from the rest."""

    accepted: int = 0
    quarantined: int = 0
    received: int = 0
    heartbeats: int = 0


@dataclass(frozen=True, slots=True)
class Window:
    """The latest whole minutes and what there is of the present one."""

    accepted: int
    quarantined: int
    received: int
    heartbeats: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Usual:
    """What is usual in a window of so many seconds, and how much it varies."""

    expected: float
    deviation: float

    def score(self, count: int) -> float:
        """How many deviations a count is above what is usual."""
        return (count - self.expected) / self.deviation


def latest(minutes: Mapping[int, Minute], at_ms: int, window_minutes: int) -> Window:
    """What came in the window that ends at `at_ms`."""
    start_ms = at_ms - at_ms % MINUTE_MS - window_minutes * MINUTE_MS
    found = [one for minute_ms, one in minutes.items() if minute_ms >= start_ms]
    return Window(
        sum(one.accepted for one in found),
        sum(one.quarantined for one in found),
        sum(one.received for one in found),
        sum(one.heartbeats for one in found),
        (at_ms - start_ms) / 1000,
    )


def usual(minutes: Mapping[int, Minute], at_ms: int, window_minutes: int, seconds: float) -> Usual | None:
    """What a window of `seconds` usually has at this time of the week; None with too few earlier weeks.

    The median of all windows in the hour around the same time, and their median absolute deviation, but no less than
    that of events which come independently of each other (Poisson).
    """
    hours = [hour for week in range(1, WEEKS + 1) if (hour := _hour(minutes, at_ms - week * _WEEK_MS))]
    if len(hours) < MIN_WEEKS:
        return None
    counts = [count for hour in hours for count in _windows(hour, window_minutes)]
    middle, scale = median(counts), seconds / (window_minutes * 60)
    expected = middle * scale
    spread = _MAD_SCALE * median(abs(count - middle) for count in counts) * sqrt(scale)
    return Usual(expected, max(spread, sqrt(expected), _LEAST_SHARE * expected, 1.0))


def _hour(minutes: Mapping[int, Minute], middle_ms: int) -> list[int]:
    """Accepted events of each minute of the hour around a moment; empty where not even a heartbeat came."""
    first_ms = middle_ms - middle_ms % MINUTE_MS - _HALF_HOUR_MINUTES * MINUTE_MS
    found = [minutes.get(first_ms + number * MINUTE_MS) for number in range(2 * _HALF_HOUR_MINUTES)]
    return [one.accepted if one else 0 for one in found] if any(found) else []


def _windows(hour: list[int], window_minutes: int) -> Iterator[int]:
    for start in range(0, len(hour) - window_minutes + 1, window_minutes):
        yield sum(hour[start : start + window_minutes])
