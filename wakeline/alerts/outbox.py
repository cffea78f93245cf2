"""What waits to be told, channel by channel, in the order it came about."""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from wakeline.alerts import database as tables
from wakeline.alerts.machine import Kind
from wakeline.alerts.problem import Severity
from wakeline.alerts.text import Message

WAITING, DELIVERED, GIVEN_UP = "waiting", "delivered", "given_up"


@dataclass(frozen=True, slots=True)
class Due:
    """A message that a channel is owed."""

    message_id: int
    channel: str
    attempts: int
    created_ms: int
    next_attempt_ms: int
    message: Message


@dataclass(frozen=True, slots=True)
class ChannelState:
    """How a channel fares: the oldest message that waits for it, and what it said at its last attempt."""

    channel: str
    waiting: int
    attempts: int
    waiting_since_ms: int | None
    error: str
    delivered_ms: int | None
    given_up: int


_deliveries, _messages = tables.alert_deliveries, tables.alert_messages


@dataclass(frozen=True, slots=True)
class Outbox:
    """The rows of `alert_deliveries`."""

    engine: Engine

    def first(self, channel: str) -> Due | None:
        """The oldest message that waits for the channel."""
        query = (
            sa.select(_deliveries, _messages)
            .join(_messages, _messages.c.message_id == _deliveries.c.message_id)
            .where(_deliveries.c.channel == channel, _deliveries.c.state == WAITING)
            .order_by(_deliveries.c.message_id)
            .limit(1)
        )
        with self.engine.connect().execution_options(read_only=True) as connection:
            row = connection.execute(query).mappings().first()
        return None if row is None else _due(row)

    def claim(self, due: Due, until_ms: int) -> bool:
        """Whether nobody else is at it: until then nobody tries it again, should its attempt be cut off."""
        return self._change(due, attempts=due.attempts + 1, next_attempt_ms=until_ms)

    def delivered(self, due: Due, now_ms: int) -> None:
        """The channel took it."""
        self._change(_claimed(due), state=DELIVERED, settled_ms=now_ms, error="")

    def failed(self, due: Due, error: str, next_attempt_ms: int) -> None:
        """The channel did not take it, and is asked again."""
        self._change(_claimed(due), error=error, next_attempt_ms=next_attempt_ms)

    def given_up(self, due: Due, error: str, now_ms: int) -> None:
        """The channel did not take it for so long that nobody would want it any more."""
        self._change(_claimed(due), state=GIVEN_UP, settled_ms=now_ms, error=error)

    def states(self) -> dict[str, ChannelState]:
        """Of every channel that was ever owed a message."""
        is_waiting = _deliveries.c.state == WAITING
        counted = (
            sa.select(
                _deliveries.c.channel,
                sa.func.count(sa.case((is_waiting, 1))).label("waiting"),
                sa.func.coalesce(sa.func.max(sa.case((is_waiting, _deliveries.c.attempts))), 0).label("attempts"),
                sa.func.min(sa.case((is_waiting, _messages.c.created_ms))).label("waiting_since_ms"),
                sa.func.coalesce(sa.func.max(sa.case((is_waiting, _deliveries.c.error))), "").label("error"),
                sa.func.max(sa.case((_deliveries.c.state == DELIVERED, _deliveries.c.settled_ms))).label(
                    "delivered_ms"
                ),
                sa.func.count(sa.case((_deliveries.c.state == GIVEN_UP, 1))).label("given_up"),
            )
            .join(_messages, _messages.c.message_id == _deliveries.c.message_id)
            .group_by(_deliveries.c.channel)
        )
        with self.engine.connect().execution_options(read_only=True) as connection:
            return {row["channel"]: ChannelState(**row) for row in connection.execute(counted).mappings()}

    def _change(self, due: Due, **values: Any) -> bool:
        change = sa.update(_deliveries).where(
            _deliveries.c.message_id == due.message_id,
            _deliveries.c.channel == due.channel,
            _deliveries.c.state == WAITING,
            _deliveries.c.attempts == due.attempts,
        )
        with self.engine.begin() as connection:
            return connection.execute(change.values(values)).rowcount == 1


def _claimed(due: Due) -> Due:
    return Due(due.message_id, due.channel, due.attempts + 1, due.created_ms, due.next_attempt_ms, due.message)


def _due(row: sa.RowMapping) -> Due:
    message = Message(row["title"], row["body"], Kind(row["kind"]), Severity(row["severity"]))
    return Due(row["message_id"], row["channel"], row["attempts"], row["created_ms"], row["next_attempt_ms"], message)
