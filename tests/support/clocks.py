"""Time in tests: set by hand, never asserted."""

NOW_MS = 1_800_000_000_000  # 2027-01-15 08:00:00 UTC
SECOND_MS = 1_000
MINUTE_MS = 60 * SECOND_MS
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS


class Hand:
    """A clock that is set by hand."""

    def __init__(self, now_ms: int = NOW_MS) -> None:
        self.now_ms = now_ms

    def __call__(self) -> int:
        return self.now_ms

    def sleep(self, seconds: float) -> None:
        """What a loop is given to sleep with: the time passes at once."""
        self.now_ms += round(seconds * SECOND_MS)
