"""Sessions of data that has none: half an hour of silence ends one, as web analytics commonly has it."""

from collections import OrderedDict

SESSION_GAP_MS = 30 * 60 * 1000


class GapSessions:
    """Hands out session ids; remembers only the visitors of the last half hour, so memory stays bounded."""

    def __init__(self) -> None:
        self._open: OrderedDict[str, tuple[int, int]] = OrderedDict()

    def touch(self, visitor: str, at_ms: int) -> tuple[str, bool]:
        """The visitor's session at this time and whether it starts now; times must not go back."""
        self._forget_before(at_ms - SESSION_GAP_MS)
        is_new = visitor not in self._open
        started_ms = at_ms if is_new else self._open.pop(visitor)[0]
        self._open[visitor] = (started_ms, at_ms)
        return f"{visitor}-{started_ms}", is_new

    def _forget_before(self, at_ms: int) -> None:
        while self._open and next(iter(self._open.values()))[1] < at_ms:
            self._open.popitem(last=False)
