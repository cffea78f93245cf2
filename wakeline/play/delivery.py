"""Handing batches to the collector until it has them.

A repeated batch carries the same messageIds, so what did arrive before a lost answer is not counted twice.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

from wakeline.errors import WakelineError
from wakeline.play.batching import Batch
from wakeline.play.pacing import Pacer

_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one attempt; `status` is the HTTP status, or 0 if no answer came.

    `reason` quotes the collector or the network; `retry_after_seconds` is 0 unless it asked for a pause.
    """

    status: int
    reason: str
    retry_after_seconds: float = 0.0

    @property
    def is_accepted(self) -> bool:
        return 200 <= self.status < 300

    @property
    def is_passing(self) -> bool:
        """Whether trying again can help: too busy, broken for the moment or not reached."""
        return self.status in (0, 429) or self.status >= 500


#: Sends a body once.
Post = Callable[[bytes], Answer]


class Courier:
    """Delivers batches one after another; `retries` counts the attempts that had to be repeated."""

    def __init__(self, post: Post, pacer: Pacer, rng: random.Random, give_up_after_seconds: float) -> None:
        self.retries = 0
        self._post = post
        self._pacer = pacer
        self._rng = rng
        self._give_up_after_seconds = give_up_after_seconds

    def deliver(self, batch: Batch) -> bool:
        """True when the collector has the batch; False if somebody wanted an end before.

        Raises WakelineError if the collector refuses it or has not taken it for too long.
        """
        started_ms, failures = self._pacer.clock(), 0
        while not (answer := self._post(batch.body(self._pacer.clock()))).is_accepted:
            if not self._pacer.wait_until(self._next_attempt_ms(answer, failures, started_ms)):
                return False
            failures += 1
            self.retries += 1
        return True

    def _next_attempt_ms(self, answer: Answer, failures: int, started_ms: int) -> int:
        if not answer.is_passing:
            raise WakelineError(_refusal(answer))
        pause_seconds = max(answer.retry_after_seconds, self._back_off_seconds(failures))
        again_ms = self._pacer.clock() + round(pause_seconds * 1000)
        if again_ms - started_ms > self._give_up_after_seconds * 1000:
            raise WakelineError(_surrender(answer, self._give_up_after_seconds))
        return again_ms

    def _back_off_seconds(self, failures: int) -> float:
        longest = min(_FIRST_PAUSE_SECONDS * (1 << min(failures, 16)), _LONGEST_PAUSE_SECONDS)
        return longest * self._rng.uniform(0.5, 1)


def _refusal(answer: Answer) -> str:
    if answer.status in (401, 403):
        return f"The collector refused the write key ({answer.reason}); set collector.write_key to its key."
    return f"The collector refused a batch ({answer.reason}); nothing after it was posted."


def _surrender(answer: Answer, seconds: float) -> str:
    return (
        f"The collector did not take a batch within {seconds:g} seconds ({answer.reason}). "
        "See that it runs and try again: what it has already is not counted twice."
    )
