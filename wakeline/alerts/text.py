"""The words of a message: plain text, the most important first."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from wakeline.alerts.alert import Alert
from wakeline.alerts.machine import FLAP_QUIET_SECONDS, Kind, Notice
from wakeline.alerts.problem import Severity
from wakeline.clock import to_datetime

_MOST_AFFECTED = 8
#: Of more problems than this in one message only the first sentences are told.
_MOST_DETAILED = 5
_MOST_LISTED = 25
_PREFIX = {Kind.OPENED: "", Kind.WORSE: "Worse: ", Kind.REMINDER: "Still: ", Kind.RECOVERED: "Recovered: "}


@dataclass(frozen=True, slots=True)
class Message:
    """What a channel is handed."""

    title: str
    body: str
    kind: Kind
    severity: Severity


def compose(notice: Notice, now_ms: int) -> Message:
    """The message of a notice."""
    body = "\n\n".join(_paragraphs(notice, now_ms))
    return Message(_title(notice), body, notice.kind, notice.severity)


def duration(ms: int) -> str:
    """E.g. `45 s`, `3 min`, `2 h 5 min`, `3 d 4 h`."""
    seconds = max(0, ms) // 1000
    if seconds < 120:
        return f"{seconds} s"
    if seconds < 7_200:
        return f"{seconds // 60} min"
    if seconds < 172_800:
        return f"{seconds // 3600} h {seconds % 3600 // 60} min"
    return f"{seconds // 86_400} d {seconds % 86_400 // 3600} h"


def moment(at_ms: int) -> str:
    """A time as messages write it."""
    return f"{to_datetime(at_ms):%Y-%m-%d %H:%M:%S} UTC"


def _title(notice: Notice) -> str:
    alerts = notice.alerts
    what = alerts[0].key if len(alerts) == 1 else f"{notice.concern.title} ({len(alerts)})"
    label = "" if notice.kind is Kind.RECOVERED else f"[{notice.severity.label}] "
    return f"{label}{_PREFIX[notice.kind]}{what}"


def _paragraphs(notice: Notice, now_ms: int) -> Iterator[str]:
    alerts = notice.alerts
    if notice.kind is Kind.RECOVERED:
        yield "\n".join(_recovery(alert) for alert in alerts[:_MOST_LISTED])
    elif len(alerts) > _MOST_DETAILED:
        yield "\n".join(f"- {alert.problem.summary}" for alert in alerts[:_MOST_LISTED])
        yield "\n".join(_shared(alerts, now_ms))
    else:
        for alert in alerts:
            yield "\n".join(_lines(alert, now_ms))
    if len(alerts) > _MOST_LISTED:
        yield f"And {len(alerts) - _MOST_LISTED} more; 'wakeline alerts' lists all."


def _recovery(alert: Alert) -> str:
    well_ms = alert.well_since_ms or alert.closed_ms or 0
    lasted = duration(well_ms - alert.began_ms)
    return f"{alert.key} is well since {moment(well_ms)}, after {lasted}. It was: {alert.problem.summary}"


def _lines(alert: Alert, now_ms: int) -> Iterator[str]:
    problem = alert.problem
    yield problem.summary
    yield f"Since: {moment(alert.began_ms)} ({duration(now_ms - alert.began_ms)})"
    if problem.cause:
        yield f"Likely: {problem.cause}"
    if problem.first_action:
        yield f"First: {problem.first_action}"
    if problem.affected:
        yield f"Affected: {_some(problem.affected)}"
    if problem.owner:
        yield f"Owner: {problem.owner}"
    for label, url in problem.links:
        yield f"{label}: {url}"
    if alert.flapping:
        yield (
            f"It comes and goes ({len(alert.openings)} times within an hour): it now stays open until it has been well"
            f" for {duration(round(FLAP_QUIET_SECONDS * 1000))}."
        )


def _shared(alerts: Sequence[Alert], now_ms: int) -> Iterator[str]:
    """Of many problems what is the same for all of them is told once."""
    first = alerts[0].problem
    began_ms = min(alert.began_ms for alert in alerts)
    yield f"Since: {moment(began_ms)} ({duration(now_ms - began_ms)})"
    if first.first_action:
        yield f"First: {first.first_action}"
    affected = dict.fromkeys(name for alert in alerts for name in alert.problem.affected)
    if affected:
        yield f"Affected: {_some(tuple(affected))}"
    owners = dict.fromkeys(alert.problem.owner for alert in alerts if alert.problem.owner)
    if owners:
        yield f"Owner: {', '.join(owners)}"
    for label, url in first.links:
        yield f"{label}: {url}"


def _some(names: Sequence[str]) -> str:
    more = len(names) - _MOST_AFFECTED
    return ", ".join(names[:_MOST_AFFECTED]) + (f" and {more} more" if more > 0 else "")
