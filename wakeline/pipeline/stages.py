"""How long the stages of a micro-batch take."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

READ, INGEST, EVALUATE, CLAIM, SEND, COMMIT = "read", "ingest", "evaluate", "claim", "send", "commit"


class Stopwatch:
    """Adds up the time that is spent in each stage; stages do not overlap. `monotonic` is in seconds."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """The block belongs to the stage; time in one that fails does not count."""
        began = self._monotonic()
        yield
        self._seconds[name] = self._seconds.get(name, 0.0) + self._monotonic() - began

    def lap(self) -> Mapping[str, float]:
        """What has come together since the last call."""
        seconds, self._seconds = self._seconds, {}
        return seconds
