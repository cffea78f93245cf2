"""What Prometheus is told of stream and ledger: read when it asks, so it is right also while no lane is at work."""

import logging
from collections.abc import Callable, Collection, Iterator
from functools import partial
from threading import Lock

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from wakeline.activation.ledger.protocol import Ledger
from wakeline.activation.ledger.states import WAITING
from wakeline.activation.ledger.summary import Summary
from wakeline.clock import Clock
from wakeline.errors import WakelineError
from wakeline.pipeline.lanes import LaneStore
from wakeline.streams.protocol import EventStream

#: Nothing changes after that: only what waits is counted.
_NEVER_MS = 1 << 62

_logger = logging.getLogger(__name__)


class StateMetrics(Collector):
    """Reads stream and ledger at every scrape; what does not answer is left out, and its `up` is 0.

    `campaigns` are told of also while there is nothing to tell. `stream` is None where a look takes from what the lanes
    may read. The parts are opened by the first scrape.
    """

    def __init__(
        self,
        lanes: Callable[[], LaneStore],
        ledger: Callable[[], Ledger],
        summary: Callable[[], Summary],
        stream: Callable[[], EventStream] | None,
        campaigns: Callable[[], Collection[str]],
        clock: Clock,
    ) -> None:
        self._lanes = lanes
        self._ledger = ledger
        self._summary = summary
        self._stream = stream
        self._campaigns = campaigns
        self._clock = clock
        self._one_at_a_time = Lock()

    def describe(self) -> list[Metric]:
        """Nothing is asked before Prometheus asks."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The metrics of now."""
        with self._one_at_a_time:
            yield from self._looked_at("ledger", self._of_ledger)
            if self._stream is not None:
                yield from self._looked_at("stream", partial(self._of_stream, self._stream))

    def _looked_at(self, part: str, look: Callable[[], Iterator[Metric]]) -> Iterator[Metric]:
        up = GaugeMetricFamily(f"wakeline_{part}_up", f"Whether the {part} answers.")
        try:
            found = list(look())
        except WakelineError as error:
            _logger.warning("The %s cannot be asked for its metrics: %s", part, error)
            found = []
            up.add_metric([], 0)
        else:
            up.add_metric([], 1)
        yield from (up, *found)

    def _of_ledger(self) -> Iterator[Metric]:
        yield from self._of_lanes(self._lanes())
        yield self._paused()
        summary = self._summary()
        if not summary.reads_everything:
            yield self._waiting(summary)

    def _of_lanes(self, lanes: LaneStore) -> Iterator[Metric]:
        now_ms = self._clock()
        held = GaugeMetricFamily("wakeline_lane_held", "1 while a living run holds the lane.", labels=["lane"])
        holders = CounterMetricFamily("wakeline_lane_holders", "Runs that have held the lane so far.", labels=["lane"])
        lag = GaugeMetricFamily(
            "wakeline_lane_lag_seconds",
            "How long ago that was up to which the lane has read everything; some seconds while idle.",
            labels=["lane"],
        )
        for lane, read_until_ms in lanes.read_until().items():
            state = lanes.state(lane)
            held.add_metric([lane], float(bool(state.holder) and state.expires_at_ms > now_ms))
            holders.add_metric([lane], state.fencing_token)
            if read_until_ms:
                lag.add_metric([lane], max(0, now_ms - read_until_ms) / 1000)
        return iter((held, holders, lag))

    def _paused(self) -> Metric:
        paused = GaugeMetricFamily(
            "wakeline_campaign_paused", "1 for a campaign whose mails are held, else 0.", labels=["campaign"]
        )
        pauses = self._ledger().pauses()
        for campaign in sorted({*self._campaigns(), *pauses}):
            paused.add_metric([campaign], float(campaign in pauses))
        return paused

    def _waiting(self, summary: Summary) -> Metric:
        waiting = GaugeMetricFamily(
            "wakeline_waiting_sends", "Sends that wait: deferred, held or retry.", labels=["campaign", "state"]
        )
        counts = summary.counts(_NEVER_MS)
        for campaign in sorted({*self._campaigns(), *counts}):
            for state in WAITING:
                waiting.add_metric([campaign, state], counts.get(campaign, {}).get(state, 0))
        return waiting

    def _of_stream(self, stream: Callable[[], EventStream]) -> Iterator[Metric]:
        lag = stream().lag(self._lanes().committed())
        seconds = GaugeMetricFamily("wakeline_stream_lag_seconds", "Age of the oldest event that is not processed.")
        seconds.add_metric([], lag.seconds)
        yield seconds
        if lag.events is not None:
            unread = GaugeMetricFamily("wakeline_stream_unread_events", "Events that are not processed.")
            unread.add_metric([], lag.events)
            yield unread
