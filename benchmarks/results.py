"""The figures of a benchmark, the verdicts on them, and how they read: pure functions over plain data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

#: The promise that "sustained" is measured by; see the budgets in the design.
MAX_LAG_SECONDS = 2.0
MAX_P95_MS = 2_000.0
MEMORY_BUDGET_BYTES = 3 * 10**9
#: A generator that left later than this has not offered the rate.
MAX_LATE_P95_MS = 1_000.0

_SINGLE_EVENT_RATE = 1_000
_SMALL_BATCH_RATE = 5_000


@dataclass(frozen=True, slots=True)
class Step:
    """One rate: what was offered, what came of it, what it took. Times without a unit are milliseconds."""

    rate: float
    events_per_post: int
    seconds: float
    offered_per_second: float
    accepted_per_second: float
    refused: int
    lag_seconds: float
    unread_events: int
    drained_after_seconds: float
    #: From the first POST of the warm-up until everything was processed: what the stack can do, where it is less than
    #: the rate.
    processed_per_second: float
    #: Of stack and broker, over the same time: other work on the machine hardly changes it.
    cpu_ms_per_event: float
    latency_ms: Mapping[str, Mapping[str, float]]
    late_ms: Mapping[str, float]
    answer_ms: Mapping[str, float]
    stopped_early: bool = False
    #: State and reason of orders that no mail was sent about -> how many.
    not_sent: Mapping[str, int] = field(default_factory=dict)
    #: Process group -> CPU seconds per second and the most resident bytes.
    resources: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    #: Dagster runs, other than the resident one, that took CPU meanwhile.
    other_runs: Sequence[str] = ()

    @property
    def not_sustained(self) -> str:
        """Why the rate is not sustained; empty when it is."""
        p95 = self.latency_ms["total_from_due"].get("p95")
        reasons = {
            f"{self.refused:,} events refused": self.refused > 0,
            "stopped early": self.stopped_early,
            f"lag {self.lag_seconds:.1f} s": self.lag_seconds >= MAX_LAG_SECONDS,
            "no mail": p95 is None,
            f"{sum(self.not_sent.values())} orders not mailed": bool(self.not_sent),
            f"p95 {p95 or 0:,.0f} ms": p95 is not None and p95 >= MAX_P95_MS,
            "the generator fell behind": self.late_ms.get("p95", 0) > MAX_LATE_P95_MS,
        }
        return ", ".join(reason for reason, holds in reasons.items() if holds)


@dataclass(frozen=True, slots=True)
class Totals:
    """What went in and what came out, over the whole benchmark."""

    accepted: int
    unanswered: int
    orders_accepted: int
    orders_unanswered: int
    landed: Mapping[str, int]
    decisions: int
    orders_decided: int
    states: Mapping[str, int]
    mails: int


def events_per_post(rate: float) -> int:
    """Clients post single events; what brings many thousands a second is a server that posts batches."""
    if rate <= _SINGLE_EVENT_RATE:
        return 1
    return 50 if rate <= _SMALL_BATCH_RATE else 100


def highest_sustained(steps: Sequence[Step]) -> float | None:
    """The highest rate that was sustained, before the first that was not."""
    highest = None
    for step in sorted(steps, key=lambda step: step.rate):
        if step.not_sustained:
            break
        highest = step.rate
    return highest


def faults(totals: Totals) -> list[str]:
    """What must never happen, whatever the load: a sentence for each, none when all is well."""
    landed = sum(totals.landed.values())
    most, most_orders = totals.accepted + totals.unanswered, totals.orders_accepted + totals.orders_unanswered
    checks = {
        f"{totals.accepted - landed:,} accepted events did not land.": landed < totals.accepted,
        f"{landed - most:,} events landed that nobody posted.": landed > most,
        f"{totals.landed.get('duplicate', 0):,} events count as duplicates.": totals.landed.get("duplicate", 0) > 0,
        f"{totals.landed.get('quarantined', 0):,} events are quarantined.": totals.landed.get("quarantined", 0) > 0,
        f"{totals.orders_accepted - totals.orders_decided:,} accepted orders have no decision.": (
            totals.orders_decided < totals.orders_accepted
        ),
        f"{totals.orders_decided - most_orders:,} orders were decided on that nobody made.": (
            totals.orders_decided > most_orders
        ),
        f"{totals.decisions - totals.orders_decided:,} orders were decided on twice.": (
            totals.decisions != totals.orders_decided
        ),
        f"{totals.states.get('sent', 0):,} sends are 'sent', but there are {totals.mails:,} mails.": (
            totals.states.get("sent", 0) != totals.mails
        ),
        **{
            f"{count:,} sends are '{state}'.": count > 0
            for state, count in totals.states.items()
            if state not in ("sent", "skipped")
        },
    }
    return [sentence for sentence, holds in checks.items() if holds]
