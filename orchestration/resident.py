"""The resident run: an ordinary, bounded Dagster run that loops micro-batches."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from orchestration.configuration import KIND_TAG, live_models, settings
from orchestration.mirroring import mirroring
from orchestration.reporting import Reporter
from orchestration.reports import deployed_views, story
from wakeline.clock import system_clock
from wakeline.metrics.lanes import EspMetrics, LaneMetrics, counting
from wakeline.pipeline.factory import open_micro_batches
from wakeline.pipeline.heartbeat import heartbeat
from wakeline.pipeline.lanes import FIRST_LANE
from wakeline.pipeline.microbatch import MicroBatches
from wakeline.pipeline.reporting import to_all
from wakeline.pipeline.resident import Resident
from wakeline.pipeline.retention import retain
from wakeline.pipeline.stopping import stop_requests
from wakeline.pipeline.warnings import Warnings

LANE_TAG = "wakeline/lane"
#: Pause between two looks at what is due besides the batches: reports, copies, what leaves the stream.
_UPKEEP_SECONDS = 15.0


@dg.op(description="Ingests, evaluates and activates micro-batches of one lane until a successor takes over.")
def process_lane(context: dg.OpExecutionContext) -> None:
    parent, lane = os.getppid(), context.run.tags.get(LANE_TAG, FIRST_LANE)
    lease_ms = round(settings().lane.lease_seconds * 1000)
    with (
        stop_requests() as stop_requested,
        counting(settings().lane_metrics_dir),
        open_micro_batches(settings(), system_clock, EspMetrics().answered) as batches,
    ):
        warnings, metrics = Warnings(context.log.warning, system_clock), LaneMetrics(lane, system_clock)
        read_until = lambda: batches.read_until_ms  # noqa: E731
        reporter = Reporter(settings().lane, system_clock, read_until, context.log_event, leads=lane == FIRST_LANE)
        resident = Resident(
            lane=lane,
            holder=context.run_id,
            settings=settings().lane,
            lanes=batches.lanes,
            batches=batches,
            clock=system_clock,
            sleep=time.sleep,
            # A run whose code server died can no longer be cancelled: it must not go on as an orphan.
            should_stop=lambda: stop_requested() or os.getppid() != parent,
            report=to_all(reporter.add, metrics.add),
            warn=to_all(warnings, metrics.fault),
            keep_alive=lambda lease: heartbeat(batches.lanes, lease, system_clock, lease_ms),
        )
        with _reporting(context, reporter, batches, lane):
            context.log.info("Waiting for lane %s", lane)
            ended = resident.run()
            context.log.info("Lane %s: %s", lane, ended)
        context.add_output_metadata(story(reporter.whole(), warnings, ended))


@contextmanager
def _reporting(context: dg.OpExecutionContext, reporter: Reporter, batches: MicroBatches, lane: str) -> Iterator[None]:
    """Reports from a thread of its own: an event costs Dagster up to 250 ms, which no batch should wait for."""
    done = threading.Event()

    def loop() -> None:
        for event in deployed_views(live_models()) if lane == FIRST_LANE else ():
            context.log_event(event)
        with mirroring(Warnings(context.log.warning, system_clock)) as copy_sends:
            while not done.wait(min(_UPKEEP_SECONDS, settings().lane.report_seconds)):
                retain(batches, settings().stream.retention_hours)
                if lane == FIRST_LANE:  # All lanes share the ledger.
                    reporter.add_copied(copy_sends())
                reporter.report()

    thread = threading.Thread(target=loop, name="reporting")
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        reporter.report(everything=True)


@dg.job(
    executor_def=dg.in_process_executor,
    description="Keeps one lane of the event stream processed; started and replaced by the lane sensor, which tags it"
    " with the lane.",
    tags={"dagster/priority": "10", KIND_TAG: "stream"},
)
def resident_lane() -> None:
    process_lane()
