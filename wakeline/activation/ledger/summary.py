"""What is read of the ledger's sends for people, reports and analytics, not for the pipeline."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from wakeline.activation.ledger.states import SKIPPED, WAITING
from wakeline.database import sends

#: campaign -> state -> sends; the state of a skip is `skipped:<reason>`.
Counts = dict[str, dict[str, int]]

#: Before the reason of a skip.
SKIP = f"{SKIPPED}:"


#: Where a reader of changes is: the time of a change, and the key it was of.
Position = tuple[int, str]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which sends: in these states, of a campaign, of a person by address or id (or a part of it); "" for any."""

    states: Sequence[str]
    campaign: str = ""
    text: str = ""


class Summary(Protocol):
    """What is read of one ledger."""

    def counts(self, since_ms: int = 0) -> Counts:
        """Sends by campaign and state: those that changed since then, and all that wait."""

    def changes(self, after: Position, columns: Sequence[str], limit: int) -> list[Mapping[str, Any]]:
        """The sends that changed last after this position, in the order of their changes."""

    def latest(self, wanted: Wanted, limit: int) -> list[Mapping[str, Any]]:
        """The rows that changed last, newest first."""


class SqlSummary:
    """The totals of a ledger in a SQL database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def counts(self, since_ms: int = 0) -> Counts:
        """Sends by campaign and state: those that changed since then, and all that wait."""
        state = sa.case((sends.c.state == SKIPPED, SKIP + sends.c.reason), else_=sends.c.state)
        query = (
            sa.select(sends.c.campaign, state.label("state"), sa.func.count().label("rows"))
            .where((sends.c.changed_at_ms >= since_ms) | sends.c.state.in_(WAITING))
            .group_by(sends.c.campaign, state)
        )
        found: Counts = {}
        with self._engine.connect().execution_options(read_only=True) as connection:
            for row in connection.execute(query).mappings():
                found.setdefault(row["campaign"], {})[row["state"]] = row["rows"]
        return found

    def changes(self, after: Position, columns: Sequence[str], limit: int) -> list[Mapping[str, Any]]:
        """The sends that changed last after this position, in the order of their changes."""
        place = (sends.c.changed_at_ms, sends.c.idempotency_key)
        query = (
            sa.select(*(sends.c[name] for name in columns))
            .where(place[0] >= after[0], sa.tuple_(*place) > after)
            .order_by(*place)
            .limit(limit)
        )
        with self._engine.connect().execution_options(read_only=True) as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def latest(self, wanted: Wanted, limit: int) -> list[Mapping[str, Any]]:
        """The rows that changed last, newest first."""
        query = sa.select(sends).where(sends.c.state.in_(wanted.states))
        if wanted.campaign:
            query = query.where(sends.c.campaign == wanted.campaign)
        if wanted.text:
            person = (sends.c.address, sends.c.profile_id)
            query = query.where(sa.or_(*(column.icontains(wanted.text, autoescape=True) for column in person)))
        newest_first = query.order_by(sends.c.changed_at_ms.desc(), sends.c.idempotency_key).limit(limit)
        with self._engine.connect().execution_options(read_only=True) as connection:
            return [dict(row) for row in connection.execute(newest_first).mappings()]


def skips(states: dict[str, int]) -> dict[str, int]:
    """Reason -> sends, of the skips among these states."""
    return {name.removeprefix(SKIP): count for name, count in sorted(states.items()) if name.startswith(SKIP)}
