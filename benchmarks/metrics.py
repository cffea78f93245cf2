"""What counting costs a micro-batch: `PYTHONPATH=. python benchmarks/metrics.py`."""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from support.messages import rows, track

from wakeline.activation.claims import Claim, Decided
from wakeline.activation.esp.protocol import Accepted
from wakeline.activation.mailer import Answer
from wakeline.clock import system_clock
from wakeline.metrics.lanes import EspMetrics, LaneMetrics, counting
from wakeline.pipeline.microbatch import BatchResult
from wakeline.pipeline.stages import CLAIM, COMMIT, EVALUATE, INGEST, READ, SEND, Stopwatch

_ROUNDS = 300
_STAGES = (READ, INGEST, EVALUATE, CLAIM, SEND, COMMIT)
_CLAIM = Claim("0" * 32, "welcome", "user:ann", {}, {}, "", 1, 0)


def batch(events: int, mails: int) -> BatchResult:
    """A batch of so many events of which so many cause a mail."""
    return BatchResult(
        {0: (0, events)},
        rows(*(track("Product Viewed", f"m{number}", user="ann") for number in range(events))),
        [Decided("welcome", _CLAIM, "claimed", "")] * mails,
        [Answer(_CLAIM, Accepted("id", "outbox"), 0)] * mails,
        latency_ms=100,
        stage_seconds=dict.fromkeys(_STAGES, 0.01),
    )


def milliseconds(work: Callable[[], None]) -> float:
    """The quickest of some rounds: what others do on the machine is no cost of ours."""
    times = []
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times) * 1_000


def counted(metrics: LaneMetrics, esp: EspMetrics, one: BatchResult) -> Callable[[], None]:
    """Everything that a batch counts."""
    stopwatch = Stopwatch()

    def count() -> None:
        for name in _STAGES:
            with stopwatch.stage(name):
                pass
        stopwatch.lap()
        metrics.add(one)
        for answer in one.answers:
            esp.answered("outbox", answer.outcome, 0.01)

    return count


def main() -> None:
    """Print a line for each size of a batch."""
    with tempfile.TemporaryDirectory() as folder, counting(Path(folder)):
        metrics, esp = LaneMetrics("0", system_clock), EspMetrics()
        for events, mails in ((1, 0), (1, 1), (100, 5), (1_000, 50), (5_000, 200)):
            cost = milliseconds(counted(metrics, esp, batch(events, mails)))
            print(f"{events:>5} events, {mails:>3} mails: {cost:.3f} ms")


if __name__ == "__main__":
    main()
