"""What is remembered of a problem between two looks."""

from collections.abc import Mapping
from dataclasses import dataclass

from wakeline.alerts.problem import Problem, Severity


@dataclass(frozen=True, slots=True)
class Alert:
    """A problem that waits to be told (neither opened nor closed), is open, or was closed within the last hour."""

    key: str
    concern: str
    problem: Problem
    #: Since when it has been there without a break and without a cause that is told instead.
    seen_ms: int
    inhibited: bool = False
    opened_ms: int | None = None
    #: Since when it has been gone, while it is open.
    well_since_ms: int | None = None
    closed_ms: int | None = None
    #: The highest that was told.
    severity: Severity = Severity.INFO
    reminded_ms: int = 0
    #: When it opened, within the last hour.
    openings: tuple[int, ...] = ()
    flapping: bool = False

    @property
    def is_open(self) -> bool:
        return self.opened_ms is not None and self.closed_ms is None

    @property
    def is_pending(self) -> bool:
        return self.opened_ms is None and self.closed_ms is None

    @property
    def began_ms(self) -> int:
        """Since when, as people are told."""
        return self.seen_ms if self.problem.since_ms is None else min(self.problem.since_ms, self.seen_ms)


#: Key -> alert, of all concerns.
Alerts = Mapping[str, Alert]
