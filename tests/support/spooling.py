"""A broker that a test takes away and brings back, and spools in front of it."""

import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from support.stack import await_that
from wakeline.clock import system_clock
from wakeline.errors import EventRefusedError, StreamError, StreamFullError
from wakeline.streams.embedded import EmbeddedStream
from wakeline.streams.spool import SpooledStream

Event = tuple[str, bytes]
PLENTY = 1 << 40
LARGEST = 100


class Broker(EmbeddedStream):
    """A stream that is away while the file `down` is there, in whatever process, and refuses what is too large."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "broker.sqlite", "events", 1, system_clock)
        self.down = folder / "down"
        self.error: Callable[[], StreamError] = lambda: StreamFullError("The broker is away.", 1)
        self.largest = LARGEST
        self.calls = 0
        self.entered = threading.Event()
        self.released = threading.Event()
        self.released.set()

    def append(self, events: Sequence[Event]) -> None:
        self.calls += 1
        self.entered.set()
        self.released.wait()
        if self.down.exists():
            raise self.error()
        if any(len(value) > self.largest for _, value in events):
            raise EventRefusedError("An event is too large for the broker.")
        super().append(events)

    def events(self) -> list[Event]:
        return [(record.key, record.value) for record in self.read({0: 0}, sys.maxsize, PLENTY)]


class Place:
    """A folder with a broker, and the spools that a test opens in front of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "spool-8200.sqlite"
        self.largest = LARGEST
        self.broker = Broker(folder)
        self._opened: list[SpooledStream] = []
        self._connected = [self.broker]

    def open(self, max_bytes: int = PLENTY, path: Path | None = None) -> SpooledStream:
        """A spool in front of the broker, which is `self.broker` from then on."""
        stream = SpooledStream("events", self.connect, path or self.path, max_bytes, system_clock)
        self._opened.append(stream)
        return stream

    def connect(self) -> Broker:
        self.broker = Broker(self.folder)
        self.broker.largest = self.largest
        self._connected.append(self.broker)
        return self.broker

    def close(self, stream: SpooledStream) -> None:
        self._opened.remove(stream)
        stream.close()

    def close_all(self) -> None:
        for broker in self._connected:
            broker.released.set()
        for stream in self._opened:
            stream.close()
        self._connected[0].close()

    def events(self) -> list[Event]:
        """Everything that the broker has."""
        return self._connected[0].events()

    def go_down(self) -> None:
        self.broker.down.touch()

    def come_back(self) -> None:
        self.broker.down.unlink()

    def await_drained(self, stream: SpooledStream) -> None:
        await_that("the spool is empty", lambda: not stream.spooled(), 20)


def numbered(first: int, end: int, key: str = "ann") -> list[Event]:
    """Events of one key that tell where in their order they are."""
    return [(key, b"%d" % number) for number in range(first, end)]
