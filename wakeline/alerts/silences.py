"""Maintenance: times in which nothing new is told. What is still wrong at their end is told then."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from fnmatch import fnmatchcase

from wakeline.activation.quiet_hours import QuietHours
from wakeline.alerts.settings import DAYS
from wakeline.clock import to_datetime


@dataclass(frozen=True, slots=True)
class Silence:
    """Asked for by somebody, until a time. Empty patterns mean all; `*` in them stands for anything."""

    concern: str
    key: str
    reason: str
    silenced_by: str
    from_ms: int
    until_ms: int
    silence_id: int = 0


@dataclass(frozen=True, slots=True)
class Window:
    """The same every week: from one local time of the given days until another, which may be on the next day."""

    days: tuple[str, ...]
    hours: QuietHours
    zone: tzinfo
    concern: str
    key: str


def is_silenced(concern: str, key: str, now_ms: int, silences: Iterable[Silence], windows: Iterable[Window]) -> bool:
    """Whether a problem may not be told now."""
    asked = any(one.from_ms <= now_ms < one.until_ms and _is_about(one, concern, key) for one in silences)
    return asked or any(_is_about(one, concern, key) and is_within(one, now_ms) for one in windows)


def is_within(window: Window, now_ms: int) -> bool:
    """Whether it is the window's time. Past midnight it belongs to the day it began on."""
    local = to_datetime(now_ms).astimezone(window.zone)
    minute = local.hour * 60 + local.minute
    if not window.hours.contain(minute):
        return False
    crosses = window.hours.start_minute > window.hours.end_minute
    began = local.weekday() - (1 if crosses and minute < window.hours.end_minute else 0)
    return DAYS[began % 7] in window.days


def in_force(silences: Sequence[Silence], now_ms: int) -> list[Silence]:
    """Those that are not over."""
    return [one for one in silences if one.until_ms > now_ms]


def _is_about(one: Silence | Window, concern: str, key: str) -> bool:
    return fnmatchcase(concern, one.concern or "*") and fnmatchcase(key, one.key or "*")
