"""Puts the parts of a lane together from the settings."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from sqlalchemy.engine import Engine

from wakeline.activation.campaigns import Campaign, load_campaigns
from wakeline.activation.esp.factory import open_esp
from wakeline.activation.gates import Cap
from wakeline.activation.ledger import Ledger
from wakeline.activation.mailer import Mailer
from wakeline.activation.rendering import Renderer
from wakeline.activation.tokens import Tokens
from wakeline.clock import Clock
from wakeline.database import open_database
from wakeline.errors import ConfigError
from wakeline.pipeline.lanes import LaneStore
from wakeline.pipeline.microbatch import MicroBatches
from wakeline.pipeline.triggers import LiveModels, load_live_models
from wakeline.settings import Settings, load_secrets
from wakeline.streams.factory import open_stream
from wakeline.warehouse.client import connect
from wakeline.warehouse.evaluation import Evaluator
from wakeline.warehouse.landing import Landing

_MS_PER_HOUR = 3_600_000


@contextmanager
def open_micro_batches(settings: Settings, clock: Clock) -> Iterator[MicroBatches]:
    """Everything one lane needs, opened; closed at the end. Raises WakelineError when a part is not to be had."""
    live = load_live_models(settings)
    campaigns = checked_campaigns(settings, live)
    with ExitStack() as parts:
        engine = open_database(settings.ledger_path)
        parts.callback(engine.dispose)
        client = connect(settings.warehouse)
        parts.callback(client.close)
        landing = Landing(client, settings.stream.name)
        stream = open_stream(settings, clock, landing)
        parts.callback(stream.close)
        evaluator = Evaluator(lambda: connect(settings.warehouse), live)
        parts.callback(evaluator.close)
        mailer = open_mailer(settings, campaigns, clock)
        parts.callback(mailer.close)
        yield MicroBatches(
            settings,
            clock,
            stream,
            lane_store(settings, engine),
            landing,
            evaluator,
            open_ledger(settings, engine),
            mailer,
            campaigns,
        )


def lane_store(settings: Settings, engine: Engine) -> LaneStore:
    """The lanes of the settings' stream."""
    return LaneStore(engine, settings.stream.name, settings.lane.count)


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


def open_ledger(settings: Settings, engine: Engine) -> Ledger:
    """The ledger with the marketing cap of the settings."""
    activation = settings.activation
    return Ledger(engine, Cap(activation.marketing_cap_sends, round(activation.marketing_cap_hours * _MS_PER_HOUR)))


def open_mailer(settings: Settings, campaigns: dict[str, Campaign], clock: Clock) -> Mailer:
    """The configured providers behind a renderer for the campaigns."""
    activation = settings.activation
    tokens = Tokens(load_secrets(settings.data_dir).signing_key)
    renderer = Renderer(
        campaigns,
        activation.sender,
        activation.public_url,
        lambda token: tokens.sign(token, clock()),
        settings.link_hosts,
    )
    return Mailer(renderer, open_esp(settings, clock), activation.send_threads, clock)
