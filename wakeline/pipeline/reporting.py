"""Adds up what micro-batches did between two reports to Dagster."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from typing import TypeVar

from wakeline.activation.esp.protocol import Accepted, MissingVariable, Rejected, TryLater
from wakeline.activation.ledger.states import FAILED, MISSING_VARIABLE, RETRY, SENT, SKIPPED, UNKNOWN
from wakeline.clock import Clock
from wakeline.pipeline.microbatch import BatchResult, is_of_customer
from wakeline.settings import HEARTBEAT_SOURCE

Told = TypeVar("Told")

#: Latencies kept between two reports; beyond it the percentiles are those of the first.
_MAX_LATENCIES = 10_000


@dataclass
class Report:
    """Totals of the micro-batches of some time."""

    began_ms: int = 0
    ended_ms: int = 0
    batches: int = 0
    #: Of all events, heartbeats included.
    statuses: Counter[str] = field(default_factory=Counter)
    heartbeats: int = 0
    accepted_of_customers: int = 0
    offsets: dict[int, int] = field(default_factory=dict)
    max_occurred_at_ms: int = 0
    latencies_ms: list[int] = field(default_factory=list)
    #: (campaign, state, reason) -> decisions of the gates and answers of the ESP; a reason only of skips.
    sends: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    #: Sends that were copied for analytics.
    copied: int = 0

    @property
    def rows(self) -> int:
        return self.statuses.total()

    @property
    def events_per_second(self) -> float:
        """Rows over the time that the report is about; 0 when that is none."""
        seconds = (self.ended_ms - self.began_ms) / 1000
        return round(self.rows / seconds, 3) if seconds > 0 else 0.0

    def add(self, result: BatchResult) -> None:
        """Count one micro-batch in."""
        self.batches += 1
        self.statuses.update(row.status for row in result.rows)
        self.heartbeats += sum(row.source == HEARTBEAT_SOURCE for row in result.rows)
        self.accepted_of_customers += sum(map(is_of_customer, result.rows))
        self.offsets.update({partition: end for partition, (_, end) in result.ranges.items()})
        accepted = (row.occurred_at_ms for row in result.rows if row.status == "accepted")
        self.max_occurred_at_ms = max(self.max_occurred_at_ms, *accepted, 0)
        if result.latency_ms is not None and len(self.latencies_ms) < _MAX_LATENCIES:
            self.latencies_ms.append(result.latency_ms)
        for one in result.decided:
            self.sends[one.campaign, one.state, one.reason if one.state == SKIPPED else ""] += 1
        for answer in result.answers:
            self.sends[answer.claim.campaign, *outcome_state(answer.outcome)] += 1

    @property
    def campaigns(self) -> list[str]:
        """Those that something was decided on."""
        return sorted({campaign for campaign, _, _ in self.sends})


class ReportBuffer:
    """Filled by the lane's loop, emptied by the reporting thread."""

    def __init__(self, clock: Clock, pause_seconds: float = 0.0) -> None:
        self._clock = clock
        self._pause_ms = round(pause_seconds * 1000)
        self._next_ms = 0
        self._lock = Lock()
        self._report = Report(began_ms=clock())

    def add(self, result: BatchResult) -> None:
        with self._lock:
            self._report.add(result)

    def add_copied(self, sends: int) -> None:
        with self._lock:
            self._report.copied += sends

    def drain(self) -> Report:
        """What has come together since the last call."""
        now_ms = self._clock()
        with self._lock:
            report, self._report = self._report, Report(began_ms=now_ms)
        report.ended_ms = now_ms
        return report

    def drain_due(self) -> Report:
        """The same when the last report that told anything is a pause ago; an empty one before that."""
        if self._clock() < self._next_ms:
            return Report()
        report = self.drain()
        if report.rows or report.sends or report.copied:
            self._next_ms = report.ended_ms + self._pause_ms
        return report


def to_all(*listeners: Callable[[Told], object]) -> Callable[[Told], None]:
    """What tells all of them, in this order."""

    def tell(what: Told) -> None:
        for listener in listeners:
            listener(what)

    return tell


def outcome_state(outcome: object) -> tuple[str, str]:
    """State and reason that an answer of the ESP leads to."""
    if isinstance(outcome, Accepted):
        return SENT, ""
    if isinstance(outcome, MissingVariable):
        return SKIPPED, MISSING_VARIABLE
    if isinstance(outcome, Rejected):
        return FAILED, ""
    return (RETRY if isinstance(outcome, TryLater) else UNKNOWN), ""
