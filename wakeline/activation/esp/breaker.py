"""A circuit breaker: a provider that does not work is left alone, and then asked with one mail.

https://martinfowler.com/bliki/CircuitBreaker.html
"""

from enum import StrEnum
from threading import Lock

#: How long to wait for what becomes of the probe: usually one request.
_PROBE_SECONDS = 1.0


class State(StrEnum):
    """Of a breaker, in the terms of the pattern: current flows while it is closed."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Breaker:
    """Opens after `failures` failures in a row, for `open_seconds`; safe to use from several threads.

    Times are seconds of one clock. Libraries such as pybreaker hold a lock during the call, and count exceptions only.
    """

    def __init__(self, failures: int, open_seconds: float) -> None:
        self._most_failures = failures
        self._open_seconds = open_seconds
        self._failures = 0
        self._state = State.CLOSED
        self._open_until = 0.0
        # Of each period between two changes: what began in an earlier one says nothing about now.
        self._period = 0
        self._lock = Lock()

    @property
    def state(self) -> State:
        """It stays open, when its time is over, until somebody asks."""
        return self._state

    def refused_seconds(self, now: float) -> float:
        """0 when `admit` would admit somebody, else how long to stay away."""
        with self._lock:
            return self._refused_seconds(now)

    def admit(self, now: float) -> int | None:
        """A permit for one call, which must end in `record` whatever happens; None when it is refused."""
        with self._lock:
            if self._refused_seconds(now):
                return None
            if self._state is State.OPEN:
                self._change(State.HALF_OPEN)
            return self._period

    def record(self, permit: int, succeeded: bool, now: float) -> State | None:
        """What became of a call; the state that it led to, if it changed."""
        with self._lock:
            if permit != self._period:
                return None
            self._failures = 0 if succeeded else self._failures + 1
            if succeeded:
                return self._change(State.CLOSED) if self._state is State.HALF_OPEN else None
            if self._state is State.CLOSED and self._failures < self._most_failures:
                return None
            self._open_until = now + self._open_seconds
            return self._change(State.OPEN)

    def _refused_seconds(self, now: float) -> float:
        if self._state is State.HALF_OPEN:
            return _PROBE_SECONDS
        return max(0.0, self._open_until - now) if self._state is State.OPEN else 0.0

    def _change(self, state: State) -> State:
        self._state = state
        self._period += 1
        return state
