"""How fast a provider may be asked: one request after the other, evenly spaced.

A token bucket that holds one token: providers count by the second, and a bucket with room for a burst would let
twice the rate into one of their seconds. Turns are given away in advance, so that nobody waits for one that another
has taken in the meantime; libraries such as pyrate-limiter have the caller ask again.
"""

from dataclasses import dataclass
from threading import Lock


@dataclass(frozen=True, slots=True)
class Turn:
    """Granted: go ahead after so many seconds. Refused: no turn was taken, come back after so many."""

    granted: bool
    seconds: float


class RateLimit:
    """At most `per_second` turns in any second; safe to use from several threads. Times are seconds of one clock."""

    def __init__(self, per_second: float) -> None:
        self._interval = 1 / per_second
        self._free_at = float("-inf")
        self._put_off_to = float("-inf")
        self._lock = Lock()

    def take(self, now: float, most_seconds: float) -> Turn:
        """The next turn, unless it is more than `most_seconds` away.

        Who is refused is told a moment that nobody else was told: all at once they would only be refused again.
        """
        with self._lock:
            turn_at = max(self._free_at, now)
            if turn_at - now <= max(most_seconds, 0.0):
                self._free_at = turn_at + self._interval
                return Turn(True, turn_at - now)
            put_off_to = max(self._put_off_to, turn_at)
            self._put_off_to = put_off_to + self._interval
            return Turn(False, put_off_to - now)
