"""Two lanes on Kinesis, whose shards are split and merged while events flow.

On kinesis-local, the imitation that does with closed shards what AWS does; it is slow, so that the play is small.
"""

from collections.abc import Iterator

import pytest
from support.adding_up import as_posted, assert_everything_adds_up, in_landing
from support.kinesis import KinesisLocal, open_kinesis_local
from support.stack import DEAR_POLL_SECONDS, RunningStack, await_that
from support.streams import stack_on

PEOPLE, MINUTES, SPEED = 48, 60, 60
PATIENCE_SECONDS = 180
#: Of the four shards that a stream begins with; with two lanes, 4 and 6 are the first lane's, and 5 is the other's.
SPLIT, MERGED = 0, (2, 3)
#: Shard -> those that it took over from.
PARENTS = {4: (SPLIT,), 5: (SPLIT,), 6: MERGED}

pytestmark = [pytest.mark.whole_stack, pytest.mark.timeout(3 * PATIENCE_SECONDS)]


@pytest.fixture(scope="module")
def server_and_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[KinesisLocal, RunningStack]]:
    with stack_on("kinesis", tmp_path_factory.mktemp("kinesis"), 2, open_kinesis_local) as (server, stack):
        assert isinstance(server, KinesisLocal)
        yield server, stack


def test_nothing_is_lost_sent_twice_or_out_of_order_when_shards_are_split_and_merged(
    server_and_stack: tuple[KinesisLocal, RunningStack],
) -> None:
    server, stack = server_and_stack
    stream = stack.settings.stream.kinesis.stream
    looks: list[dict[int, int]] = []
    with stack.play(seed=9200, people=PEOPLE, minutes=MINUTES, speed=SPEED) as play:
        play.await_middle()
        server.split(stream, SPLIT)
        server.merge(stream, *MERGED)
        landed = lambda: all_landed(stack, looks)  # noqa: E731
        await_that(lambda: f"everything has landed; it is {looks[-1]}", landed, PATIENCE_SECONDS, DEAR_POLL_SECONDS)
        play.finish(PATIENCE_SECONDS)
        stack.await_settled(PATIENCE_SECONDS)

    assert_everything_adds_up(stack)
    assert in_landing(stack) == as_posted(stack.messages)
    final = stack.landed()
    assert final.keys() == {0, 1, 2, 3, *PARENTS}
    # A shard's first event lands after the last of those that it took over from.
    for look in looks:
        assert all(look[parent] == final[parent] for shard in PARENTS.keys() & look for parent in PARENTS[shard])


def all_landed(stack: RunningStack, looks: list[dict[int, int]]) -> bool:
    """Looks at how many events of each shard have landed, and keeps that."""
    looks.append(stack.landed())
    return sum(looks[-1].values()) >= len(stack.messages)
