"""Ctrl-C that lets the batch under way finish."""

import signal
from types import FrameType, TracebackType
from typing import Self


class StopSwitch:
    """While entered, the first Ctrl-C sets `is_pressed`; the second interrupts at once, as usual.

    Works in the main thread only, as signals do.
    """

    def __init__(self) -> None:
        self.is_pressed = False
        self._previous = signal.getsignal(signal.SIGINT)

    def __enter__(self) -> Self:
        self._previous = signal.signal(signal.SIGINT, self._press)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.signal(signal.SIGINT, self._previous)

    def _press(self, number: int, frame: FrameType | None) -> None:
        self.is_pressed = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
