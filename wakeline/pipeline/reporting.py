"""Adds up what micro-batches did between two reports to Dagster."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from typing import TypeVar

from wakeline.activation.esp.protocol import Accepted, MissingVariable, Rejected, TryLater
from wakeline.activation.ledger.states import FAILED, MISSING_VARIABLE, RETRY, SENT, SKIPPED, UNKNOWN
from wakeline.pipeline.microbatch import BatchResult

Told = TypeVar("Told")

#: Latencies kept between two reports; beyond it the percentiles are those of the latest.
_MAX_LATENCIES = 10_000


@dataclass
class Report:
    """Totals of the micro-batches since the last report."""

    batches: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    offsets: dict[int, int] = field(default_factory=dict)
    max_occurred_at_ms: int = 0
    latencies_ms: list[int] = field(default_factory=list)
    #: (campaign, state, reason) -> decisions of the gates and answers of the ESP; a reason only of skips.
    sends: Counter[tuple[str, str, str]] = field(default_factory=Counter)

    @property
    def rows(self) -> int:
        return self.statuses.total()

    def add(self, result: BatchResult) -> None:
        """Count one micro-batch in."""
        self.batches += 1
        self.statuses.update(row.status for row in result.rows)
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

    def __init__(self) -> None:
        self._lock = Lock()
        self._report = Report()

    def add(self, result: BatchResult) -> None:
        with self._lock:
            self._report.add(result)

    def drain(self) -> Report:
        """What has come together since the last call."""
        with self._lock:
            report, self._report = self._report, Report()
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
