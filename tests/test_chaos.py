"""The real stack with a process killed in the middle of the traffic: nothing is lost, nothing is sent twice."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import pytest
import sqlalchemy as sa
from support.adding_up import assert_everything_adds_up, everything_written
from support.stack import RunningStack, await_that, is_alive, is_free, stop_process

from wakeline.clock import system_clock
from wakeline.database import sends

pytestmark = [
    pytest.mark.whole_stack,
    pytest.mark.timeout(300),
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]


@dataclass(frozen=True, slots=True)
class Blow:
    """A process was struck, while a run held the lane under a fencing token, the `generation`."""

    pid: int
    at_ms: int
    run_id: str
    generation: int


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    running = RunningStack(tmp_path_factory.mktemp("chaos"))
    try:
        running.start()
        yield running
    finally:
        running.kill()  # Quicker than to stop it, which a test of its own is about.


@pytest.fixture
def say(capfd: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Tells a measurement to whoever runs the tests."""

    def on_the_terminal(text: str) -> None:
        with capfd.disabled():
            sys.stdout.write(f"\n{text}\n")

    return on_the_terminal


def test_a_killed_run_is_replaced_and_does_its_batch_again(stack: RunningStack, say: Callable[[str], None]) -> None:
    blow = play_with_a_kill(stack, seed=9001, victim=stack.worker, moment=stack.between_ingest_and_commit())

    assert stack.lane().fencing_token > blow.generation
    assert stack.run_status(blow.run_id) == "FAILURE"
    assert_sending_went_on(stack, blow)
    assert_everything_adds_up(stack)
    say(recovery(stack, "resident run", blow))


def test_a_machine_that_went_down_goes_on_where_it_was(stack: RunningStack, say: Callable[[str], None]) -> None:
    with stack.play(seed=9002) as play:
        play.await_middle()
        blow = strike(stack, 0, lambda _: stack.kill(), stack.between_ingest_and_commit())
        mails = stack.mails()

        stack.start()
        play.finish()
    stack.await_settled()

    assert stack.lane().fencing_token > blow.generation
    assert stack.mails().items() > mails.items()
    assert_sending_went_on(stack, blow)
    assert_everything_adds_up(stack)
    say(recovery(stack, "whole machine", blow))


def test_a_killed_warehouse_comes_back_with_every_batch_counted_once(
    stack: RunningStack, say: Callable[[str], None]
) -> None:
    blow = play_with_a_kill(stack, seed=9003, victim=lambda: stack.program("warehouse"))

    assert stack.program("warehouse") != blow.pid
    assert_sending_went_on(stack, blow)
    assert_everything_adds_up(stack)
    say(recovery(stack, "warehouse", blow))


def test_a_killed_code_server_comes_back_and_its_run_ends_itself_and_is_replaced(
    stack: RunningStack, say: Callable[[str], None]
) -> None:
    orphans = []

    def code_server() -> int:
        orphans.append(stack.worker())
        return stack.program("code")

    blow = play_with_a_kill(stack, seed=9004, victim=code_server, moment=stack.between_ingest_and_commit())

    assert stack.program("code") != blow.pid
    assert not any(is_alive(orphan) for orphan in orphans)
    assert stack.lane().fencing_token > blow.generation
    assert_sending_went_on(stack, blow)
    assert_everything_adds_up(stack)
    say(recovery(stack, "code server", blow))


def test_a_killed_collector_comes_back_and_what_it_had_answered_is_kept(
    stack: RunningStack, say: Callable[[str], None]
) -> None:
    blow = play_with_a_kill(stack, seed=9005, victim=lambda: stack.program("collector"))

    assert stack.program("collector") != blow.pid
    assert_sending_went_on(stack, blow)
    assert_everything_adds_up(stack)
    say(recovery(stack, "collector", blow))


def test_a_run_that_stood_still_beyond_its_lease_ends_itself_and_writes_nothing_more(
    stack: RunningStack, say: Callable[[str], None]
) -> None:
    with stack.play(seed=9006) as play:
        play.await_middle()
        # A process that stands still inside a transaction would keep SQLite's lock and so stop everybody else.
        blow = strike(stack, stack.worker(), stop_process, stack.between_ingest_and_commit())
        try:
            await_that("a successor has the lane", lambda: stack.lane().fencing_token > blow.generation, 60)
            play.finish()
            stack.await_settled()
            assert_everything_adds_up(stack)
            before = everything_written(stack)
        finally:
            os.kill(blow.pid, signal.SIGCONT)
    await_that("the woken run has ended", lambda: not is_alive(blow.pid), 30)

    assert everything_written(stack) == before
    assert_sending_went_on(stack, blow)
    say(recovery(stack, "standing run", blow))


def test_a_cancelled_run_ends_at_once_and_is_replaced(stack: RunningStack, say: Callable[[str], None]) -> None:
    cancelled = stack.lane()
    began_ms = system_clock()
    stack.cancel(cancelled.holder)
    await_that("the run is cancelled", lambda: stack.run_status(cancelled.holder) == "CANCELED", 30)
    ended_ms = system_clock()
    await_that("a successor has the lane", lambda: stack.lane().fencing_token > cancelled.fencing_token, 60)
    seconds = [(moment - began_ms) / 1000 for moment in (ended_ms, system_clock())]
    say("cancelled run: ended after {:.1f} s, replaced after {:.1f} s".format(*seconds))


def test_a_stop_leaves_no_process_and_the_next_start_goes_on_where_it_was(stack: RunningStack) -> None:
    with stack.play(seed=9007) as play:
        play.await_middle()
        stop = strike(stack, 0, lambda _: stack.stop())

        assert stack.leftovers() == {}
        assert [name for name, port in stack.ports().items() if not is_free(port)] == []
        mails = stack.mails()

        stack.start()
        play.finish()
    stack.await_settled()

    assert stack.run_status(stop.run_id) == "SUCCESS"
    assert stack.lane().fencing_token > stop.generation
    assert stack.mails().items() > mails.items()
    assert_sending_went_on(stack, stop)
    assert_everything_adds_up(stack)


def play_with_a_kill(
    stack: RunningStack,
    seed: int,
    victim: Callable[[], int],
    moment: AbstractContextManager[None] | None = None,
) -> Blow:
    """A play whose victim is killed in its middle, at a moment of choice; returns when all of it is settled."""
    with stack.play(seed) as play:
        play.await_middle()
        blow = strike(stack, victim(), lambda pid: os.kill(pid, signal.SIGKILL), moment)
        play.finish()
    stack.await_settled()
    assert not is_alive(blow.pid)
    return blow


def strike(
    stack: RunningStack, pid: int, how: Callable[[int], None], moment: AbstractContextManager[None] | None = None
) -> Blow:
    """Strike a process, at a moment of choice."""
    lane = stack.lane()
    with moment or nullcontext():
        how(pid)
        return Blow(pid, system_clock(), lane.holder, lane.fencing_token)


def assert_sending_went_on(stack: RunningStack, blow: Blow) -> None:
    """Mails were evaluated, claimed and accepted after the blow; under a newer token where there is one."""
    later = stack.ledger(
        sa.select(sends.c.fencing_token).where(sends.c.state == "sent", sends.c.evaluated_at_ms > blow.at_ms)
    )
    assert later, "No mail was sent after the blow."
    newest = stack.lane().fencing_token
    assert newest in {row["fencing_token"] for row in later}


def recovery(stack: RunningStack, victim: str, blow: Blow) -> str:
    """How long it took until a mail was accepted again."""
    accepted = sends.c.esp_accepted_at_ms
    later = stack.ledger(sa.select(accepted, sends.c.received_at_ms).where(accepted > blow.at_ms).order_by(accepted))
    first = (later[0]["esp_accepted_at_ms"] - blow.at_ms) / 1000
    fresh = next(row for row in later if (row["received_at_ms"] or 0) > blow.at_ms)
    fresh_seconds = (fresh["esp_accepted_at_ms"] - blow.at_ms) / 1000
    return f"{victim}: next mail after {first:.1f} s, for an event from after the blow {fresh_seconds:.1f} s"
