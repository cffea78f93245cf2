"""When each concern looked last, and which of them are blind: what those saw last says nothing of now."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from wakeline.alerts import database as tables
from wakeline.alerts.concerns import BY_NAME, CONCERNS, OF_LOOKS, Concern
from wakeline.alerts.links import Links
from wakeline.alerts.problem import Look, Problem, Severity
from wakeline.alerts.text import moment

#: A look that came sooner after the one that is remembered is not written down: most looks change nothing else.
REMEMBERED_EVERY_MS = 30_000
#: When nobody has looked for so long, all stood still, e.g. for an upgrade: no single concern was left out.
STOOD_STILL_MS = 90_000


@dataclass(frozen=True, slots=True)
class LastLook:
    """`looked_ms` is up to half a minute early, and None before the first look.

    `awaited_ms` is since when the next look is awaited: since the last one, or since looks began anew for all.
    """

    concern: str
    looked_ms: int | None
    awaited_ms: int

    def is_blind(self, now_ms: int) -> bool:
        """Whether the next look is overdue."""
        concern = BY_NAME.get(self.concern)
        return concern is not None and now_ms - self.awaited_ms >= concern.blind_after_seconds * 1000


#: Name of a concern -> its last look.
LastLooks = Mapping[str, LastLook]


def blind(looks: LastLooks, now_ms: int) -> frozenset[str]:
    """Names of the concerns that have not looked for long."""
    return frozenset(name for name, one in looks.items() if one.is_blind(now_ms))


def noted(known: LastLooks, concern: str, now_ms: int) -> dict[str, LastLook]:
    """The last looks of all concerns, now that this one looks."""
    awaited = {one.name: known.get(one.name, LastLook(one.name, None, now_ms)) for one in CONCERNS}
    if now_ms - max((one.awaited_ms for one in known.values()), default=now_ms) >= STOOD_STILL_MS:
        awaited = {name: replace(one, awaited_ms=now_ms) for name, one in awaited.items()}
    own = known.get(concern)
    is_new = own is None or own.looked_ms is None or now_ms - own.looked_ms >= REMEMBERED_EVERY_MS
    return {**awaited, concern: LastLook(concern, now_ms, now_ms)} if is_new else awaited


def look_at_looks(looks: LastLooks, now_ms: int, links: Links) -> Look:
    """Concerns that are blind, but for the one that this is a look of."""
    overdue = (looks[one.name] for one in CONCERNS if one is not OF_LOOKS and one.name in looks)
    return Look(tuple(_problem(BY_NAME[one.concern], one, links) for one in overdue if one.is_blind(now_ms)))


def _problem(concern: Concern, last: LastLook, links: Links) -> Problem:
    since = "never looked" if last.looked_ms is None else f"not looked since {moment(last.looked_ms)}"
    return Problem(
        f"look/{concern.name}",
        Severity.WARNING,
        f"The concern {concern.name} has {since}: nothing new of it is told, and its alerts are as they were then.",
        links=(("Sensor", links.sensor(concern.sensor)),),
        cause=f"the sensor {concern.sensor} is off or hangs, or what it looks at does not answer.",
        first_action=f"open {concern.sensor}: turn it on, or read what its last tick says.",
        since_ms=last.looked_ms or last.awaited_ms,
        because=(f"tick/{concern.sensor}",),
    )


def read(connection: Connection) -> dict[str, LastLook]:
    """What is remembered."""
    rows = connection.execute(sa.select(tables.alert_looks)).mappings()
    return {row["concern"]: LastLook(**row) for row in rows}


def note(connection: Connection, concern: str, now_ms: int) -> dict[str, LastLook]:
    """Remember that a concern looks now; the last looks of all."""
    known = read(connection)
    looks = noted(known, concern, now_ms)
    _replace(connection, [one for name, one in looks.items() if known.get(name) != one])
    return looks


def _replace(connection: Connection, changed: Iterable[LastLook]) -> None:
    rows = [asdict(one) for one in changed]
    if rows:
        table = tables.alert_looks
        connection.execute(sa.delete(table).where(table.c.concern.in_([row["concern"] for row in rows])))
        connection.execute(sa.insert(table), rows)
