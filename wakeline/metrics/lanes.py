"""What lanes count. A resident run lasts half an hour, so its counts are kept where the next run goes on with them.

Each process that counts has a numbered place in the folder, which is its own until it ends: the next to come finds the
counts there. So counters go on through handovers and crashes, and there are never more files than processes at a time.
"""

import fcntl
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import prometheus_client as prometheus
from prometheus_client import CollectorRegistry, Gauge, Histogram, values

from wakeline.activation.esp.protocol import Accepted, Outcome, Rejected, TryLater
from wakeline.clock import Clock
from wakeline.pipeline.microbatch import BatchResult
from wakeline.pipeline.reporting import outcome_state

#: The environment variable by which prometheus_client finds its folder.
_FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"

_STAGE_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_BATCH_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_LATENCY_SECONDS = (0.05, 0.1, 0.15, 0.25, 0.4, 0.6, 0.8, 1, 1.5, 2, 5, 10, 30, 60, 300, 1_800)
_ESP_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


@contextmanager
def counting(folder: Path) -> Iterator[None]:
    """From here on the metrics of this process are kept in the folder; for once in a process, before it makes any."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    number, lock = _take_place(folder)
    os.environ[_FOLDER_VARIABLE] = str(folder)
    before = values.ValueClass
    values.ValueClass = values.MultiProcessValue(lambda: number)  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        values.ValueClass = before
        del os.environ[_FOLDER_VARIABLE]
        os.close(lock)


def _take_place(folder: Path) -> tuple[int, int]:
    """The first place that no living process has; the kernel gives it back however the process ends."""
    for number in count():
        handle = os.open(folder / f"{number}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
        else:
            return number, handle
    raise AssertionError("numbers do not end")


class LaneMetrics:
    """The metrics of one lane, to be made within `counting`."""

    def __init__(self, lane: str, clock: Clock) -> None:
        self._lane = lane
        self._clock = clock
        registry = CollectorRegistry()  # They are read from the folder.
        self._batches = prometheus.Counter("wakeline_batches", "Micro-batches.", ("lane",), registry=registry)
        self._rows = prometheus.Counter(
            "wakeline_rows", "Events that went into landing.", ("lane", "status"), registry=registry
        )
        self._batch_seconds = Histogram(
            "wakeline_batch_duration_seconds",
            "How long a micro-batch takes, without the wait for events.",
            ("lane",),
            registry=registry,
            buckets=_BATCH_SECONDS,
        )
        self._stage_seconds = Histogram(
            "wakeline_batch_stage_duration_seconds",
            "How long each stage of a micro-batch takes; read includes the wait for events.",
            ("lane", "stage"),
            registry=registry,
            buckets=_STAGE_SECONDS,
        )
        self._latency_seconds = Histogram(
            "wakeline_event_latency_seconds",
            "From the collector to the commit, of the newest event of each micro-batch.",
            ("lane",),
            registry=registry,
            buckets=_LATENCY_SECONDS,
        )
        self._decisions = prometheus.Counter(
            "wakeline_decisions", "Decisions of the gates.", ("campaign", "state", "reason"), registry=registry
        )
        self._answers = prometheus.Counter(
            "wakeline_send_answers", "What became of claimed sends.", ("campaign", "state"), registry=registry
        )
        self._faults = prometheus.Counter(
            "wakeline_lane_faults", "Faults of warehouse and ledger that were waited out.", ("lane",), registry=registry
        )
        self._last_batch = Gauge(
            "wakeline_last_batch_timestamp_seconds",
            "When the last micro-batch with events or sends was committed.",
            ("lane",),
            registry=registry,
            multiprocess_mode="max",
        )
        self._faults.labels(lane)  # There at 0, so that the first one is seen as an increase.

    def add(self, result: BatchResult) -> None:
        """Count one micro-batch; a look that found nothing to do is none."""
        if not (result.rows or result.decided or result.answers):
            return
        self._batches.labels(self._lane).inc()
        for status, rows in Counter(row.status for row in result.rows).items():
            self._rows.labels(self._lane, status).inc(rows)
        self._count_sends(result)
        self._count_seconds(result)
        self._last_batch.labels(self._lane).set(self._clock() / 1000)

    def fault(self, _sentence: str) -> None:
        """Count a fault that the run waits out."""
        self._faults.labels(self._lane).inc()

    def _count_sends(self, result: BatchResult) -> None:
        decided = Counter((one.campaign, one.state, one.reason) for one in result.decided)
        for labels, sends in decided.items():
            self._decisions.labels(*labels).inc(sends)
        answered = Counter((one.claim.campaign, outcome_state(one.outcome)[0]) for one in result.answers)
        for names, sends in answered.items():
            self._answers.labels(*names).inc(sends)

    def _count_seconds(self, result: BatchResult) -> None:
        for stage, seconds in result.stage_seconds.items():
            self._stage_seconds.labels(self._lane, stage).observe(seconds)
        if result.stage_seconds:
            in_batch = (seconds for stage, seconds in result.stage_seconds.items() if stage != "read")
            self._batch_seconds.labels(self._lane).observe(sum(in_batch))
        if result.latency_ms is not None:
            self._latency_seconds.labels(self._lane).observe(result.latency_ms / 1000)


class EspMetrics:
    """The metrics of the providers, to be made within `counting`; safe to use from several threads."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self._requests = prometheus.Counter(
            "wakeline_esp_requests", "Requests to providers.", ("esp", "outcome"), registry=registry
        )
        self._seconds = Histogram(
            "wakeline_esp_request_duration_seconds",
            "How long a provider takes to answer.",
            ("esp",),
            registry=registry,
            buckets=_ESP_SECONDS,
        )

    def answered(self, esp: str, outcome: Outcome, seconds: float) -> None:
        """Count one request."""
        self._requests.labels(esp, _outcome_name(outcome)).inc()
        self._seconds.labels(esp).observe(seconds)


def _outcome_name(outcome: Outcome) -> str:
    match outcome:
        case Accepted():
            return "accepted"
        case Rejected():
            return "rejected"
        case TryLater():
            return "try_later"
    return "unknown"
