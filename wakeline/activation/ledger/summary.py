"""What is read of the ledger's sends for people, reports and analytics, not for the pipeline."""

import heapq
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from wakeline.activation.ledger.reading import all_rows
from wakeline.activation.ledger.states import SKIPPED, WAITING
from wakeline.database import sends
from wakeline.dynamodb import Table
from wakeline.engines import Database

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

    def takes(self, row: Mapping[str, Any]) -> bool:
        """Whether a row is one of them."""
        text = self.text.casefold()
        named = any(text in str(row[name]).casefold() for name in ("address", "profile_id"))
        return row["state"] in self.states and self.campaign in ("", row["campaign"]) and named


class Summary:
    """The totals and changes of one ledger. Each question reads the whole of a DynamoDB table."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def reads_everything(self) -> bool:
        """Whether a question costs as much as there are sends, and should not be asked often."""
        return isinstance(self._database, Table)

    def counts(self, since_ms: int = 0) -> Counts:
        """Sends by campaign and state: those that changed since then, and all that wait."""
        found: Counts = {}
        for campaign, state, rows in sorted(self._counted(since_ms)):
            own = found.setdefault(campaign, {})
            own[state] = own.get(state, 0) + rows
        return found

    def changes(self, after: Position, columns: Sequence[str], limit: int) -> list[Mapping[str, Any]]:
        """The sends that changed last after this position, in the order of their changes."""
        if isinstance(self._database, Table):
            later = (row for row in all_rows(self._database) if _place(row) > after)
            return heapq.nsmallest(limit, later, key=_place)
        place = (sends.c.changed_at_ms, sends.c.idempotency_key)
        query = (
            sa.select(*(sends.c[name] for name in columns))
            .where(place[0] >= after[0], sa.tuple_(*place) > after)
            .order_by(*place)
            .limit(limit)
        )
        with self._database.connect().execution_options(read_only=True) as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def latest(self, wanted: Wanted, limit: int) -> list[Mapping[str, Any]]:
        """The rows that changed last, newest first."""
        if isinstance(self._database, Table):
            return heapq.nlargest(limit, filter(wanted.takes, all_rows(self._database)), key=_place)
        query = sa.select(sends).where(sends.c.state.in_(wanted.states))
        if wanted.campaign:
            query = query.where(sends.c.campaign == wanted.campaign)
        if wanted.text:
            person = (sends.c.address, sends.c.profile_id)
            query = query.where(sa.or_(*(column.icontains(wanted.text, autoescape=True) for column in person)))
        newest_first = query.order_by(sends.c.changed_at_ms.desc(), sends.c.idempotency_key).limit(limit)
        with self._database.connect().execution_options(read_only=True) as connection:
            return [dict(row) for row in connection.execute(newest_first).mappings()]

    def _counted(self, since_ms: int) -> list[tuple[str, str, int]]:
        if isinstance(self._database, Table):
            rows = (row for row in all_rows(self._database) if _is_counted(row, since_ms))
            names = Counter((str(row["campaign"]), _state(row)) for row in rows)
            return [(*name, count) for name, count in names.items()]
        state = sa.case((sends.c.state == SKIPPED, SKIP + sends.c.reason), else_=sends.c.state)
        query = (
            sa.select(sends.c.campaign, state, sa.func.count())
            .where((sends.c.changed_at_ms >= since_ms) | sends.c.state.in_(WAITING))
            .group_by(sends.c.campaign, state)
        )
        with self._database.connect().execution_options(read_only=True) as connection:
            return [(row[0], row[1], row[2]) for row in connection.execute(query)]


def _place(row: Mapping[str, Any]) -> Position:
    return int(row["changed_at_ms"]), str(row["idempotency_key"])


def _is_counted(row: Mapping[str, Any], since_ms: int) -> bool:
    return row["changed_at_ms"] >= since_ms or row["state"] in WAITING


def _state(row: Mapping[str, Any]) -> str:
    return SKIP + row["reason"] if row["state"] == SKIPPED else str(row["state"])


def skips(states: dict[str, int]) -> dict[str, int]:
    """Reason -> sends, of the skips among these states."""
    return {name.removeprefix(SKIP): count for name, count in sorted(states.items()) if name.startswith(SKIP)}
