"""The only place that reads the time; everything else is handed a clock."""

import time
from collections.abc import Callable
from datetime import UTC, datetime

#: Returns milliseconds since the Unix epoch, UTC.
Clock = Callable[[], int]


def system_clock() -> int:
    """Wall-clock time in milliseconds since the Unix epoch."""
    return time.time_ns() // 1_000_000


def to_datetime(epoch_ms: int) -> datetime:
    """An aware UTC datetime for milliseconds since the Unix epoch."""
    return datetime.fromtimestamp(epoch_ms / 1000, tz=UTC)


def to_epoch_ms(moment: datetime) -> int:
    """Milliseconds since the Unix epoch; a datetime without a zone is taken as UTC."""
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1000)


def to_iso(epoch_ms: int) -> str:
    """ISO 8601 with milliseconds and a Z, as the Segment spec writes times."""
    return to_datetime(epoch_ms).isoformat(timespec="milliseconds").replace("+00:00", "Z")
