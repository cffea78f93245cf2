"""How long to wait before trying again."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from random import SystemRandom

_FIRST_SECONDS = 0.1
_MOST_SECONDS = 2.0
_MOST_DOUBLINGS = 10


@dataclass(frozen=True, slots=True)
class Waiting:
    """What passes the time and draws lots, so that tests need neither."""

    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    #: From 0 up to 1.
    draw: Callable[[], float] = SystemRandom().random

    def backoff(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row: longer each time, and anything up to that.

        Full jitter spreads the callers that were refused together
        (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).
        """
        return self.draw() * min(_MOST_SECONDS, _FIRST_SECONDS * 2.0 ** min(failures, _MOST_DOUBLINGS))
