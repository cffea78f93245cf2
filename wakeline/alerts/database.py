"""The tables of alerts and of what is told of them; the same on SQLite and on Postgres."""

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from wakeline.database import Text
from wakeline.engines import Kept, open_postgres, open_sqlite
from wakeline.errors import AlertError
from wakeline.settings import Settings

metadata = sa.MetaData()

#: What is remembered of every problem that waits to be told, is open, or was closed within the last hour.
alerts = sa.Table(
    "alerts",
    metadata,
    sa.Column("key", Text, primary_key=True),
    sa.Column("concern", Text, nullable=False),
    sa.Column("problem", sa.JSON, nullable=False, comment="As it was seen last"),
    sa.Column("seen_ms", sa.BigInteger, nullable=False),
    sa.Column("inhibited", sa.Boolean, nullable=False),
    sa.Column("opened_ms", sa.BigInteger, comment="null: it waits to be told"),
    sa.Column("well_since_ms", sa.BigInteger, comment="Since when it has been gone"),
    sa.Column("closed_ms", sa.BigInteger),
    sa.Column("severity", sa.Integer, nullable=False, comment="The highest that was told"),
    sa.Column("reminded_ms", sa.BigInteger, nullable=False),
    sa.Column("openings", sa.JSON, nullable=False, comment="When it opened, within the last hour"),
    sa.Column("flapping", sa.Boolean, nullable=False),
)

#: Everything that was told, with or without channels.
alert_messages = sa.Table(
    "alert_messages",
    metadata,
    sa.Column("message_id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("created_ms", sa.BigInteger, nullable=False, index=True),
    sa.Column("concern", Text, nullable=False),
    sa.Column("kind", Text, nullable=False, comment="opened, worse, reminder or recovered"),
    sa.Column("severity", sa.Integer, nullable=False),
    sa.Column("keys", sa.JSON, nullable=False, comment="The alerts that it is about"),
    sa.Column("title", Text, nullable=False),
    sa.Column("body", Text, nullable=False),
)

#: The outbox: one row for each message and channel.
alert_deliveries = sa.Table(
    "alert_deliveries",
    metadata,
    sa.Column("message_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("channel", Text, primary_key=True),
    sa.Column("state", Text, nullable=False, comment="waiting, delivered or given_up"),
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("next_attempt_ms", sa.BigInteger, nullable=False, default=0),
    sa.Column("settled_ms", sa.BigInteger, comment="When it was delivered or given up"),
    sa.Column("error", Text, nullable=False, default="", comment="Of the last attempt"),
    sa.Index("alert_deliveries_by_state", "channel", "state"),
)

#: Times in which nothing new is told, as people asked for them.
alert_silences = sa.Table(
    "alert_silences",
    metadata,
    sa.Column("silence_id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("concern", Text, nullable=False),
    sa.Column("key", Text, nullable=False),
    sa.Column("reason", Text, nullable=False),
    sa.Column("silenced_by", Text, nullable=False),
    sa.Column("from_ms", sa.BigInteger, nullable=False),
    sa.Column("until_ms", sa.BigInteger, nullable=False),
)

#: When each concern looked last.
alert_looks = sa.Table(
    "alert_looks",
    metadata,
    sa.Column("concern", Text, primary_key=True),
    sa.Column("looked_ms", sa.BigInteger, comment="Written every half minute; null: not yet"),
    sa.Column("awaited_ms", sa.BigInteger, nullable=False, comment="Since when its next look is awaited"),
)

_KEPT = Kept("The alert database", "alerts.url", AlertError, metadata)


def open_alert_database(settings: Settings) -> Engine:
    """The database of the settings, created with its tables where missing; whoever opens it disposes of it.

    Raises ConfigError or AlertError, in a sentence; later every error of the database is an AlertError.
    """
    if settings.alerts.url:
        return open_postgres(settings.alerts.url, _KEPT)
    return open_sqlite(settings.data_dir / "alerts.sqlite", _KEPT)
