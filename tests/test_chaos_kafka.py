"""Two lanes on a real Kafka: the broker killed, one lane's run killed, the other's standing still beyond its lease.

`WAKELINE_CHAOS_PEOPLE=4800` plays about 200,000 events; the default is a tenth of it.
"""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from support.adding_up import as_posted, assert_everything_adds_up, everything_written, in_landing
from support.kafka import KafkaBroker
from support.stack import RunningStack, await_that, is_alive, stop_process
from support.streams import open_broker

PEOPLE = int(os.environ.get("WAKELINE_CHAOS_PEOPLE", "480"))
#: An hour of shopping in two minutes.
MINUTES, SPEED = 60, 30
PATIENCE_SECONDS = 240 + PEOPLE / 4

pytestmark = [pytest.mark.stack, pytest.mark.timeout(2 * PATIENCE_SECONDS)]


@pytest.fixture(scope="module")
def broker_and_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[KafkaBroker, RunningStack]]:
    folder: Path = tmp_path_factory.mktemp("kafka")
    with pytest.MonkeyPatch.context() as patch, open_broker("kafka", folder / "broker") as broker:
        for name, value in {**broker.environment, "WAKELINE_LANE__COUNT": "2"}.items():
            patch.setenv(name, value)
        running = RunningStack(folder)
        assert isinstance(broker.process, KafkaBroker)
        try:
            running.start()
            yield broker.process, running
        finally:
            running.stop()


def test_nothing_is_lost_sent_twice_or_out_of_order_whatever_stops_in_the_middle(
    broker_and_stack: tuple[KafkaBroker, RunningStack],
) -> None:
    broker, stack = broker_and_stack
    with stack.play(seed=9100, people=PEOPLE, minutes=MINUTES, speed=SPEED) as play:
        play.await_middle()
        standing = stand_still(stack, "0")
        try:
            held = stack.lane("1")
            broker.kill()
            os.kill(stack.worker("1"), signal.SIGKILL)
            await_that("events wait in the spool", lambda: spooled_events(stack) > 0, 60)
            broker.start()
            await_that("lane 1 has a new run", lambda: stack.lane("1").fencing_token > held.fencing_token, 90)
            play.finish(PATIENCE_SECONDS)
            stack.await_settled(PATIENCE_SECONDS)
            before = everything_written(stack)
        finally:
            os.kill(standing, signal.SIGCONT)
    await_that("the woken run has ended", lambda: not is_alive(standing), 30)

    assert everything_written(stack) == before
    assert_everything_adds_up(stack)
    assert in_landing(stack) == as_posted(stack.messages)


def stand_still(stack: RunningStack, lane: str) -> int:
    """SIGSTOP in the middle of a batch, until another run has taken the lane; the process that stands."""
    held, pid = stack.lane(lane), stack.worker(lane)
    with stack.between_ingest_and_commit():
        stop_process(pid)
    await_that("a successor has the lane", lambda: stack.lane(lane).fencing_token > held.fencing_token, 90)
    return pid


def spooled_events(stack: RunningStack) -> int:
    collector = stack.settings.collector
    health = httpx.get(f"http://{collector.host}:{collector.port}/healthz").json()
    return int(health.get("spooled_events", 0))
