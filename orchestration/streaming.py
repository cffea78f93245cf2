"""The assets on either side of dbt: the event stream before it, campaigns and sends behind it."""

import dagster as dg

from orchestration.columns import Sources, metadata, schema, sends_columns
from orchestration.configuration import campaigns, settings
from wakeline.activation.campaigns import Campaign

EVENT_STREAM = dg.AssetKey("event_stream")
LANDING = dg.AssetKey("landing")
SENDS = dg.AssetKey("sends")
#: The copy of the ledger in ClickHouse, a dbt model.
MIRROR = dg.AssetKey(["analytics", "sends"])

#: Who looks after what dbt does not own.
TEAM = "data-engineering@example.com"


def campaign_key(name: str) -> dg.AssetKey:
    """Asset key of a campaign."""
    return dg.AssetKey(["campaigns", name])


def streaming_specs() -> list[dg.AssetSpec]:
    """Assets that the resident run reports on; nothing in Dagster materializes them."""
    return [_event_stream(), *(_campaign(one) for one in campaigns().values()), _sends()]


def _event_stream() -> dg.AssetSpec:
    kind = settings().stream.kind
    return dg.AssetSpec(
        EVENT_STREAM,
        description="Event envelopes as the collector appended them: partitioned, ordered per profile, durable.",
        group_name="stream",
        kinds={kind, "sqlite"} if kind == "embedded" else {kind},
        owners=[TEAM],
        metadata={
            "stream": settings().stream.name,
            "partitions": settings().stream.partitions,
            **metadata(
                schema(
                    ("partition", "UInt16", "Partition of the profile key"),
                    ("offset", "UInt64", "Dense position in the partition"),
                    ("appended_at", "DateTime64(3)", "When it was appended"),
                    ("key", "String", "Profile key the stream is partitioned by"),
                    ("value", "String", "Envelope: arrival header and the raw Segment message"),
                ),
                {},
            ),
        },
    )


def _campaign(campaign: Campaign) -> dg.AssetSpec:
    return dg.AssetSpec(
        campaign_key(campaign.name),
        description=campaign.description,
        deps=[dg.AssetKey(campaign.trigger), dg.AssetKey("contacts")],
        group_name="campaigns",
        kinds={"email", "liquid"},
        owners=[campaign.owner] if "@" in campaign.owner else [f"team:{campaign.owner}"],
        tags={"wakeline/class": campaign.kind},
        metadata={
            "class": campaign.kind,
            "definition_hash": campaign.definition_hash,
            **metadata(
                schema(
                    ("idempotency_key", "String", "Hash of campaign, profile and occurrence"),
                    ("profile_id", "String", "Whom it is for"),
                    ("occurrence_key", "String", "The business fact that it is about"),
                    ("decision", "String", "claimed, or the reason code of the gate that said no"),
                ),
                _campaign_sources(dg.AssetKey(campaign.trigger)),
            ),
        },
    )


def _sends() -> dg.AssetSpec:
    return dg.AssetSpec(
        SENDS,
        description="The ledger: one decision per idempotency key, claimed before the ESP is called.",
        deps=[campaign_key(name) for name in campaigns()],
        group_name="campaigns",
        kinds={"sqlite", settings().esp_kinds[0]},  # Dagster takes three at most.
        owners=[TEAM],
        metadata=metadata(schema(*sends_columns()), _sends_sources()),
    )


def _campaign_sources(trigger: dg.AssetKey) -> Sources:
    occurrence = [(trigger, "profile_id"), (trigger, "occurrence_key")]
    return {
        "idempotency_key": occurrence,
        "profile_id": occurrence[:1],
        "occurrence_key": occurrence[1:],
        "decision": [(trigger, "expires_at"), (dg.AssetKey("contacts"), "email")],
    }


def _sends_sources() -> Sources:
    """What stands in the ledger of a campaign; the rest is of the send itself."""
    same = ("idempotency_key", "profile_id", "occurrence_key")
    keys = [campaign_key(name) for name in campaigns()]
    taken = {name: [(key, name) for key in keys] for name in same}
    return {name: taken.get(name, []) for name, _, _ in sends_columns()} | {
        name: [(key, "decision") for key in keys] for name in ("state", "reason")
    }
