"""Handing batches to the collector: which one, with which key, for how long."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from wakeline.clock import system_clock
from wakeline.errors import WakelineError
from wakeline.play.batching import Batch
from wakeline.play.collector_client import CollectorClient
from wakeline.play.delivery import Answer, Courier, Post
from wakeline.play.pacing import Pacer
from wakeline.settings import CollectorSettings
from wakeline.shipping.refusals import RefusedBatchError

# Answers that can be about what a batch says: the collector's 400 and 413, and those of filters before it.
# 401, 404, 415 and the rest are about the key, the address or the way of sending.
_ABOUT_THE_BATCH = frozenset({400, 403, 406, 413, 422})

#: Told one sentence that somebody should see.
Warn = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Target:
    """A collector's address and write key."""

    url: str
    write_key: str


def target(settings: CollectorSettings, url: str | None, write_key: str | None) -> Target:
    """The collector of the settings unless an option names another address or key."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return Target(url or f"http://{host}:{settings.port}", write_key or settings.write_key)


def system_pacer(stopped: Callable[[], bool]) -> Pacer:
    """Waits in real time."""
    return Pacer(system_clock, time.sleep, stopped, lambda: None)


@contextmanager
def carrier(to: Target, pacer: Pacer, give_up_after_seconds: float, warn: Warn) -> Iterator["Carrier"]:
    """A carrier over one kept connection, which says when it has to try again and when that has helped."""
    with CollectorClient(to.url, to.write_key, pacer.clock) as client:
        yield Carrier(announced(client.post, warn), pacer, give_up_after_seconds)


class Carrier:
    """Delivers batches, and finds out whether a refusal is about the batch or about the whole set-up."""

    def __init__(self, post: Post, pacer: Pacer, give_up_after_seconds: float) -> None:
        rng = random.Random()  # noqa: S311 - spreads retries, protects nothing
        self._post = post
        self._courier = Courier(self._remembered, pacer, rng, give_up_after_seconds)
        self._last = Answer(0, "nothing was posted")

    def deliver(self, batch: Batch) -> bool:
        """True when the collector has the batch; False if somebody wanted an end before.

        Raises RefusedBatchError if the collector refuses this one only; WakelineError if it refuses everything, or
        has not taken it for too long.
        """
        try:
            return self._courier.deliver(batch)
        except WakelineError as error:
            answer = self._last
            if answer.status not in _ABOUT_THE_BATCH:
                raise
            # A wrong port may be answered 400 too, and then no line is to blame: the collector takes an empty batch.
            if not self._courier.deliver(Batch()):
                return False
            raise RefusedBatchError(answer.reason) from error

    def _remembered(self, body: bytes) -> Answer:
        self._last = self._post(body)
        return self._last


def announced(post: Post, warn: Warn) -> Post:
    """The same as `post`; tells the first of several failures that may pass, and their end."""
    is_failing = False

    def attempt(body: bytes) -> Answer:
        nonlocal is_failing
        answer = post(body)
        if answer.is_passing and not is_failing:
            warn(f"the collector does not take events ({answer.reason}); trying again.")
        if answer.is_accepted and is_failing:
            warn("the collector takes events again.")
        is_failing = answer.is_passing
        return answer

    return attempt
