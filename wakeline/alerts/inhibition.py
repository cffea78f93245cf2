"""Which problem is told when one cause shows in many places: the cause, and nothing else.

A problem is not told while one of its causes waits to be told, is open, or was closed a short time ago: what it broke
needs time to catch up. After that it is a problem of its own, and its time begins anew. A cause whose concern has not
looked for long is none: nobody knows whether it is still there.
"""

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from wakeline.alerts.alert import Alert, Alerts

GRACE_SECONDS = 60.0
#: Judged over the latest minutes (`sla.window_minutes`): these still see an outage for as long when it is over.
WINDOWED = ("check/*/latency_within_sla", "check/*/volume_as_usual")


@dataclass(frozen=True, slots=True)
class Rule:
    """While a problem of a key like `root` is there, those like `silent` are not told.

    In both `*` stands for anything, and `{name}` for one part of a key that must be the same in both.
    """

    root: str
    silent: tuple[str, ...]


#: All see the same stream from different sides. The first that is seen is told; of two at once the earlier here.
FLOW: tuple[str, ...] = (
    "check/*/quarantine_within_limit",
    "check/*/latency_within_sla",
    "check/*/lag_within_sla",
    "check/*/heartbeat_arrives",
    "check/*/volume_as_usual",
    "check/*/sends_within_sla",
    "check/*/fresh_within_sla",
    "freshness/*",
)

RULES: tuple[Rule, ...] = (
    Rule("check/event_stream/stream_can_be_read", ("lane/*", "tick/lane_sensor", "collector/*", *FLOW)),
    Rule("database/*", ("lane/*", "run/*", "tick/*", "look/*", "collector/unread", *FLOW)),
    Rule("check/event_stream/no_lane_is_paused", ("lane/*", "collector/unread", *FLOW)),
    Rule("collector/*", FLOW),
    Rule("lane/*", ("collector/unread", *FLOW)),
    Rule("disk/*", ("collector/*", "database/*", "lane/*", "run/*", "tick/*", "look/*", *FLOW)),
    # A campaign that is paused sends nothing, and somebody knows.
    Rule("pause/{campaign}", ("check/campaigns/{campaign}/sends_within_sla",)),
    Rule(
        "check/campaigns/{campaign}/mails_arrive", ("pause/{campaign}", "check/campaigns/{campaign}/sends_within_sla")
    ),
)


def is_inhibited(
    key: str, because: Iterable[str], alerts: Alerts, now_ms: int, window_ms: int, blind: Collection[str] = ()
) -> bool:
    """Whether a cause of the problem is there, by the tables above or by the problem's own word.

    `blind` are concerns that have not looked for long.
    """
    grace_ms = GRACE_SECONDS * 1000 + (window_ms if _is_windowed(key) else 0)
    seen = (alert for alert in alerts.values() if alert.key != key and alert.concern not in blind)
    others = (alert for alert in seen if _counts(alert, now_ms, grace_ms))
    named = set(because)
    return any(alert.key in named or _silences(alert, key) for alert in others)


def _counts(alert: Alert, now_ms: int, grace_ms: float) -> bool:
    return alert.closed_ms is None or now_ms - alert.closed_ms < grace_ms


@lru_cache(4_096)
def _is_windowed(key: str) -> bool:
    return any(re.fullmatch(_regex(pattern), key) for pattern in WINDOWED)


def _silences(alert: Alert, key: str) -> bool:
    if any(_matches(rule, alert.key, key) for rule in RULES):
        return True
    return _is_earlier(alert.key, key, alert.is_pending)


@lru_cache(4_096)
def _is_earlier(root: str, key: str, root_is_pending: bool) -> bool:
    """Both are of the flow; one that waits silences only those after it, or two could silence each other."""
    root_at, key_at = _place(root), _place(key)
    if root_at is None or key_at is None or root_at == key_at:
        return False
    return root_at < key_at or not root_is_pending


def _place(key: str) -> int | None:
    return next((place for place, pattern in enumerate(FLOW) if re.fullmatch(_regex(pattern), key)), None)


@lru_cache(4_096)
def _matches(rule: Rule, root: str, key: str) -> bool:
    found = re.fullmatch(_regex(rule.root), root)
    if found is None:
        return False
    return any(re.fullmatch(_regex(pattern, found.groupdict()), key) for pattern in rule.silent)


def _regex(pattern: str, same: dict[str, str] | None = None) -> str:
    return "".join(_pieces(pattern, same or {}))


def _pieces(pattern: str, same: dict[str, str]) -> Iterator[str]:
    for piece in re.split(r"(\*|\{\w+\})", pattern):
        name = piece[1:-1]
        if piece == "*":
            yield ".*"
        elif piece.startswith("{"):
            yield re.escape(same[name]) if name in same else f"(?P<{name}>[^/]+)"
        else:
            yield re.escape(piece)
