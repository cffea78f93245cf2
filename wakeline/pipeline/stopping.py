"""Tells a run that it is asked to stop."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """A function that tells whether SIGTERM or SIGINT came; a SIGINT, Dagster's way to cancel, is passed on at the end.

    Dagster's own handler raises wherever the main thread happens to be. What is raised while Python collects garbage
    is lost, and the run went on until it was killed. In another thread than the main one no signal comes.
    """
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return

    def receive(number: int, _frame: FrameType | None) -> None:
        received.append(number)

    previous = {number: signal.signal(number, receive) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    if signal.SIGINT in received:
        signal.raise_signal(signal.SIGINT)
