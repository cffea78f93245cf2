"""Lets the ledger forget sends that nobody can ask for again."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from clickhouse_connect.driver.client import Client

from wakeline.activation.gates import Rules
from wakeline.activation.ledger.states import FAILED, SENT, SKIPPED
from wakeline.database import sends
from wakeline.errors import ConfigError, WarehouseError
from wakeline.warehouse.client import FAULTS, first_line

_DAY_MS = 86_400_000
#: Deleted in one transaction: nothing may wait long for the ledger.
PAGE_ROWS = 500
#: Nothing of these changes any more.
_FINAL = (SENT, FAILED, SKIPPED)

_COPIED = """
    SELECT idempotency_key, max(changed_at_ms) FROM sends WHERE idempotency_key IN {keys:Array(String)}
    GROUP BY idempotency_key
"""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """Sends that were deleted, and those that are old enough but stay: the copy in ClickHouse lacks them."""

    deleted: int
    not_copied: int


def forget_sends(
    engine: sa.Engine, copied: Callable[[Sequence[str]], dict[str, int]], before_ms: int, dry_run: bool
) -> Forgotten:
    """Delete final sends that were decided, changed and expired before then, as far as they are `copied`.

    `copied` says of keys when the row that was copied had changed last.
    """
    deleted = not_copied = 0
    after: tuple[int, str] = (0, "")
    while page := _page(engine, after, before_ms):
        known = copied([key for _, key in page])
        there = [key for changed_at_ms, key in page if known.get(key, -1) >= changed_at_ms]
        not_copied += len(page) - len(there)
        deleted += len(there) if dry_run else _delete(engine, there, before_ms)
        after = page[-1]
    return Forgotten(deleted, not_copied)


def copied_sends(client: Client, keys: Sequence[str]) -> dict[str, int]:
    """Key -> time of the last change, of those that ClickHouse has. Raises WarehouseError."""
    try:
        rows = client.query(_COPIED, {"keys": list(keys)}).result_rows
    except FAULTS as error:
        raise WarehouseError(f"ClickHouse did not answer about sends: {first_line(error)}") from error
    return {str(key): int(changed_at_ms) for key, changed_at_ms in rows}


def require_long_enough(sends_days: float, rules: Iterable[Rules]) -> None:
    """Raises ConfigError when a frequency cap counts sends that would be forgotten."""
    caps = (cap for one in rules for cap in (one.cap, one.marketing_cap) if cap is not None)
    longest_days = max((cap.window_ms / _DAY_MS for cap in caps), default=0.0)
    if sends_days < longest_days:
        raise ConfigError(
            f"retention.sends_days is {sends_days:g}, but a frequency cap counts the sends of {longest_days:g} days;"
            " keep them for longer."
        )


def _page(engine: sa.Engine, after: tuple[int, str], before_ms: int) -> list[tuple[int, str]]:
    place = (sends.c.changed_at_ms, sends.c.idempotency_key)
    query = (
        sa.select(*place)
        .where(place[0] >= after[0], sa.tuple_(*place) > after, _is_forgettable(before_ms))
        .order_by(*place)
        .limit(PAGE_ROWS)
    )
    with engine.connect().execution_options(read_only=True) as connection:
        return [(row[0], row[1]) for row in connection.execute(query)]


def _delete(engine: sa.Engine, keys: Sequence[str], before_ms: int) -> int:
    statement = sa.delete(sends).where(sends.c.idempotency_key.in_(keys), _is_forgettable(before_ms))
    with engine.begin() as connection:
        return connection.execute(statement).rowcount


def _is_forgettable(before_ms: int) -> sa.ColumnElement[bool]:
    times = (sends.c.changed_at_ms, sends.c.claimed_at_ms, sends.c.expires_at_ms)
    return sa.and_(sends.c.state.in_(_FINAL), *(time < before_ms for time in times))
