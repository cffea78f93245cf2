"""The ledger database: leases, offsets, consent, suppressions and sends, in one place so one transaction covers them.

SQLite by default; SQLAlchemy Core, so that another database needs another URL and nothing else.
"""

from pathlib import Path
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import Engine
from sqlalchemy.schema import CreateColumn

metadata = sa.MetaData()

#: One row per lane: who may process it, and how far it is.
lanes = sa.Table(
    "lanes",
    metadata,
    sa.Column("lane", sa.Text, primary_key=True),
    sa.Column("holder", sa.Text, nullable=False, default="", comment="Dagster run id of the holder, '' when free"),
    sa.Column("fencing_token", sa.BigInteger, nullable=False, default=0, comment="Counts the holders so far"),
    sa.Column("held_since_ms", sa.BigInteger, nullable=False, default=0),
    sa.Column("expires_at_ms", sa.BigInteger, nullable=False, default=0),
    sa.Column("successor", sa.Text, nullable=False, default="", comment="Run id of the run waiting to take over"),
    sa.Column("successor_seen_ms", sa.BigInteger, nullable=False, default=0),
    sa.Column("intent", sa.JSON, comment="Offset ranges of the batch in work; redone exactly after a crash"),
    sa.Column("intent_stream", sa.Text, nullable=False, server_default="", comment="The stream of these offsets"),
    sa.Column(
        "evaluated_until_ms",
        sa.BigInteger,
        nullable=False,
        default=0,
        comment="Wake-ups due by then are done",
    ),
    sa.Column("lane_count", sa.Integer, nullable=False, server_default="1", comment="How many lanes there were then"),
    sa.Column("read_at_ms", sa.BigInteger, nullable=False, server_default="0", comment="When the stream was last read"),
)

#: The stream that offsets belong to: another identity under the same name is another stream.
streams = sa.Table(
    "streams",
    metadata,
    sa.Column("stream", sa.Text, primary_key=True),
    sa.Column("identity", sa.Text, nullable=False),
)

#: The offset at which each partition was first read.
partition_starts = sa.Table(
    "partition_starts",
    metadata,
    sa.Column("stream", sa.Text, primary_key=True),
    sa.Column("partition", sa.Integer, primary_key=True),
    sa.Column("first", sa.BigInteger, nullable=False),
)

#: Committed offsets: the first offset of each partition that is not yet processed.
restores = sa.Table(
    "restores",
    metadata,
    sa.Column("token", sa.Text, primary_key=True),
    sa.Column("file", sa.Text, nullable=False),
    sa.Column("stream", sa.Text, nullable=False),
    sa.Column("ranges", sa.JSON, nullable=False),
    sa.Column("inserts_before", sa.Integer, nullable=False),
)
offsets = sa.Table(
    "offsets",
    metadata,
    sa.Column("stream", sa.Text, primary_key=True),
    sa.Column("partition", sa.Integer, primary_key=True),
    sa.Column("committed", sa.BigInteger, nullable=False),
)


def _consent_table(name: str) -> sa.Table:
    return sa.Table(
        name,
        metadata,
        sa.Column(
            "subject", sa.Text, primary_key=True, comment="An id ('user:7') or an address ('email:a@example.com')"
        ),
        sa.Column("purpose", sa.Text, primary_key=True),
        sa.Column("granted", sa.Boolean, nullable=False),
        sa.Column("occurred_at_ms", sa.BigInteger, nullable=False),
        sa.Column("message_id", sa.Text, nullable=False, comment="The event that said so"),
    )


#: The latest statement of a person (or an address) on a purpose: an opt-out, or a change of preferences.
consents = _consent_table("consents")

#: The latest consent that was said to be in force when an event happened; a device may repeat an old one for ever.
consent_stamps = _consent_table("consent_stamps")

#: Addresses that cannot or must not be mailed at all: hard bounces and complaints.
suppressions = sa.Table(
    "suppressions",
    metadata,
    sa.Column("address", sa.Text, primary_key=True),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("occurred_at_ms", sa.BigInteger, nullable=False),
    sa.Column("message_id", sa.Text, nullable=False),
)

#: The addresses of other systems' records, e.g. of a CRM's contacts, which say no under an id of their own.
record_addresses = sa.Table(
    "record_addresses",
    metadata,
    sa.Column("subject", sa.Text, primary_key=True, comment="The record's id ('anonymous:hubspot-7')"),
    sa.Column("address", sa.Text, primary_key=True),
)

#: One row per idempotency key: the one decision on an occurrence, and what became of it.
sends = sa.Table(
    "sends",
    metadata,
    sa.Column("idempotency_key", sa.Text, primary_key=True),
    sa.Column("campaign", sa.Text, nullable=False),
    sa.Column("profile_id", sa.Text, nullable=False),
    sa.Column("occurrence_key", sa.Text, nullable=False),
    sa.Column("campaign_class", sa.Text, nullable=False),
    sa.Column("purpose", sa.Text, comment="Consent purpose; null for transactional campaigns"),
    sa.Column("state", sa.Text, nullable=False, comment="claimed, sent, failed, retry, unknown or skipped"),
    sa.Column("reason", sa.Text, nullable=False, default=""),
    sa.Column("address", sa.Text, nullable=False),
    sa.Column("occurred_at_ms", sa.BigInteger, nullable=False),
    sa.Column("expires_at_ms", sa.BigInteger, nullable=False),
    sa.Column("trigger_hash", sa.Text, nullable=False),
    sa.Column("campaign_hash", sa.Text, nullable=False),
    sa.Column("message_ids", sa.JSON, nullable=False, comment="The events that made the profile a candidate"),
    sa.Column("record", sa.JSON, comment="The consent, suppression or sends a gate decided by"),
    sa.Column("contact", sa.JSON, nullable=False),
    sa.Column("context", sa.JSON, nullable=False),
    sa.Column("run_id", sa.Text, nullable=False),
    sa.Column("lane", sa.Text, nullable=False, server_default="0"),
    sa.Column("fencing_token", sa.BigInteger, nullable=False),
    sa.Column("batch", sa.JSON, nullable=False, comment="Offset ranges of the micro-batch"),
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("next_attempt_at_ms", sa.BigInteger, nullable=False, default=0),
    sa.Column("provider_id", sa.Text, nullable=False, default=""),
    sa.Column("received_at_ms", sa.BigInteger, comment="Of the latest of the events; null when a wake-up fired"),
    sa.Column("appended_at_ms", sa.BigInteger),
    sa.Column("read_at_ms", sa.BigInteger),
    sa.Column("ingested_at_ms", sa.BigInteger),
    sa.Column("evaluated_at_ms", sa.BigInteger, nullable=False),
    sa.Column("claimed_at_ms", sa.BigInteger, nullable=False, comment="When it was decided, skips too"),
    sa.Column("esp_accepted_at_ms", sa.BigInteger),
    sa.Index("sends_by_profile", "profile_id", "claimed_at_ms"),
    sa.Index("sends_by_state", "state", "next_attempt_at_ms"),
)


def open_database(path: Path) -> Engine:
    """The ledger database at `path`, created with its tables where missing; every commit is fsynced."""
    path.parent.mkdir(parents=True, exist_ok=True)
    engine = sa.create_engine(f"sqlite:///{path}", connect_args={"timeout": 30}, json_serializer=_to_json)
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", _begin_immediate)
    metadata.create_all(engine)
    _add_columns(engine)
    return engine


def _add_columns(engine: Engine) -> None:
    """A database of an earlier version gets the columns that have come since; each has a default."""
    known = sa.inspect(engine)
    for table in metadata.sorted_tables:
        present = {column["name"] for column in known.get_columns(table.name)}
        missing = [column for column in table.columns if column.name not in present]
        if missing:
            with engine.begin() as connection:
                for column in missing:
                    connection.exec_driver_sql(f"ALTER TABLE {table.name} ADD COLUMN {_ddl(column)}")


def _ddl(column: "sa.Column[Any]") -> str:
    return str(CreateColumn(column).compile(dialect=sqlite.dialect()))


def _to_json(value: Any) -> str:
    # Column names are a subclass of str; dates and decimals of a context become text.
    return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


def _configure_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # SQLAlchemy's own BEGIN below, not the driver's late one.
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")


def _begin_immediate(connection: sa.Connection) -> None:
    # A transaction that reads, decides and writes must hold the write lock from its first read.
    immediate = connection.get_execution_options().get("read_only") is None
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")
