"""What people and displays ask of the ledger, in whatever database it is; nothing of it decides anything."""

import heapq
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from wakeline.activation.gates import HELD, stale_inputs
from wakeline.activation.ledger.dynamodb_items import owner_key, owner_of, row_of, send_key
from wakeline.activation.ledger.states import CLAIMED, RETRY, SENT
from wakeline.database import sends
from wakeline.dynamodb import Table
from wakeline.engines import Database

_OPEN = (CLAIMED, RETRY)
Row = Mapping[str, Any]
#: SQLite takes at most 32,766 variables in a statement.
_CHUNK = 10_000


def count_open(database: Database) -> int:
    """How many sends are claimed, or wait for what the stack does by itself: another try, or events to be read."""
    if isinstance(database, Table):
        return sum(_is_open(row) for row in all_rows(database))
    held = (sends.c.state == HELD) & (sends.c.reason == stale_inputs.__name__)
    query = sa.select(sa.func.count()).where(sends.c.state.in_(_OPEN) | held)
    with database.connect().execution_options(read_only=True) as connection:
        return int(connection.execute(query).scalar_one())


def latest_sent(database: Database, columns: Sequence[str], limit: int) -> list[Row]:
    """The latest accepted sends that an event caused. Reads all of a DynamoDB table."""
    if isinstance(database, Table):
        caused = (row for row in all_rows(database) if row["state"] == SENT and row["received_at_ms"] is not None)
        return heapq.nlargest(limit, caused, key=lambda row: int(row["claimed_at_ms"]))
    query = (
        sa.select(*(sends.c[name] for name in columns))
        .where(sends.c.state == SENT, sends.c.received_at_ms.is_not(None))
        .order_by(sends.c.claimed_at_ms.desc())
        .limit(limit)
    )
    with database.connect().execution_options(read_only=True) as connection:
        return [dict(row) for row in connection.execute(query).mappings()]


def send_of(database: Database, key: str) -> Row | None:
    """The row of a send, None when there is none."""
    if isinstance(database, Table):
        owner = owner_of(database.get([owner_key(key)]), key)
        place = send_key(owner, key)
        item = database.get([place]).get(place) if owner else None
        return row_of(item) if item else None
    query = sa.select(sends).where(sends.c.idempotency_key == key)
    with database.connect().execution_options(read_only=True) as connection:
        row = connection.execute(query).mappings().one_or_none()
    return None if row is None else dict(row)


def states_of(database: Database, keys: Iterable[tuple[str, str]]) -> dict[str, Row]:
    """Key -> `state`, `reason` and `may_be_out_since_ms` of the sends that there are, of (profile id, key) each."""
    wanted = sorted(set(keys))
    if isinstance(database, Table):
        items = database.get(send_key(profile_id, key) for profile_id, key in wanted)
        return {str(item["idempotency_key"]): row_of(item) for item in items.values()}
    columns = [sends.c[name] for name in ("idempotency_key", "state", "reason", "may_be_out_since_ms")]
    found: dict[str, Row] = {}
    with database.connect().execution_options(read_only=True) as connection:
        for start in range(0, len(wanted), _CHUNK):
            chunk = [key for _, key in wanted[start : start + _CHUNK]]
            query = sa.select(*columns).where(sends.c.idempotency_key.in_(chunk))
            found |= {row["idempotency_key"]: dict(row) for row in connection.execute(query).mappings()}
    return found


def all_rows(table: Table) -> "map[dict[str, Any]]":
    """Every send of a DynamoDB table."""
    return map(row_of, (item for item in table.scan() if item["sk"].startswith("send#")))


def _is_open(row: Row) -> bool:
    return row["state"] in _OPEN or (row["state"] == HELD and row["reason"] == stale_inputs.__name__)
