"""Alerts in their database: a look changes what is remembered and what waits to be told in one transaction."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from wakeline.alerts import database as tables
from wakeline.alerts import last_looks
from wakeline.alerts.alert import Alert
from wakeline.alerts.concerns import Concern
from wakeline.alerts.last_looks import LastLook, blind
from wakeline.alerts.machine import Notice, Outcome, Policy, step
from wakeline.alerts.problem import Look, Problem, Severity
from wakeline.alerts.silences import Silence
from wakeline.alerts.text import Message, compose

#: Which channels hear of a notice.
Route = Callable[[Notice], Iterable[str]]
#: Whether nothing may be told of a concern's key, given what people asked for.
Silenced = Callable[[str, str, Sequence[Silence]], bool]


@dataclass(frozen=True, slots=True)
class Rules:
    """Of the settings: after how long people are reminded, and over how long service levels are judged."""

    remind_ms: int
    window_ms: int


@dataclass(frozen=True, slots=True)
class Store:
    """The alert database; every error of it is an AlertError."""

    engine: Engine

    def take(
        self, concern: Concern, look: Look, now_ms: int, rules: Rules, silenced: Silenced, route: Route
    ) -> tuple[Message, ...]:
        """Take what a concern sees; the messages that are now in the outbox."""
        with self.engine.begin() as connection:
            _lock(connection)
            alerts = _alerts(connection)
            silences = _silences(connection, now_ms)
            unseen = blind(last_looks.note(connection, concern.name, now_ms), now_ms)
            policy = Policy(rules.remind_ms, lambda name, key: silenced(name, key, silences), rules.window_ms, unseen)
            outcome = step(concern, alerts, look, now_ms, policy)
            _save(connection, concern, alerts, outcome)
            messages = tuple(compose(notice, now_ms) for notice in outcome.notices)
            for notice, message in zip(outcome.notices, messages, strict=True):
                _put(connection, notice, message, route(notice), now_ms)
        return messages

    def alerts(self) -> dict[str, Alert]:
        """What is remembered, by key."""
        with self._reading() as connection:
            return _alerts(connection)

    def looks(self) -> dict[str, LastLook]:
        """When each concern looked last, by its name."""
        with self._reading() as connection:
            return last_looks.read(connection)

    def messages(self, limit: int) -> list[dict[str, Any]]:
        """What was told last, the newest first."""
        table = tables.alert_messages
        query = sa.select(table).order_by(table.c.message_id.desc()).limit(limit)
        with self._reading() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def silences(self, now_ms: int) -> list[Silence]:
        """What people asked for and is not over."""
        with self._reading() as connection:
            return _silences(connection, now_ms)

    def silence(self, asked: Silence) -> int:
        """Begin a silence; its number."""
        values = {name: value for name, value in asdict(asked).items() if name != "silence_id"}
        with self.engine.begin() as connection:
            [number] = connection.execute(sa.insert(tables.alert_silences).values(values)).inserted_primary_key or (0,)
        return int(number)

    def unsilence(self, silence_id: int | None, now_ms: int) -> int:
        """End a silence, or all of them; how many were in force."""
        table = tables.alert_silences
        change = sa.update(table).where(table.c.until_ms > now_ms).values(until_ms=now_ms)
        with self.engine.begin() as connection:
            done = connection.execute(change if silence_id is None else change.where(table.c.silence_id == silence_id))
        return done.rowcount

    def forget(self, before_ms: int) -> None:
        """Delete what was told earlier; what still waits for a channel stays."""
        messages, deliveries = tables.alert_messages, tables.alert_deliveries
        waiting = sa.select(deliveries.c.message_id).where(deliveries.c.state == "waiting")
        old = sa.and_(messages.c.created_ms < before_ms, messages.c.message_id.not_in(waiting))
        ids = sa.select(messages.c.message_id).where(old)
        with self._reading() as connection:
            if connection.execute(ids.limit(1)).first() is None:
                return
        with self.engine.begin() as connection:
            connection.execute(sa.delete(deliveries).where(deliveries.c.message_id.in_(ids)))
            connection.execute(sa.delete(messages).where(old))
            connection.execute(sa.delete(tables.alert_silences).where(tables.alert_silences.c.until_ms < before_ms))

    def _reading(self) -> Connection:
        return self.engine.connect().execution_options(read_only=True)


def _lock(connection: Connection) -> None:
    """Of two looks at once one waits for the other; on SQLite they do anyway."""
    if connection.dialect.name != "sqlite":
        connection.exec_driver_sql("LOCK TABLE alerts IN SHARE ROW EXCLUSIVE MODE")


def _alerts(connection: Connection) -> dict[str, Alert]:
    rows = connection.execute(sa.select(tables.alerts)).mappings()
    return {row["key"]: _alert(row) for row in rows}


def _alert(row: Mapping[Any, Any]) -> Alert:
    values = dict(row)
    return Alert(
        **{
            **values,
            "problem": _problem(values["problem"]),
            "severity": Severity(values["severity"]),
            "openings": tuple(values["openings"]),
        }
    )


def _problem(kept: Mapping[str, Any]) -> Problem:
    return Problem(
        **{
            **kept,
            "severity": Severity(kept["severity"]),
            "affected": tuple(kept["affected"]),
            "links": tuple((label, url) for label, url in kept["links"]),
            "because": tuple(kept["because"]),
        }
    )


def _row(alert: Alert) -> dict[str, Any]:
    return {**asdict(alert), "severity": int(alert.severity), "openings": list(alert.openings)}


def _save(connection: Connection, concern: Concern, before: Mapping[str, Alert], outcome: Outcome) -> None:
    own = {key for key, alert in before.items() if alert.concern == concern.name}
    changed = [alert for key, alert in outcome.alerts.items() if before.get(key) != alert]
    gone = [*(own - set(outcome.alerts)), *(alert.key for alert in changed if alert.key in before)]
    table = tables.alerts
    if gone:
        connection.execute(sa.delete(table).where(table.c.key.in_(gone)))
    if changed:
        connection.execute(sa.insert(table), [_row(alert) for alert in changed])


def _silences(connection: Connection, now_ms: int) -> list[Silence]:
    table = tables.alert_silences
    query = sa.select(table).where(table.c.until_ms > now_ms).order_by(table.c.silence_id)
    return [Silence(**row) for row in connection.execute(query).mappings()]


def _put(connection: Connection, notice: Notice, message: Message, channels: Iterable[str], now_ms: int) -> None:
    values = {
        "created_ms": now_ms,
        "concern": notice.concern.name,
        "kind": str(message.kind),
        "severity": int(message.severity),
        "keys": [alert.key for alert in notice.alerts],
        "title": message.title,
        "body": message.body,
    }
    key = connection.execute(sa.insert(tables.alert_messages).values(values)).inserted_primary_key
    rows = [{"message_id": key[0] if key else 0, "channel": name, "state": "waiting"} for name in channels]
    if rows:
        connection.execute(sa.insert(tables.alert_deliveries), rows)
