"""What a resident run tells Dagster while it works, and how often."""

from collections.abc import Callable, Iterator

import dagster as dg

from orchestration.reports import figures, states
from wakeline.clock import Clock
from wakeline.pipeline.microbatch import BatchResult
from wakeline.pipeline.reporting import Report, ReportBuffer
from wakeline.settings import LaneSettings

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
    "traffic_minutes",
)


class Reporter:
    """The reports of one run: filled by the lane's loop, sent from a thread of its own.

    `read_until_ms` says until when all that was appended has been read. `leads` says whether the run's lane is the
    first: the others report observations, as a check shows as evaluated only while one run materializes its asset.
    """

    def __init__(
        self,
        settings: LaneSettings,
        clock: Clock,
        read_until_ms: Callable[[], int],
        log_event: Callable[[dg.AssetMaterialization | dg.AssetObservation], None],
        leads: bool,
    ) -> None:
        self._clock = clock
        self._read_until_ms = read_until_ms
        self._log_event = log_event
        self._leads = leads
        self._figures = ReportBuffer(clock, settings.report_seconds)
        self._states = ReportBuffer(clock, settings.states_report_seconds)
        self._whole = ReportBuffer(clock)

    def add(self, result: BatchResult) -> None:
        """Count one micro-batch in."""
        for buffer in (self._figures, self._states, self._whole):
            buffer.add(result)

    def add_copied(self, sends: int) -> None:
        """Count what was copied of the ledger."""
        self._states.add_copied(sends)

    def report(self, everything: bool = False) -> None:
        """Tell Dagster what is due, or everything."""
        for event in self._events(everything):
            self._log_event(event if self._leads else dg.AssetObservation(event.asset_key, metadata=event.metadata))

    def _events(self, everything: bool) -> Iterator[dg.AssetMaterialization]:
        lag_seconds = max(0, self._clock() - self._read_until_ms()) / 1000
        yield from figures(_drained(self._figures, everything), lag_seconds)
        yield from states(_drained(self._states, everything), STREAMED_MODELS)

    def whole(self) -> Report:
        """All that was added, at the end of the run."""
        return self._whole.drain()


def _drained(buffer: ReportBuffer, everything: bool) -> Report:
    return buffer.drain() if everything else buffer.drain_due()
