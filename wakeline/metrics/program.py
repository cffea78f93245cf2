"""`wakeline metrics`: everything that is no collector's, for Prometheus."""

from functools import cache

from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector

from wakeline.activation.ledger.protocol import Ledger
from wakeline.activation.ledger.summary import Summary
from wakeline.clock import Clock
from wakeline.engines import Database, open_for_reading
from wakeline.metrics.state import StateMetrics
from wakeline.pipeline.factory import lane_store, open_ledger
from wakeline.pipeline.lanes import LaneStore
from wakeline.settings import Settings
from wakeline.streams.factory import open_stream
from wakeline.streams.protocol import EventStream


def registry_of(settings: Settings, clock: Clock) -> CollectorRegistry:
    """What lanes have counted, and the state of stream and ledger; nothing is opened before it is first asked."""
    settings.lane_metrics_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(settings.lane_metrics_dir))  # type: ignore[no-untyped-call]
    registry.register(_state(settings, clock))
    return registry


def _state(settings: Settings, clock: Clock) -> StateMetrics:
    @cache
    def database() -> Database:
        return open_for_reading(settings)

    @cache
    def stream() -> EventStream:
        return open_stream(settings, clock)

    def lanes() -> LaneStore:
        return lane_store(settings, database())

    def ledger() -> Ledger:
        return open_ledger(database(), 0)

    def campaigns() -> list[str]:
        return [path.parent.name for path in settings.campaigns_dir.glob("*/campaign.yml")]

    # Kinesis does not count, and each look would take one of the readers' five a second.
    asked = None if settings.stream.kind == "kinesis" else stream
    return StateMetrics(lanes, ledger, lambda: Summary(database()), asked, campaigns, clock)
