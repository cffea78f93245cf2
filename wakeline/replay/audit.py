"""Who did what by hand, when, and what came of it: kept in the ledger's database, on either engine.

Whatever changes a deployment by hand goes through `audited`. The row is written before anything is done, so that what
was cut off is on record as well.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol
from uuid import uuid4

import orjson
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from wakeline.clock import Clock
from wakeline.database import audit
from wakeline.dynamodb import Table, put
from wakeline.engines import Database, open_database
from wakeline.errors import WakelineError
from wakeline.settings import Settings

STARTED, DONE, FAILED = "started", "done", "failed"
_AUDIT = "audit"

#: What came of it: counts and other plain facts, filled in by whoever does it.
Result = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Doing:
    """What is about to be done: the job or command, by whom, in which Dagster run ("": none), and what was asked for.

    `config` holds nothing about customers.
    """

    operation: str
    done_by: str
    run_id: str
    config: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the audit; `ended_at_ms` is None while it is being done, and for ever when it was cut off."""

    entry_id: str
    operation: str
    done_by: str
    run_id: str
    config: Mapping[str, Any]
    state: str
    result: Mapping[str, Any]
    error: str
    began_at_ms: int
    ended_at_ms: int | None


class AuditLog(Protocol):
    """The entries of one deployment."""

    def keep(self, entry: Entry) -> None:
        """Write an entry, instead of the earlier one with its id."""

    def latest(self, limit: int) -> list[Entry]:
        """The newest entries, newest first."""


class SqlAuditLog:
    """On SQLite or Postgres."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def keep(self, entry: Entry) -> None:
        """Write an entry, instead of the earlier one with its id."""
        with self._engine.begin() as connection:
            connection.execute(sa.delete(audit).where(audit.c.entry_id == entry.entry_id))
            connection.execute(sa.insert(audit).values(asdict(entry)))

    def latest(self, limit: int) -> list[Entry]:
        """The newest entries, newest first."""
        query = sa.select(audit).order_by(audit.c.began_at_ms.desc(), audit.c.entry_id).limit(limit)
        with self._engine.connect().execution_options(read_only=True) as connection:
            return [Entry(**row) for row in connection.execute(query).mappings()]


class DynamoAuditLog:
    """On DynamoDB."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def keep(self, entry: Entry) -> None:
        """Write an entry, instead of the earlier one with its id."""
        item = {**asdict(entry), "config": _json(entry.config), "result": _json(entry.result)}
        self._table.write([put((_AUDIT, f"{entry.began_at_ms:016d}#{entry.entry_id}"), item)])

    def latest(self, limit: int) -> list[Entry]:
        """The newest entries, newest first."""
        items = self._table.query(_AUDIT)[::-1][:limit]
        return [_entry(item) for item in items]


def open_audit(database: Database) -> AuditLog:
    """The audit in a ledger's database."""
    return DynamoAuditLog(database) if isinstance(database, Table) else SqlAuditLog(database)


@contextmanager
def audited(log: AuditLog, clock: Clock, doing: Doing) -> Iterator[Result]:
    """Keeps on record what is done meanwhile; the result is whatever was put into the yielded dictionary.

    An error is kept with it, and goes on.
    """
    entry = _begun(doing, clock())
    log.keep(entry)
    result: Result = {}
    try:
        yield result
    except BaseException as error:
        log.keep(replace(entry, state=FAILED, result=result, error=_said(error), ended_at_ms=clock()))
        raise
    log.keep(replace(entry, state=DONE, result=result, ended_at_ms=clock()))


def keep_done(log: AuditLog, doing: Doing, began_at_ms: int, ended_at_ms: int, result: Result) -> None:
    """Put on record what is done already: a restore cannot be, in a ledger that it has yet to bring."""
    log.keep(replace(_begun(doing, began_at_ms), state=DONE, result=result, ended_at_ms=ended_at_ms))


@contextmanager
def audited_on(settings: Settings, clock: Clock, doing: Doing) -> Iterator[Result]:
    """The same on the ledger's database of the settings, opened for it."""
    database = open_database(settings)
    try:
        with audited(open_audit(database), clock, doing) as result:
            yield result
    finally:
        database.dispose()


def _begun(doing: Doing, at_ms: int) -> Entry:
    return Entry(uuid4().hex, doing.operation, doing.done_by, doing.run_id, doing.config, STARTED, {}, "", at_ms, None)


def _said(error: BaseException) -> str:
    # The text of any other error may hold anything, e.g. an address.
    return str(error) if isinstance(error, WakelineError) else type(error).__name__


def _entry(item: Mapping[str, Any]) -> Entry:
    plain = {name: item.get(name) for name in Entry.__slots__}
    return Entry(**{**plain, "config": orjson.loads(item["config"]), "result": orjson.loads(item["result"])})


def _json(value: Any) -> str:
    return orjson.dumps(value, default=str).decode()
