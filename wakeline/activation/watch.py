"""The watch over bounces and complaints: it pauses a campaign whose mails too many people cannot or will not have.

Mailbox providers judge a sender by these shares, and a person must look before the campaign goes on: it never resumes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Counts:
    """A campaign's mails within the window, and how many of them bounced hard or were marked as spam."""

    sends: int
    bounces: int
    complaints: int


@dataclass(frozen=True, slots=True)
class Limits:
    """Shares in percent that a campaign must not exceed; with fewer than `min_sends` mails nothing is judged."""

    max_bounce_percent: float
    max_complaint_percent: float
    min_sends: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is wrong, in words with figures; nothing is when there are none."""

    problems: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        return not self.problems

    @property
    def reason(self) -> str:
        return "; ".join(self.problems)


def judge(counts: Counts, limits: Limits) -> Verdict:
    """Whether a campaign may go on. A share that is exactly the limit is allowed."""
    if counts.sends < limits.min_sends:
        return Verdict()
    judged = (
        ("bounced", counts.bounces, limits.max_bounce_percent),
        ("were marked as spam", counts.complaints, limits.max_complaint_percent),
    )
    return Verdict(
        tuple(
            f"{count} of {counts.sends} mails {what} ({count / counts.sends:.2%}, allowed {limit:g}%)"
            for what, count, limit in judged
            if count * 100 > limit * counts.sends
        )
    )


def still_paused(verdict: Verdict, pause: Mapping[str, Any] | None, watch: str) -> Verdict:
    """The verdict, or why `watch` has paused the campaign: bad mails that leave the window are no recovery."""
    if verdict.passed and pause is not None and pause["paused_by"] == watch:
        return Verdict((pause["reason"],))
    return verdict


def window_starts(window_start_ms: int, resumed_at_ms: Mapping[str, int]) -> dict[str, int]:
    """Campaign -> from when on its mails count, where that is later than the window's start.

    What somebody has seen and let go on must not pause the campaign again.
    """
    return {campaign: at_ms for campaign, at_ms in resumed_at_ms.items() if at_ms > window_start_ms}
