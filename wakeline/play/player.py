"""Plays messages as if they happened now: the original gaps, divided by a speed, starting at this moment."""

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import orjson

from wakeline.clock import Clock, to_iso
from wakeline.play.batching import Batch
from wakeline.play.delivery import Courier, Post
from wakeline.play.message import TimedMessage
from wakeline.play.pacing import Pacer


@dataclass(slots=True)
class Standing:
    """How far playing has got; `at_ms` is the original time of the message read last."""

    posted: int = 0
    batches: int = 0
    at_ms: int = 0
    late_ms_max: int = 0

    def count(self, batch: Batch, now_ms: int) -> None:
        """Add a batch that the collector has now."""
        self.posted += len(batch)
        self.batches += 1
        self.late_ms_max = max(self.late_ms_max, now_ms - batch.earliest_due_ms)


@dataclass(frozen=True, slots=True)
class PlayResult:
    """What was posted; `late_seconds_max` is the most that a message arrived after its moment.

    `stopped` tells an end that somebody asked for from the end of the messages.
    """

    posted: int
    batches: int
    retries: int
    seconds: float
    late_seconds_max: float
    stopped: bool


def play(
    messages: Iterable[TimedMessage],
    speed: float,
    post: Post,
    clock: Clock,
    sleep: Callable[[float], None],
    rng: random.Random,
    *,
    give_up_after_seconds: float = 120.0,
    report: Callable[[Standing], None] = lambda standing: None,
    stopped: Callable[[], bool] = lambda: False,
) -> PlayResult:
    """Post messages, which come in time order, at their moments or as soon after as the collector takes them.

    `speed` 60 plays an hour in a minute. `report` is called after every batch and several times a second while
    waiting. Raises WakelineError if the collector refuses a batch or has not taken it after
    `give_up_after_seconds`.
    """
    standing, started_ms = Standing(), clock()
    pacer = Pacer(clock, sleep, stopped, lambda: report(standing))
    courier = Courier(post, pacer, rng, give_up_after_seconds)
    for batch in _due_batches(messages, speed, pacer, standing):
        if not courier.deliver(batch):
            break
        standing.count(batch, clock())
        report(standing)
    return PlayResult(
        posted=standing.posted,
        batches=standing.batches,
        retries=courier.retries,
        seconds=(clock() - started_ms) / 1000,
        late_seconds_max=standing.late_ms_max / 1000,
        stopped=stopped(),
    )


def _due_batches(messages: Iterable[TimedMessage], speed: float, pacer: Pacer, standing: Standing) -> Iterator[Batch]:
    """Batches of what is due, each as full as it gets without waiting; ends when somebody wants an end."""
    batch = Batch()
    for timed, due_ms in _scheduled(messages, speed, pacer.clock):
        body = orjson.dumps({**timed.message, "timestamp": to_iso(due_ms)})
        if batch and (due_ms > pacer.clock() or not batch.has_room_for(body)):
            yield batch
            batch = Batch()
        if not pacer.wait_until(due_ms):
            return
        batch.add(body, due_ms)
        standing.at_ms = timed.at_ms
    if batch:
        yield batch


def _scheduled(messages: Iterable[TimedMessage], speed: float, clock: Clock) -> Iterator[tuple[TimedMessage, int]]:
    """Each message with the moment it is due, in milliseconds since the Unix epoch; the first is due at once."""
    started_ms = first_ms = None
    for timed in messages:
        if started_ms is None or first_ms is None:
            started_ms, first_ms = clock(), timed.at_ms
        yield timed, started_ms + round((timed.at_ms - first_ms) / speed)
