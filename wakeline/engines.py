"""Opens the ledger database and other SQL databases, and hides where SQLite and Postgres differ.

A transaction that reads, decides and writes sees nothing change between its reads and its commit: on SQLite because
there is only one at a time, on Postgres by the locks below. See docs/decisions/0012-locks-on-postgres.md.
"""

import hashlib
import itertools
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import orjson
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection, Engine, ExceptionContext
from sqlalchemy.pool import NullPool
from sqlalchemy.schema import CreateColumn

from wakeline.database import metadata
from wakeline.dynamodb import Table, open_table
from wakeline.errors import ConfigError, LedgerError, WakelineError
from wakeline.settings import Settings

#: More people than this in one transaction are locked all at once: Postgres has room for some thousand locks.
MOST_LOCKS = 500

_POSTGRES = "postgresql"
_DRIVER = "postgresql+psycopg"
_CONNECT_SECONDS = 5
# A holder that stands still in the middle of a transaction must not keep others from taking its lane over.
_POSTGRES_SESSION = "SET idle_in_transaction_session_timeout = '10s'; SET lock_timeout = '30s'"
# What Postgres adds to its sentence, values of rows among it.
_DETAILS = ("DETAIL", "CONTEXT", "HINT", "LINE")
# What tells our locks from those of others in the same database: the first half of an advisory lock's key.
_LANES, _EVERYBODY, _SCHEMA = (int.from_bytes(b"wak" + bytes([number])) for number in range(3))


#: Where a ledger is kept. Whoever opens it disposes of it.
Database = Engine | Table


class Kept(NamedTuple):
    """What a database is for: what errors call it, which setting leads to it, and its tables."""

    name: str
    setting: str
    error: type[WakelineError]
    tables: sa.MetaData


LEDGER = Kept("The ledger database", "ledger.url", LedgerError, metadata)


def open_database(settings: Settings) -> Database:
    """The ledger database of the settings, created with its tables where missing.

    Raises ConfigError or LedgerError, in a sentence; later every error of the database is a LedgerError.
    """
    if settings.ledger.kind == "dynamodb":
        table = open_table(settings.ledger)
        table.make_sure()
        return table
    if settings.ledger.kind == "sqlite":
        return open_sqlite(settings.ledger_path)
    return open_postgres(settings.ledger.url)


def open_sqlite(path: Path, kept: Kept = LEDGER) -> Engine:
    """The database in a file; every commit is fsynced."""
    path.parent.mkdir(parents=True, exist_ok=True)
    engine = sa.create_engine(f"sqlite:///{path}", connect_args={"timeout": 30}, json_serializer=_to_json)
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", _begin_immediate)
    return _with_tables(engine, kept)


def open_postgres(url: str, kept: Kept = LEDGER) -> Engine:
    """The database at a URL; what the URL leaves out is taken from the environment, as libpq does."""
    return _with_tables(_postgres(url, kept), kept)


def open_for_reading(settings: Settings) -> Database:
    """The database as it is: nothing is made where there is none, and no connection of SQL stays open."""
    if settings.ledger.kind == "dynamodb":
        return open_table(settings.ledger)
    if settings.ledger.kind == "postgres":
        engine = _postgres(settings.ledger.url, LEDGER, poolclass=NullPool)
    else:
        place = f"file:{quote(str(settings.ledger_path))}?mode=ro"
        engine = sa.create_engine("sqlite://", creator=lambda: sqlite3.connect(place, uri=True), poolclass=NullPool)
    _explain_errors(engine, LEDGER)
    return engine


def insert(connection: Connection, table: sa.Table) -> "sqlite.Insert | postgresql.Insert":
    """An INSERT that can be told what to do on conflict."""
    return insert_on(connection.dialect.name, table)


def insert_on(dialect: str, table: sa.Table) -> "sqlite.Insert | postgresql.Insert":
    """The same by the name of the dialect, for a statement that is built once."""
    return postgresql.insert(table) if dialect == _POSTGRES else sqlite.insert(table)


def lock_lanes(connection: Connection) -> None:
    """Until the end of the transaction nobody else takes or lays out lanes."""
    if _is_postgres(connection):
        connection.execute(_LOCK, {"half": _LANES})


def lock_people(connection: Connection, ids: Iterable[str]) -> None:
    """Until the end of the transaction nobody else decides on sends to these people, and nobody records consent."""
    if not _is_postgres(connection):
        return
    keys = sorted({int.from_bytes(hashlib.sha256(id_.encode()).digest()[:8], signed=True) for id_ in ids})
    if len(keys) > MOST_LOCKS:
        lock_everybody(connection)
    else:
        connection.execute(_LOCK_SHARED, {"half": _EVERYBODY})
        connection.execute(_LOCK_KEYS, {"keys": keys})


def lock_everybody(connection: Connection) -> None:
    """Until the end of the transaction nobody else decides on sends or records consent."""
    if _is_postgres(connection):
        connection.execute(_LOCK, {"half": _EVERYBODY})


_LOCK = sa.text("SELECT pg_advisory_xact_lock(:half, 0)")
_LOCK_SHARED = sa.text("SELECT pg_advisory_xact_lock_shared(:half, 0)")
# Keys of one number and of two halves are told apart by Postgres; a function's rows come in the order of the array.
_LOCK_KEYS = sa.text("SELECT pg_advisory_xact_lock(key) FROM unnest(CAST(:keys AS bigint[])) AS one(key)")


def _is_postgres(connection: Connection) -> bool:
    return connection.dialect.name == _POSTGRES


def postgres_url(text: str, setting: str, driver: str = _DRIVER) -> sa.URL:
    """The URL of a setting with this driver. Raises ConfigError, without the URL, for one of something else."""
    try:
        url = sa.make_url(text)
    except sa.exc.ArgumentError:
        raise ConfigError(f"{setting} is no URL; it begins with {_POSTGRES}://HOST/DATABASE.") from None
    if url.drivername not in (_POSTGRES, "postgres", driver):
        raise ConfigError(f"{setting} is one of '{url.drivername}'; it must begin with {_POSTGRES}://.")
    return url.set(drivername=driver)


def _postgres(url: str, kept: Kept, **options: Any) -> Engine:
    engine = sa.create_engine(
        postgres_url(url, kept.setting),
        connect_args={"connect_timeout": _CONNECT_SECONDS},
        pool_pre_ping=True,
        hide_parameters=True,
        json_serializer=_to_json,
        **options,
    )
    event.listen(engine, "connect", _configure_postgres)
    return engine


def _with_tables(engine: Engine, kept: Kept) -> Engine:
    _explain_errors(engine, kept)
    try:
        with engine.begin() as connection:
            if _is_postgres(connection):  # Of two processes that start at once one waits for the other.
                connection.execute(_LOCK, {"half": _SCHEMA})
            kept.tables.create_all(connection)
            _add_columns(connection, kept.tables)
    except BaseException:
        engine.dispose()
        raise
    return engine


def _add_columns(connection: Connection, tables: sa.MetaData) -> None:
    """A database of an earlier version gets the columns that have come since; each has a default."""
    known = sa.inspect(connection)
    for table in tables.sorted_tables:
        present = {column["name"] for column in known.get_columns(table.name)}
        for column in table.columns:
            if column.name not in present:
                ddl = CreateColumn(column).compile(dialect=connection.dialect)
                connection.exec_driver_sql(f"ALTER TABLE {table.name} ADD COLUMN {ddl}")


def _explain_errors(engine: Engine, kept: Kept) -> None:
    event.listen(engine, "handle_error", lambda context: _explain(context, kept))


def _explain(context: ExceptionContext, kept: Kept) -> None:
    """Raise what went wrong as one sentence, without the values of the statement, which are personal data."""
    error = context.original_exception
    if context.is_pre_ping or not isinstance(error, context.dialect.loaded_dbapi.Error):
        return
    place = "in the data folder" if context.dialect.name == "sqlite" else _place(context.engine, kept.setting)
    raise kept.error(f"{kept.name} {place} fails: {_said(error)}.") from error


def _said(error: BaseException) -> str:
    lines = itertools.takewhile(lambda line: not line.startswith(_DETAILS), str(error).splitlines())
    return " ".join(line.strip() for line in lines).strip().rstrip(".?") or type(error).__name__


def _place(engine: Engine | None, setting: str) -> str:
    if engine is None or not engine.url.host:
        return f"of {setting}"
    return f"at {engine.url.host}:{engine.url.port or 5432}"


def _to_json(value: Any) -> str:
    # Column names are a subclass of str; dates and decimals of a context become text.
    return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


def _configure_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # SQLAlchemy's own BEGIN below, not the driver's late one.
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")


def _begin_immediate(connection: Connection) -> None:
    # A transaction that reads, decides and writes must hold the write lock from its first read.
    immediate = connection.get_execution_options().get("read_only") is None
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


def _configure_postgres(connection: Any, _record: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(_POSTGRES_SESSION)
    connection.commit()
