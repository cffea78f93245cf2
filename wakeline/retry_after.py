"""The Retry-After header (RFC 9110, 10.2.3)."""

from email.utils import parsedate_to_datetime

from wakeline.clock import to_epoch_ms

#: As many digits as the seconds of a century have.
_MAX_DIGITS = 10


def retry_after_seconds(value: str, now_ms: int) -> float | None:
    """The pause that a header asks for, in seconds or by a date; None when it asks for none that can be read."""
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value) if len(value) <= _MAX_DIGITS else None
    try:
        until_ms = to_epoch_ms(parsedate_to_datetime(value))
    except (ValueError, OverflowError):
        return None
    return max(0.0, (until_ms - now_ms) / 1000)
