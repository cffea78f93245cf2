"""The tables of the ledger database: leases, offsets, consent, suppressions and sends, so one transaction covers them.

The same on SQLite and on Postgres; `wakeline/engines.py` opens them.
"""

from typing import Any

import sqlalchemy as sa

metadata = sa.MetaData()


class Text(sa.TypeDecorator[str]):
    """Text of people and their browsers, compared byte by byte; Postgres takes no NUL, so it is written another way."""

    impl = sa.Text
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        """Databases of Postgres sort by the rules of a language unless they are told not to."""
        return sa.Text(collation="C") if dialect.name == "postgresql" else sa.Text()

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        """NUL becomes an escape, and the escape's own character another."""
        if value is None or dialect.name != "postgresql":
            return value
        return value.replace(_ESCAPE, f"{_ESCAPE}1").replace("\0", f"{_ESCAPE}0")

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> str | None:
        """What was bound."""
        if value is None or dialect.name != "postgresql":
            return value
        return value.replace(f"{_ESCAPE}0", "\0").replace(f"{_ESCAPE}1", _ESCAPE)


#: Of the private use area: it means nothing to anybody, so next to nobody writes it.
_ESCAPE = "\ue000"

#: One row per lane: who may process it, and how far it is.
lanes = sa.Table(
    "lanes",
    metadata,
    sa.Column("lane", Text, primary_key=True),
    sa.Column("holder", Text, nullable=False, default="", comment="Dagster run id of the holder, '' when free"),
    sa.Column("fencing_token", sa.BigInteger, nullable=False, default=0, comment="Counts the holders so far"),
    sa.Column("held_since_ms", sa.BigInteger, nullable=False, default=0),
    sa.Column("expires_at_ms", sa.BigInteger, nullable=False, default=0),
    sa.Column("successor", Text, nullable=False, default="", comment="Run id of the run waiting to take over"),
    sa.Column("successor_seen_ms", sa.BigInteger, nullable=False, default=0),
    sa.Column("intent", sa.JSON, comment="Offset ranges of the batch in work; redone exactly after a crash"),
    sa.Column("intent_stream", Text, nullable=False, server_default="", comment="The stream of these offsets"),
    sa.Column(
        "evaluated_until_ms",
        sa.BigInteger,
        nullable=False,
        default=0,
        comment="Wake-ups due by then are done",
    ),
    sa.Column("lane_count", sa.Integer, nullable=False, server_default="1", comment="How many lanes there were then"),
    sa.Column(
        "read_until_ms",
        sa.BigInteger,
        nullable=False,
        server_default="0",
        comment="Whatever was appended to the lane's partitions until then has been read",
    ),
    sa.Column("read_at_ms", sa.BigInteger, nullable=False, server_default="0", comment="When the stream was last read"),
)

#: Lanes that somebody holds: no run of theirs processes anything until they are let go on.
lane_pauses = sa.Table(
    "lane_pauses",
    metadata,
    sa.Column("lane", Text, primary_key=True),
    sa.Column("paused_by", Text, nullable=False),
    sa.Column("reason", Text, nullable=False),
    sa.Column("paused_at_ms", sa.BigInteger, nullable=False),
    sa.Column("after_ms", sa.BigInteger, nullable=False, comment="Of a drain: what is first was appended until then"),
)

#: The stream that offsets belong to: another identity under the same name is another stream.
streams = sa.Table(
    "streams",
    metadata,
    sa.Column("stream", Text, primary_key=True),
    sa.Column("identity", Text, nullable=False),
)

#: The offset at which each partition was first read.
partition_starts = sa.Table(
    "partition_starts",
    metadata,
    sa.Column("stream", Text, primary_key=True),
    sa.Column("partition", sa.Integer, primary_key=True),
    sa.Column("first", sa.BigInteger, nullable=False),
)

#: Parts of archived hours whose insert into landing was begun, and may have to be done again.
restores = sa.Table(
    "restores",
    metadata,
    sa.Column("token", Text, primary_key=True),
    sa.Column("file", Text, nullable=False),
    sa.Column("stream", Text, nullable=False),
    sa.Column("ranges", sa.JSON, nullable=False),
    sa.Column("inserts_before", sa.Integer, nullable=False),
)

#: Committed offsets: the first offset of each partition that is not yet processed.
offsets = sa.Table(
    "offsets",
    metadata,
    sa.Column("stream", Text, primary_key=True),
    sa.Column("partition", sa.Integer, primary_key=True),
    sa.Column("committed", sa.BigInteger, nullable=False),
)


def _consent_table(name: str) -> sa.Table:
    return sa.Table(
        name,
        metadata,
        sa.Column("subject", Text, primary_key=True, comment="An id ('user:7') or an address ('email:a@example.com')"),
        sa.Column("purpose", Text, primary_key=True),
        sa.Column("granted", sa.Boolean, nullable=False),
        sa.Column("occurred_at_ms", sa.BigInteger, nullable=False),
        sa.Column("message_id", Text, nullable=False, comment="The event that said so"),
    )


#: The latest statement of a person (or an address) on a purpose: an opt-out, or a change of preferences.
consents = _consent_table("consents")

#: The latest consent that was said to be in force when an event happened; a device may repeat an old one for ever.
consent_stamps = _consent_table("consent_stamps")

#: Addresses that cannot or must not be mailed at all: hard bounces and complaints.
suppressions = sa.Table(
    "suppressions",
    metadata,
    sa.Column("address", Text, primary_key=True),
    sa.Column("reason", Text, nullable=False),
    sa.Column("occurred_at_ms", sa.BigInteger, nullable=False),
    sa.Column("message_id", Text, nullable=False),
)

#: The addresses of other systems' records, e.g. of a CRM's contacts, which say no under an id of their own.
record_addresses = sa.Table(
    "record_addresses",
    metadata,
    sa.Column("subject", Text, primary_key=True, comment="The record's id ('anonymous:hubspot-7')"),
    sa.Column("address", Text, primary_key=True),
)

#: Campaigns whose sends are held until somebody lets them go on.
campaign_pauses = sa.Table(
    "campaign_pauses",
    metadata,
    sa.Column("campaign", Text, primary_key=True),
    sa.Column("paused_by", Text, nullable=False, comment="A person, or the watch over bounces and complaints"),
    sa.Column("reason", Text, nullable=False),
    sa.Column("paused_at_ms", sa.BigInteger, nullable=False),
)

#: When each campaign was last let go on: the watch over bounces and complaints does not look at mails from before.
campaign_resumes = sa.Table(
    "campaign_resumes",
    metadata,
    sa.Column("campaign", Text, primary_key=True),
    sa.Column("resumed_by", Text, nullable=False),
    sa.Column("resumed_at_ms", sa.BigInteger, nullable=False),
)

#: What people, and jobs on their behalf, have done by hand. Nothing in it is about customers.
audit = sa.Table(
    "audit",
    metadata,
    sa.Column("entry_id", Text, primary_key=True),
    sa.Column("operation", Text, nullable=False, comment="The job or command"),
    sa.Column("done_by", Text, nullable=False),
    sa.Column("run_id", Text, nullable=False, comment="Dagster run, '' for the command line"),
    sa.Column("config", sa.JSON, nullable=False),
    sa.Column("state", Text, nullable=False, comment="started, done or failed"),
    sa.Column("result", sa.JSON, nullable=False),
    sa.Column("error", Text, nullable=False),
    sa.Column("began_at_ms", sa.BigInteger, nullable=False),
    sa.Column("ended_at_ms", sa.BigInteger, comment="null: still at it, or cut off"),
    sa.Index("audit_by_time", "began_at_ms"),
)

#: Occurrences that somebody wants decided, in parts; a lane takes each between two batches.
replay_requests = sa.Table(
    "replay_requests",
    metadata,
    sa.Column("request_id", Text, primary_key=True),
    sa.Column("lane", Text, nullable=False),
    sa.Column("position", Text, nullable=False, comment="Parts are taken in this order"),
    sa.Column("run_id", Text, nullable=False, comment="The run that asked for it"),
    sa.Column("campaign", Text, nullable=False),
    sa.Column("occurrences", sa.JSON, nullable=False),
    sa.Column("failed", sa.JSON, nullable=False, comment="[profile id, key] of sends to be reopened"),
)

#: What was reported on sends that are not decided on yet, while a restored ledger does not know what the lost one sent.
early_reports = sa.Table(
    "early_reports",
    metadata,
    sa.Column("key", Text, primary_key=True, comment="Idempotency key of the send"),
    sa.Column("event", Text, nullable=False),
    sa.Column("message_id", Text, nullable=False),
    sa.Column("occurred_at_ms", sa.BigInteger, nullable=False),
)

#: One row per idempotency key: the one decision on an occurrence, and what became of it.
sends = sa.Table(
    "sends",
    metadata,
    sa.Column("idempotency_key", Text, primary_key=True, comment="Hash of campaign, profile and occurrence"),
    sa.Column("campaign", Text, nullable=False, comment="Folder name under campaigns/"),
    sa.Column("profile_id", Text, nullable=False, comment="Whom it is for"),
    sa.Column("occurrence_key", Text, nullable=False, comment="The business fact that it is about"),
    sa.Column("campaign_class", Text, nullable=False, comment="transactional or marketing"),
    sa.Column("purpose", Text, comment="Consent purpose; null for transactional campaigns"),
    sa.Column("variant", Text, nullable=False, server_default="", comment="Of an A/B test; '' without one"),
    sa.Column("priority", sa.Integer, nullable=False, server_default="0"),
    sa.Column("holdout_draws", sa.JSON, comment="Scope of a holdout -> the person's number in [0, 100)"),
    sa.Column(
        "state", Text, nullable=False, comment="claimed, sent, failed, retry, unknown, deferred, held or skipped"
    ),
    sa.Column("reason", Text, nullable=False, default="", comment="The gate's reason code, or what the ESP said"),
    sa.Column("address", Text, nullable=False, comment="Where it went"),
    sa.Column("occurred_at_ms", sa.BigInteger, nullable=False, comment="When the occurrence was"),
    sa.Column("expires_at_ms", sa.BigInteger, nullable=False, comment="From then on it is skipped"),
    sa.Column("trigger_hash", Text, nullable=False, comment="Definition of the trigger at the decision"),
    sa.Column("campaign_hash", Text, nullable=False, comment="Definition of the campaign at the decision"),
    sa.Column("message_ids", sa.JSON, nullable=False, comment="The events that made the profile a candidate"),
    sa.Column("record", sa.JSON, comment="What the gate that said no had read, or the report that settled the send"),
    sa.Column("contact", sa.JSON, nullable=False),
    sa.Column("context", sa.JSON, nullable=False),
    sa.Column("run_id", Text, nullable=False),
    sa.Column("lane", Text, nullable=False, server_default="0"),
    sa.Column("fencing_token", sa.BigInteger, nullable=False),
    sa.Column("batch", sa.JSON, nullable=False, comment="Offset ranges of the micro-batch"),
    sa.Column("attempts", sa.Integer, nullable=False, default=0, comment="How often it was claimed"),
    sa.Column("next_attempt_at_ms", sa.BigInteger, nullable=False, default=0),
    sa.Column(
        "may_be_out_since_ms",
        sa.BigInteger,
        comment="The claim whose answer is lost; null: it is not out",
    ),
    sa.Column("esp", Text, nullable=False, server_default="", comment="The provider that accepted it"),
    sa.Column("provider_id", Text, nullable=False, default=""),
    sa.Column("received_at_ms", sa.BigInteger, comment="Of the latest of the events; null when a wake-up fired"),
    sa.Column("appended_at_ms", sa.BigInteger),
    sa.Column("read_at_ms", sa.BigInteger),
    sa.Column("ingested_at_ms", sa.BigInteger),
    sa.Column("evaluated_at_ms", sa.BigInteger, nullable=False),
    sa.Column("claimed_at_ms", sa.BigInteger, nullable=False, comment="When it was decided or claimed, skips too"),
    sa.Column("esp_accepted_at_ms", sa.BigInteger, comment="When the ESP took it"),
    sa.Column("changed_at_ms", sa.BigInteger, nullable=False, server_default="0", comment="The last change of the row"),
    sa.Index("sends_by_profile", "profile_id", "claimed_at_ms"),
    sa.Index("sends_by_state", "state", "next_attempt_at_ms"),
    sa.Index("sends_by_change", "changed_at_ms"),
)
