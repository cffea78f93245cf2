"""What the forms of jobs ask for, checked: times of a window, and the confirmation of a large one."""

from dataclasses import dataclass
from datetime import datetime

from wakeline.clock import to_epoch_ms, to_iso
from wakeline.errors import ReplayError


@dataclass(frozen=True, slots=True)
class Span:
    """From a moment up to another, the second one left out; epoch milliseconds."""

    begins_at_ms: int
    ends_at_ms: int


def past_span(from_time: str, to_time: str, now_ms: int) -> Span:
    """The window between two times as people write them, UTC where they name no zone.

    Raises ReplayError for what is no time, ends before it begins, or is not over yet.
    """
    span = Span(_moment("from_time", from_time), _moment("to_time", to_time))
    if span.begins_at_ms >= span.ends_at_ms:
        raise ReplayError(f"from_time ({from_time}) is not before to_time ({to_time}); give an earlier one.")
    if span.ends_at_ms > now_ms:
        raise ReplayError(f"to_time ({to_time}) has yet to come: it is {to_iso(now_ms)} UTC; give a time in the past.")
    return span


def require_confirmed(count: int, what: str, confirm_count: int | None, max_unconfirmed: int) -> None:
    """Raises ReplayError when so many need to be confirmed by typing the number in, or another one was typed."""
    if confirm_count is not None and confirm_count != count:
        raise ReplayError(
            f"confirm_count is {confirm_count}, but it is {count} {what} now: look at a dry run again, and give"
            f" confirm_count: {count} if that is right. Nothing was changed."
        )
    if confirm_count is None and count > max_unconfirmed:
        raise ReplayError(
            f"{count} {what} are more than replay.max_unconfirmed ({max_unconfirmed}): give confirm_count: {count} to"
            " confirm that many. Nothing was changed."
        )


def _moment(name: str, text: str) -> int:
    try:
        return to_epoch_ms(datetime.fromisoformat(text.strip()))
    except ValueError:
        raise ReplayError(f"{name} is no time: {text!r}; write it like 2026-11-25T14:00, in UTC.") from None
