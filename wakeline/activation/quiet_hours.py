"""Hours in which a person wants no mail, on the clock of the place where the person lives."""

from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_MS_PER_MINUTE = 60_000


@dataclass(frozen=True, slots=True)
class QuietHours:
    """From one minute of the local day until before another; past midnight where the end is the smaller."""

    start_minute: int
    end_minute: int

    def contain(self, minute: int) -> bool:
        """Whether a minute of the local day is quiet."""
        if self.start_minute <= self.end_minute:
            return self.start_minute <= minute < self.end_minute
        return minute >= self.start_minute or minute < self.end_minute


def first_allowed_ms(at_ms: int, quiet: QuietHours, zone: tzinfo) -> int:
    """`at_ms` itself where it is not quiet, else the first minute from which the local clock is out of the hours.

    When clocks are set, what the clock on the wall shows counts: an end that is skipped is the moment of the change,
    and hours that come twice may be quiet twice.
    """
    if not quiet.contain(_minute_of_day(at_ms, zone)):
        return at_ms
    return _first_allowed_after(at_ms - at_ms % _MS_PER_MINUTE, quiet, zone)


# Minute by minute, for nothing else is right on every day that clocks are set; people of a zone share the answer.
@lru_cache(4_096)
def _first_allowed_after(minute_ms: int, quiet: QuietHours, zone: tzinfo) -> int:
    while quiet.contain(_minute_of_day(minute_ms, zone)):
        minute_ms += _MS_PER_MINUTE
    return minute_ms


def zone_of(name: str, default: str) -> ZoneInfo:
    """The zone of the IANA database by that name; that of `default` where a browser or a CRM told something else."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # "", "../x", "Europe".
        return ZoneInfo(default)


def _minute_of_day(at_ms: int, zone: tzinfo) -> int:
    local = datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(zone)
    return local.hour * 60 + local.minute
