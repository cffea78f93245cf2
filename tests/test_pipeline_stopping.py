import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from wakeline.pipeline.stopping import stop_requests


def test_a_stop_is_a_request_and_interrupts_nothing() -> None:
    handler = signal.getsignal(signal.SIGTERM)
    with stop_requests() as stop_requested:
        assert not stop_requested()
        signal.raise_signal(signal.SIGTERM)
        assert stop_requested()
    assert signal.getsignal(signal.SIGTERM) is handler


def test_a_cancellation_reaches_whoever_had_the_signal_before_but_only_at_the_end() -> None:
    seen = []

    def cancelled() -> None:
        with stop_requests() as stop_requested:
            signal.raise_signal(signal.SIGINT)
            seen.append(stop_requested())

    with pytest.raises(KeyboardInterrupt):
        cancelled()
    assert seen == [True]


def test_an_error_is_not_replaced_by_the_cancellation() -> None:
    def failing() -> None:
        with stop_requests():
            signal.raise_signal(signal.SIGINT)
            raise RuntimeError("what really happened")

    with pytest.raises(RuntimeError, match="what really happened"):
        failing()


def test_a_thread_gets_no_requests_and_leaves_the_signals_alone() -> None:
    def in_a_thread() -> bool:
        with stop_requests() as stop_requested:
            return stop_requested()

    handler = signal.getsignal(signal.SIGTERM)
    with ThreadPoolExecutor(1) as pool:
        assert not pool.submit(in_a_thread).result()
    assert signal.getsignal(signal.SIGTERM) is handler
