"""The resident run: an ordinary, bounded Dagster run that loops micro-batches."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from orchestration.configuration import live_models, settings
from orchestration.mirroring import mirroring
from orchestration.reports import deployed_views, materializations
from wakeline.clock import system_clock
from wakeline.metrics.lanes import EspMetrics, LaneMetrics, counting
from wakeline.pipeline.factory import open_micro_batches
from wakeline.pipeline.heartbeat import heartbeat
from wakeline.pipeline.lanes import FIRST_LANE
from wakeline.pipeline.microbatch import MicroBatches
from wakeline.pipeline.reporting import ReportBuffer, to_all
from wakeline.pipeline.resident import Resident
from wakeline.pipeline.retention import retain
from wakeline.pipeline.stopping import stop_requests

LANE_TAG = "wakeline/lane"
#: Models that a batch changes by its insert: they are materialized when it is.
STREAMED_MODELS = (
    "landing_message_ids",
    "events",
    "person_states",
    "category_states",
    "product_states",
    "session_states",
    "email_states",
    "consent_states",
    "order_states",
    "identity_states",
    "wakeups",
    "delivery_reports",
)


@dg.op(description="Ingests, evaluates and activates micro-batches of one lane until a successor takes over.")
def process_lane(context: dg.OpExecutionContext) -> None:
    parent, lane = os.getppid(), context.run.tags.get(LANE_TAG, FIRST_LANE)
    lease_ms = round(settings().lane.lease_seconds * 1000)
    with (
        stop_requests() as stop_requested,
        counting(settings().lane_metrics_dir),
        open_micro_batches(settings(), system_clock, EspMetrics().answered) as batches,
    ):
        buffer, metrics = ReportBuffer(), LaneMetrics(lane, system_clock)
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
            report=to_all(buffer.add, metrics.add),
            warn=to_all(context.log.warning, metrics.fault),
            keep_alive=lambda lease: heartbeat(batches.lanes, lease, system_clock, lease_ms),
        )
        with _reporting(context, buffer, batches, lane):
            context.log.info("Waiting for lane %s", lane)
            context.log.info("Lane %s: %s", lane, resident.run())


@contextmanager
def _reporting(
    context: dg.OpExecutionContext, buffer: ReportBuffer, batches: MicroBatches, lane: str
) -> Iterator[None]:
    """Reports from a thread of its own: an event costs Dagster up to 250 ms, which no batch should wait for."""
    done = threading.Event()

    def report() -> None:
        for event in materializations(buffer.drain(), STREAMED_MODELS):
            context.log_event(event)

    def loop() -> None:
        for event in deployed_views(live_models()):
            context.log_event(event)
        with mirroring(context) as copy_sends:
            while not done.wait(settings().lane.report_seconds):
                report()
                retain(batches, settings().stream.retention_hours)
                if lane == FIRST_LANE:  # All lanes share the ledger.
                    copy_sends()

    thread = threading.Thread(target=loop, name="reporting")
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        report()


@dg.job(
    executor_def=dg.in_process_executor,
    description="Keeps one lane of the event stream processed; started and replaced by the lane sensor, which tags it"
    " with the lane.",
    tags={"dagster/priority": "10"},
)
def resident_lane() -> None:
    process_lane()
