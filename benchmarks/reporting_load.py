"""A resident run's reports at full rate, in simulated time: the real reporting, into a real Dagster instance."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from unittest import mock

import dagster as dg

from orchestration import deliverability_checks, stream_checks
from orchestration.check_reports import report_checks
from orchestration.configuration import KIND_TAG
from orchestration.lane_checks import PAUSE_CHECK
from orchestration.reporting import Reporter
from orchestration.reports import deployed_views, story
from orchestration.resident import LANE_TAG
from orchestration.sla_checks import ASSETS as SLA_ASSETS
from orchestration.streaming import EVENT_STREAM, campaign_key
from wakeline.activation.claims import Decided
from wakeline.activation.ledger.states import CLAIMED, SKIPPED
from wakeline.pipeline.classify import LandingRow
from wakeline.pipeline.microbatch import BatchResult
from wakeline.pipeline.triggers import LiveModel, LiveModels
from wakeline.pipeline.warnings import Warnings
from wakeline.settings import LaneSettings

CAMPAIGNS = ("abandoned_cart", "category_dwell", "confirm_opt_in", "order_confirmation")
#: Of a lane of four partitions; every batch touches them all, has rows of each status and sends of each campaign.
_PARTITIONS = range(4)
_STATUSES = ("accepted", "duplicate", "quarantined")
_MS_PER_MINUTE = 60_000


class Simulation:
    """Time that moves when it is told to, in our code and in Dagster's."""

    def __init__(self, now_ms: int) -> None:
        self.now_ms = now_ms

    def clock(self) -> int:
        return self.now_ms

    @property
    def now(self) -> datetime:
        return datetime.fromtimestamp(self.now_ms / 1000, tz=UTC)

    def _datetime(self) -> datetime:
        return self.now

    def _timestamp(self) -> float:
        return self.now_ms / 1000

    @contextmanager
    def in_force(self) -> Iterator[None]:
        """Dagster stamps runs and events with it meanwhile."""
        plain = logging.getLogRecordFactory()

        def stamped(*arguments: Any, **more: Any) -> logging.LogRecord:
            record = plain(*arguments, **more)
            record.created = self.now_ms / 1000
            return record

        logging.setLogRecordFactory(stamped)
        try:
            with (
                mock.patch("dagster._time._mockable_get_current_datetime", self._datetime),
                mock.patch("dagster._time._mockable_get_current_timestamp", self._timestamp),
            ):
                yield
        finally:
            logging.setLogRecordFactory(plain)


def resident_lane(simulation: Simulation, settings: LaneSettings) -> dg.JobDefinition:
    """A run of as many simulated minutes as a real one, in which something of everything happens all the time."""

    @dg.op
    def process_lane(context: dg.OpExecutionContext) -> None:
        reporter = Reporter(settings, simulation.clock, simulation.clock, context.log_event, leads=True)
        for event in deployed_views(_models()):
            context.log_event(event)
        context.log.info("Waiting for lane 0")
        for number in range(round(settings.run_minutes * _MS_PER_MINUTE / _pause_ms(settings))):
            reporter.add(_batch(number, simulation.now_ms))
            reporter.add_copied(10)
            simulation.now_ms += _pause_ms(settings)
            reporter.report()
            report_checks(context.instance, _checks(), simulation.now_ms / 1000)
        reporter.report(everything=True)
        context.log.info("Lane 0: handed over")
        warnings = Warnings(context.log.warning, simulation.clock)
        context.add_output_metadata(story(reporter.whole(), warnings, "handed over"))

    @dg.job(name="resident_lane", executor_def=dg.in_process_executor, tags={KIND_TAG: "stream"})
    def job() -> None:
        process_lane()

    return job


def play(instance: dg.DagsterInstance, simulation: Simulation, job: dg.JobDefinition) -> str:
    """One run, from its begin to its end; its id."""
    with simulation.in_force():
        return job.execute_in_process(instance=instance, tags={LANE_TAG: "0"}).run_id


def _pause_ms(settings: LaneSettings) -> int:
    return round(min(settings.report_seconds, settings.states_report_seconds) * 1000)


def _batch(number: int, now_ms: int) -> BatchResult:
    ranges = {partition: (number * 1000, number * 1000 + 1000) for partition in _PARTITIONS}
    rows = [
        LandingRow(partition, number, now_ms, now_ms, "shop", b"", status, occurred_at_ms=now_ms)
        for partition in _PARTITIONS
        for status in _STATUSES
    ]
    decided = [
        Decided(campaign, None, state, reason)
        for campaign in CAMPAIGNS
        for state, reason in ((CLAIMED, ""), (SKIPPED, "no_consent"))
    ]
    return BatchResult(ranges, rows, decided, latency_ms=100 + number % 50)


def _checks() -> list[dg.AssetCheckEvaluation]:
    """What the sensors judge meanwhile: all is well."""
    found = {asset: [check for check, other in SLA_ASSETS.items() if other == asset] for asset in SLA_ASSETS.values()}
    found[EVENT_STREAM] = [*found[EVENT_STREAM], PAUSE_CHECK, stream_checks.CHECK]
    found |= {campaign_key(name): [deliverability_checks.CHECK] for name in CAMPAIGNS}
    figures = {"seconds": 1.5, "allowed_seconds": 30.0}
    return [
        dg.AssetCheckEvaluation(asset, check, passed=True, description="As promised: 1.5 s of 30 s.", metadata=figures)
        for asset, checks in found.items()
        for check in checks
    ]


def _models() -> LiveModels:
    named = {name: LiveModel(name, "", name) for name in ("candidates", "contacts", "looks", *CAMPAIGNS)}
    return LiveModels(named.pop("candidates"), named.pop("contacts"), named.pop("looks"), tuple(named.values()))
