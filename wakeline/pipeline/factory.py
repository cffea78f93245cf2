"""Puts the parts of a lane together from the settings."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from wakeline.activation.campaigns import Campaign, load_campaigns
from wakeline.activation.esp.factory import open_esp
from wakeline.activation.esp.failover import FailOver
from wakeline.activation.esp.guarded import Observe, unobserved
from wakeline.activation.ledger.dynamodb import DynamoLedger
from wakeline.activation.ledger.protocol import Ledger
from wakeline.activation.ledger.sql import SqlLedger
from wakeline.activation.ledger.summary import Summary
from wakeline.activation.mailer import Mailer
from wakeline.activation.rendering import Renderer
from wakeline.activation.rules import rules_of
from wakeline.activation.tokens import Tokens
from wakeline.clock import Clock
from wakeline.dynamodb import Table
from wakeline.engines import Database, open_database
from wakeline.errors import ConfigError
from wakeline.pipeline.lanes import LaneStore
from wakeline.pipeline.lanes_dynamodb import DynamoLaneStore
from wakeline.pipeline.lanes_sql import SqlLaneStore
from wakeline.pipeline.microbatch import MicroBatches
from wakeline.pipeline.triggers import LiveModels, load_live_models
from wakeline.replay.requests import open_requests
from wakeline.settings import Settings, load_secrets
from wakeline.sla.holds import Holds
from wakeline.sla.inputs import inputs_of
from wakeline.sla.measuring import built_at_ms
from wakeline.streams.factory import open_stream
from wakeline.warehouse.client import connect
from wakeline.warehouse.evaluation import Evaluator
from wakeline.warehouse.landing import Landing
from wakeline.warehouse.manifest import read_manifest
from wakeline.warehouse.mirror import Mirror

#: A thousand years fit into a column of the ledger.
_FOR_EVER_SECONDS = 3.2e10


@contextmanager
def open_micro_batches(settings: Settings, clock: Clock, observe: Observe = unobserved) -> Iterator[MicroBatches]:
    """Everything one lane needs, opened; closed at the end. Raises WakelineError when a part is not to be had.

    `observe` is told of every request to a provider.
    """
    live = load_live_models(settings)
    campaigns = checked_campaigns(settings, live)
    with ExitStack() as parts:
        database = open_database(settings)
        parts.callback(database.dispose)
        client = connect(settings.warehouse)
        parts.callback(client.close)
        landing = Landing(client, settings.stream.name)
        stream = open_stream(settings, clock, landing)
        parts.callback(stream.close)
        evaluator = Evaluator(lambda: connect(settings.warehouse), live)
        parts.callback(evaluator.close)
        esp = open_esp(settings, clock, observe)
        mailer = open_mailer(settings, campaigns, esp, clock)
        parts.callback(mailer.close)
        yield MicroBatches(
            settings,
            clock,
            stream,
            lane_store(settings, database),
            landing,
            evaluator,
            open_ledger(database, esp.idempotency_key_seconds),
            mailer,
            campaigns,
            {name: rules_of(campaign, settings.activation) for name, campaign in campaigns.items()},
            Holds(inputs_of(read_manifest(settings, "everyone"), campaigns), lambda: built_at_ms(client), clock),
            open_requests(database),
        )


@contextmanager
def open_mirror(settings: Settings) -> Iterator[Mirror]:
    """The copy of the ledger in ClickHouse, on connections of its own."""
    with ExitStack() as parts:
        client = connect(settings.warehouse)
        parts.callback(client.close)
        database = open_database(settings)
        parts.callback(database.dispose)
        yield Mirror(client, Summary(database))


def lane_store(settings: Settings, database: Database) -> LaneStore:
    """The lanes of the settings' stream."""
    if isinstance(database, Table):
        return DynamoLaneStore(database, settings.stream.name, settings.lane.count)
    return SqlLaneStore(database, settings.stream.name, settings.lane.count)


def checked_campaigns(settings: Settings, live: LiveModels) -> dict[str, Campaign]:
    """The campaigns, each with a trigger that exists. Raises ConfigError naming the campaign file."""
    campaigns = load_campaigns(settings.campaigns_dir)
    triggers = {trigger.name for trigger in live.triggers}
    for campaign in campaigns.values():
        if campaign.trigger not in triggers:
            raise ConfigError(
                f"campaigns/{campaign.name}/campaign.yml: trigger '{campaign.trigger}' is not a model in"
                f" dbt_project/models/triggers; known are {', '.join(sorted(triggers))}."
            )
    return campaigns


def open_ledger(database: Database, idempotency_key_seconds: float) -> Ledger:
    """The ledger of sends through ESPs that know a key again for so long."""
    key_ms = round(min(idempotency_key_seconds, _FOR_EVER_SECONDS) * 1000)
    return DynamoLedger(database, key_ms) if isinstance(database, Table) else SqlLedger(database, key_ms)


def open_mailer(settings: Settings, campaigns: dict[str, Campaign], esp: FailOver, clock: Clock) -> Mailer:
    """The providers behind a renderer for the campaigns."""
    activation = settings.activation
    tokens = Tokens(load_secrets(settings.data_dir).signing_key)
    renderer = Renderer(
        campaigns,
        activation.sender,
        activation.public_url,
        lambda token: tokens.sign(token, clock()),
        settings.link_hosts,
    )
    return Mailer(renderer, esp, activation.send_threads, clock, tokens.sign)
