"""What a concern sees at one look."""

from dataclasses import dataclass
from enum import IntEnum


class Severity(IntEnum):
    """How bad it is; channels ask for a least one."""

    INFO = 1
    WARNING = 2
    ERROR = 3
    CRITICAL = 4

    @property
    def label(self) -> str:
        """As settings and messages write it."""
        return self.name.lower()

    @classmethod
    def of(cls, label: str) -> "Severity":
        """The one of that label; raises KeyError."""
        return cls[label.upper()]


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is wrong now.

    `key` is the same at every look for the same thing, e.g. `lane/0`, and the key of no other thing. `summary` is one
    sentence with the figure. `because` are keys of problems that explain this one: while one of them is there, this one
    is not told. The two durations replace those of the concern.
    """

    key: str
    severity: Severity
    summary: str
    owner: str = ""
    affected: tuple[str, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    cause: str = ""
    first_action: str = ""
    since_ms: int | None = None
    because: tuple[str, ...] = ()
    open_after_seconds: float | None = None
    close_after_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """All problems that a concern sees now; of the keys in `unknown` it cannot say, so they stay as they are."""

    problems: tuple[Problem, ...] = ()
    unknown: frozenset[str] = frozenset()
