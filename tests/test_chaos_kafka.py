"""Two lanes on a real Kafka: the broker killed, one lane's run killed, the other's standing still beyond its lease.

`WAKELINE_CHAOS_PEOPLE=4800` plays about 200,000 events in two minutes; the default is 10,000 in one.
"""

import os
import signal
from collections.abc import Iterator

import httpx
import pytest
from support.adding_up import as_posted, assert_everything_adds_up, everything_written, in_landing
from support.kafka import KafkaBroker
from support.stack import RunningStack, await_that, is_alive, stop_process
from support.streams import stack_on

PEOPLE = int(os.environ.get("WAKELINE_CHAOS_PEOPLE", "240"))
MINUTES = 60
PLAY_SECONDS = max(60, PEOPLE / 40)
PATIENCE_SECONDS = 240 + PEOPLE / 4

pytestmark = [pytest.mark.whole_stack, pytest.mark.timeout(2 * PATIENCE_SECONDS)]


@pytest.fixture(scope="module")
def broker_and_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[KafkaBroker, RunningStack]]:
    with stack_on("kafka", tmp_path_factory.mktemp("kafka"), lanes=2) as (broker, stack):
        assert isinstance(broker, KafkaBroker)
        yield broker, stack


def test_nothing_is_lost_sent_twice_or_out_of_order_whatever_stops_in_the_middle(
    broker_and_stack: tuple[KafkaBroker, RunningStack],
) -> None:
    broker, stack = broker_and_stack
    with stack.play(seed=9100, people=PEOPLE, minutes=MINUTES, speed=60 * MINUTES / PLAY_SECONDS) as play:
        play.await_middle()
        held = {lane: stack.lane(lane).fencing_token for lane in ("0", "1")}
        standing = stand_still(stack, "0")
        try:
            broker.kill()
            os.kill(stack.worker("1"), signal.SIGKILL)
            await_that("events wait in the spool", lambda: spooled_events(stack) > 0, 60)
            broker.start()
            await_that("both lanes have new runs", lambda: have_new_runs(stack, held), 120)
            play.finish(PATIENCE_SECONDS)
            stack.await_settled(PATIENCE_SECONDS)
            before = everything_written(stack)
        finally:
            os.kill(standing, signal.SIGCONT)
    await_that("the woken run has ended", lambda: not is_alive(standing), 30)

    assert everything_written(stack) == before
    assert_everything_adds_up(stack)
    assert in_landing(stack) == as_posted(stack.messages)


def have_new_runs(stack: RunningStack, held: dict[str, int]) -> bool:
    """Whether each lane has a newer fencing token than was held."""
    return all(stack.lane(lane).fencing_token > token for lane, token in held.items())


def stand_still(stack: RunningStack, lane: str) -> int:
    """SIGSTOP in the middle of a batch; the process that stands."""
    pid = stack.worker(lane)
    with stack.between_ingest_and_commit():
        stop_process(pid)
    return pid


def spooled_events(stack: RunningStack) -> int:
    collector = stack.settings.collector
    health = httpx.get(f"http://{collector.host}:{collector.port}/healthz").json()
    return int(health.get("spooled_events", 0))
