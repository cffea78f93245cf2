"""Problems and channels of tests."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from support.clocks import NOW_MS, SECOND_MS
from wakeline.alerts.alert import Alert
from wakeline.alerts.concerns import Concern
from wakeline.alerts.machine import Notice, Outcome, Policy, step
from wakeline.alerts.problem import Look, Problem, Severity
from wakeline.alerts.text import Message

NEVER = Policy(0, lambda concern, key: False)


def concern(name: str = "lanes", open_after: float = 0, close_after: float = 0, group: float = 0) -> Concern:
    """A concern of a test, which may have the name of a real one."""
    return Concern(name, f"{name}/", name.capitalize(), "", open_after, close_after, group)


def problem(key: str, severity: Severity = Severity.ERROR, **values: object) -> Problem:
    """A problem with a summary that names its key."""
    return Problem(key, severity, f"{key} is broken.", **values)  # type: ignore[arg-type]


@dataclass
class Watched:
    """Looks at concerns one after the other, and keeps what is remembered and told."""

    policy: Policy = NEVER
    now_ms: int = NOW_MS
    alerts: dict[str, Alert] = field(default_factory=dict)

    def look(self, at: Concern, *keys: str | Problem, after: float = 0, unknown: Iterable[str] = ()) -> list[str]:
        """What is told, as `kind key key`, when so many seconds later these problems are there."""
        return [
            " ".join([str(one.kind), *(alert.key for alert in one.alerts)])
            for one in self.notices(at, *keys, after=after, unknown=unknown)
        ]

    def notices(
        self, at: Concern, *keys: str | Problem, after: float = 0, unknown: Iterable[str] = ()
    ) -> tuple[Notice, ...]:
        """The same as notices."""
        self.now_ms += round(after * SECOND_MS)
        problems = tuple(problem(key) if isinstance(key, str) else key for key in keys)
        outcome: Outcome = step(at, self.alerts, Look(problems, frozenset(unknown)), self.now_ms, self.policy)
        others = {key: alert for key, alert in self.alerts.items() if alert.concern != at.name}
        self.alerts = {**others, **outcome.alerts}
        return outcome.notices


@dataclass
class ScriptedChannel:
    """Takes messages, or answers as the script says; None in it is success."""

    answers: deque[str | None] = field(default_factory=deque)
    taken: list[Message] = field(default_factory=list)

    def send(self, message: Message) -> str | None:
        """The next answer of the script; without one the message is taken."""
        answer = self.answers.popleft() if self.answers else None
        if answer is None:
            self.taken.append(message)
        return answer
