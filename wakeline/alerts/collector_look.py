"""What the collector says of itself at /healthz."""

from collections.abc import Mapping
from typing import Any

import httpx

from wakeline.alerts.problem import Look, Problem, Severity

_SECONDS = 3.0
KEYS = ("collector/down", "collector/failing", "collector/refusing", "collector/unread", "collector/spooling")
_WHAT = "every source of events"


def look_at_collector(url: str) -> Look:
    """Ask a collector how it is. That it does not answer is a problem, not a look that failed."""
    try:
        answer = httpx.get(f"{url}/healthz", timeout=_SECONDS, trust_env=False)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return _only(_down(url, str(error) or type(error).__name__))
    if answer.status_code not in (200, 503) or not isinstance(health := _json(answer), dict):
        return _only(_down(url, f"it answers {answer.status_code} at /healthz"))
    return Look(tuple(problems(answer.status_code, health)))


def problems(status: int, health: Mapping[str, Any]) -> list[Problem]:
    """What an answer of /healthz tells."""
    found = []
    if status != 200:
        found.append(_failing(str(health.get("error", ""))))
    elif "unread_events" in health:
        found.append(_unread(int(health["unread_events"]), str(health["refusing"])))
    elif "refusing" in health:
        found.append(_refusing(str(health["refusing"])))
    if "spooled_events" in health:
        found.append(_spooling(health))
    return found


def _only(problem: Problem) -> Look:
    """Of a collector that does not answer nothing else is known."""
    return Look((problem,), frozenset(KEYS) - {problem.key})


def _json(answer: httpx.Response) -> object:
    try:
        return answer.json()
    except ValueError:
        return None


def _down(url: str, error: str) -> Problem:
    return Problem(
        "collector/down",
        Severity.CRITICAL,
        f"The collector does not answer at {url}: {error.rstrip('.')}.",
        affected=(_WHAT, "event_stream"),
        cause="its process ended or hangs, or alerts.collector_url is wrong.",
        first_action="look at logs/collector.log in the data folder; restart the collector.",
    )


def _failing(error: str) -> Problem:
    return Problem(
        "collector/failing",
        Severity.CRITICAL,
        f"The collector takes no events: {error.rstrip('.')}.",
        affected=(_WHAT, "event_stream"),
        cause="a full disk, or a stream that takes nothing while the spool is full.",
        first_action="mend what the error names; clients send again by themselves.",
    )


def _refusing(error: str) -> Problem:
    return Problem(
        "collector/refusing",
        Severity.ERROR,
        f"The collector refuses events (429): {error}",
        affected=(_WHAT, "event_stream"),
        cause="more traffic than the stream can take, or a slow disk.",
        first_action="look at the collector's load; add a collector or a faster disk.",
    )


def _unread(count: int, error: str) -> Problem:
    return Problem(
        "collector/unread",
        Severity.CRITICAL,
        f"The collector refuses events (503), {count} wait in the stream: {error}",
        affected=(_WHAT, "event_stream"),
        cause="the lanes do not keep up, or stand still.",
        first_action="look at resident_lane; raise lane.count if it is plain load.",
    )


def _spooling(health: Mapping[str, Any]) -> Problem:
    return Problem(
        "collector/spooling",
        Severity.WARNING,
        f"The stream takes no events: {health['spooled_events']} ({health['spooled_bytes']} bytes) wait in the"
        f" collector's spool: {str(health.get('stream_error') or 'no reason given').rstrip('.')}.",
        affected=("event_stream",),
        cause="the broker is down or throttles.",
        first_action="mend the broker before the spool is full (stream.spool.max_bytes); nothing is lost until then.",
        open_after_seconds=45,
    )
