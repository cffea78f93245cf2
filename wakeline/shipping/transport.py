"""Handing batches to the collector: which one, with which key, for how long."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from wakeline.clock import system_clock
from wakeline.play.collector_client import CollectorClient
from wakeline.play.delivery import Answer, Courier, Post
from wakeline.play.pacing import Pacer
from wakeline.settings import CollectorSettings

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
def courier(to: Target, pacer: Pacer, give_up_after_seconds: float, warn: Warn) -> Iterator[Courier]:
    """A courier over one kept connection, which says when it has to try again and when that has helped."""
    with CollectorClient(to.url, to.write_key, pacer.clock) as client:
        rng = random.Random()  # noqa: S311 - spreads retries, protects nothing
        yield Courier(announced(client.post, warn), pacer, rng, give_up_after_seconds)


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
