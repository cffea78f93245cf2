"""From what a concern sees to what people are told: a pure function of what is remembered, the look and the time."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from wakeline.alerts.alert import Alert, Alerts
from wakeline.alerts.concerns import Concern
from wakeline.alerts.inhibition import is_inhibited
from wakeline.alerts.problem import Look, Problem, Severity

HOUR_MS = 3_600_000
#: A problem that opens so often within an hour flaps: it stays open until it has been gone for `FLAP_QUIET_SECONDS`.
FLAPS = 3
FLAP_QUIET_SECONDS = 1_800.0


class Kind(StrEnum):
    """Why somebody is told."""

    OPENED = "opened"
    WORSE = "worse"
    REMINDER = "reminder"
    RECOVERED = "recovered"


@dataclass(frozen=True, slots=True)
class Notice:
    """One message about one or several alerts of a concern."""

    kind: Kind
    concern: Concern
    alerts: tuple[Alert, ...]

    @property
    def severity(self) -> Severity:
        return max(alert.severity for alert in self.alerts)


@dataclass(frozen=True, slots=True)
class Policy:
    """`remind_ms` 0 never reminds; `is_silenced` says of a concern's key whether nothing may be told of it now.

    `window_ms` is over how long service levels are judged. Alerts of the concerns in `blind`, which have not looked for
    long, explain nothing.
    """

    remind_ms: int
    is_silenced: Callable[[str, str], bool]
    window_ms: int = 0
    blind: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is remembered of the concern from now on, all of it, and what is told."""

    alerts: dict[str, Alert]
    notices: tuple[Notice, ...]


def step(concern: Concern, alerts: Alerts, look: Look, now_ms: int, policy: Policy) -> Outcome:
    """One look of a concern. `alerts` are those of all concerns, since a cause may be another one's."""
    own = {key: alert for key, alert in alerts.items() if alert.concern == concern.name}
    seen = {problem.key: _seen(concern, alerts, problem, now_ms, policy) for problem in look.problems}
    gone = {key: _gone(alert, now_ms) for key, alert in own.items() if key not in seen and key not in look.unknown}
    now = {**own, **seen, **{key: alert for key, alert in gone.items() if alert is not None}}
    for key in [key for key, alert in gone.items() if alert is None]:
        del now[key]
    notices: list[Notice] = []
    for act in (_close, _worsen, _open, _remind):
        changed, notice = act(concern, list(now.values()), frozenset(look.unknown), now_ms, policy)
        now |= {alert.key: alert for alert in changed}
        notices += [notice] if notice else []
    return Outcome(now, tuple(notices))


_Act = tuple[Sequence[Alert], Notice | None]


def _seen(concern: Concern, alerts: Alerts, problem: Problem, now_ms: int, policy: Policy) -> Alert:
    inhibited = is_inhibited(problem.key, problem.because, alerts, now_ms, policy.window_ms, policy.blind)
    known = alerts.get(problem.key)
    if known is None or known.closed_ms is not None:
        openings = known.openings if known else ()
        return Alert(problem.key, concern.name, problem, now_ms, inhibited, openings=openings)
    if known.is_open:
        return replace(known, problem=problem, well_since_ms=None)
    freed = known.inhibited and not inhibited
    return replace(known, problem=problem, inhibited=inhibited, seen_ms=now_ms if freed else known.seen_ms)


def _gone(alert: Alert, now_ms: int) -> Alert | None:
    if alert.is_pending:  # It had opened before, within the hour: that is remembered.
        last = max(alert.openings, default=0)
        return replace(alert, closed_ms=now_ms, opened_ms=last) if now_ms - last < HOUR_MS else None
    if alert.closed_ms is not None:
        return alert if now_ms - alert.closed_ms < HOUR_MS else None
    return replace(alert, well_since_ms=alert.well_since_ms or now_ms)


def _open(concern: Concern, alerts: Iterable[Alert], unknown: frozenset[str], now_ms: int, policy: Policy) -> _Act:
    def waited_ms(alert: Alert) -> int:
        return now_ms - alert.seen_ms - _ms(alert.problem.open_after_seconds, concern.open_after_seconds)

    ready = [
        alert
        for alert in alerts
        if alert.is_pending
        and alert.key not in unknown
        and not alert.inhibited
        and waited_ms(alert) >= 0
        and not policy.is_silenced(concern.name, alert.key)
    ]
    if not any(waited_ms(alert) >= concern.group_seconds * 1000 for alert in ready):
        return (), None
    severity = max(alert.problem.severity for alert in ready)  # Whoever hears of all of them hears of each one's end.
    opened = tuple(_opened(alert, severity, now_ms) for alert in ready)
    return opened, Notice(Kind.OPENED, concern, opened)


def _opened(alert: Alert, severity: Severity, now_ms: int) -> Alert:
    openings = (*(at_ms for at_ms in alert.openings if now_ms - at_ms < HOUR_MS), now_ms)
    return replace(
        alert,
        opened_ms=now_ms,
        severity=severity,
        reminded_ms=now_ms,
        openings=openings,
        flapping=len(openings) >= FLAPS,
    )


def _close(concern: Concern, alerts: Iterable[Alert], unknown: frozenset[str], now_ms: int, policy: Policy) -> _Act:
    def waited_ms(alert: Alert) -> int:
        quiet = alert.problem.close_after_seconds
        wait_ms = _ms(FLAP_QUIET_SECONDS if alert.flapping else quiet, concern.close_after_seconds)
        return now_ms - (alert.well_since_ms or now_ms) - wait_ms

    well = [alert for alert in alerts if alert.is_open and alert.well_since_ms is not None and alert.key not in unknown]
    ready = [alert for alert in well if waited_ms(alert) >= 0]
    if not any(waited_ms(alert) >= concern.group_seconds * 1000 for alert in ready):
        return (), None
    closed = tuple(replace(alert, closed_ms=now_ms, openings=_kept(alert)) for alert in ready)
    return closed, Notice(Kind.RECOVERED, concern, closed)


def _kept(alert: Alert) -> tuple[int, ...]:
    return () if alert.flapping else alert.openings


def _worsen(concern: Concern, alerts: Iterable[Alert], unknown: frozenset[str], now_ms: int, policy: Policy) -> _Act:
    worse = tuple(
        replace(alert, severity=alert.problem.severity, reminded_ms=now_ms)
        for alert in alerts
        if alert.is_open and alert.well_since_ms is None and alert.problem.severity > alert.severity
    )
    return worse, Notice(Kind.WORSE, concern, worse) if worse else None


def _remind(concern: Concern, alerts: Iterable[Alert], unknown: frozenset[str], now_ms: int, policy: Policy) -> _Act:
    due = tuple(
        replace(alert, reminded_ms=now_ms)
        for alert in alerts
        if policy.remind_ms
        and alert.is_open
        and alert.well_since_ms is None
        and now_ms - alert.reminded_ms >= policy.remind_ms
        and not policy.is_silenced(concern.name, alert.key)
    )
    return due, Notice(Kind.REMINDER, concern, due) if due else None


def _ms(own: float | None, default: float) -> int:
    return round((default if own is None else own) * 1000)
