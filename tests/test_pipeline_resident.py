from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import cast

import pytest
from support.clocks import MINUTE_MS, NOW_MS, SECOND_MS, Hand
from support.messages import rows, track
from support.sending import LANE, LEASE_MS, Book

from wakeline.errors import LeaseLostError, LedgerError, StreamError, WarehouseError
from wakeline.pipeline.lanes import LanePause, LaneStore, Lease
from wakeline.pipeline.microbatch import BatchResult, MicroBatches
from wakeline.pipeline.resident import Resident
from wakeline.pipeline.supervision import Run, supervise
from wakeline.settings import LaneSettings

RUN_MS = MINUTE_MS
SETTINGS = LaneSettings(run_minutes=1, lease_seconds=LEASE_MS / 1_000, poll_seconds=0.2)
WORK = BatchResult({0: (0, 1)}, rows(track("Product Viewed", "m1", user="ann")))
REDONE = BatchResult({0: (0, 2)}, rows(track("Product Viewed", "m2", user="ann")))
LOOKED = BatchResult({})

Step = BatchResult | None | Exception | Callable[[], object]


@dataclass
class Script:
    """Micro-batches that do what they are told, one thing a call, and then nothing; keeps what was asked."""

    steps: list[Step] = field(default_factory=list)
    recoveries: list[Step] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    processed_until_ms: int = NOW_MS
    looked: Callable[[], object] = lambda: None

    def has_processed(self, lease: Lease, until_ms: int) -> bool:
        self.asked.append("has_processed")
        self.looked()
        return self.processed_until_ms >= until_ms

    def step(self, lease: Lease) -> BatchResult | None:
        self.asked.append("step")
        return _act(self.steps)

    def recover(self, lease: Lease) -> list[BatchResult]:
        self.asked.append("recover")
        found = _act(self.recoveries)
        return [found] if found else []


def _act(script: list[Step]) -> BatchResult | None:
    act = script.pop(0) if script else None
    if isinstance(act, Exception):
        raise act
    if isinstance(act, BatchResult) or act is None:
        return act
    act()
    return None


class World:
    """A resident run with everything around it; `during` is called at every pause."""

    def __init__(self, lanes: LaneStore, clock: Hand, script: Script) -> None:
        self.lanes = lanes
        self.clock = clock
        self.script = script
        self.during: Callable[[], object] = lambda: None
        self.stop = False
        self.is_kept_alive = False
        self.reported: list[BatchResult] = []
        self.warned: list[str] = []
        self.pauses = 0

    def run(self, holder: str = "run-1") -> str:
        return Resident(
            lane=LANE,
            holder=holder,
            settings=SETTINGS,
            lanes=self.lanes,
            batches=cast(MicroBatches, self.script),
            clock=self.clock,
            sleep=self._sleep,
            should_stop=lambda: self.stop,
            report=self.reported.append,
            warn=self.warned.append,
            keep_alive=self._keep_alive,
        ).run()

    @contextmanager
    def _keep_alive(self, lease: Lease) -> Iterator[None]:
        self.is_kept_alive = True
        yield
        self.is_kept_alive = False

    def stop_now(self) -> None:
        self.stop = True

    def _sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.pauses += 1
        self.clock.sleep(seconds)
        self.during()


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def world(book: Book, clock: Hand, script: Script) -> World:
    return World(book.lanes, clock, script)


def test_a_run_recovers_first_then_works_and_reports_until_it_is_stopped(world: World, script: Script) -> None:
    script.recoveries = [REDONE]
    script.steps = [WORK, None, WORK, world.stop_now]
    assert world.run() == "stopped"
    assert script.asked == ["recover", "step", "step", "step", "step"]
    assert world.reported == [REDONE, WORK, WORK]
    assert world.lanes.state(LANE).holder == ""


def test_a_run_pauses_only_when_there_was_nothing_to_do(world: World, script: Script) -> None:
    script.steps = [WORK, WORK, None, LOOKED, WORK, world.stop_now]
    world.run()
    assert world.pauses == 3


def test_a_run_that_is_stopped_while_it_waits_never_held_the_lane(world: World, book: Book, script: Script) -> None:
    book.hold("run-0", now_ms=NOW_MS)
    world.during = world.stop_now
    assert world.run() == "stopped before it was its turn"
    assert script.asked == []
    assert world.lanes.state(LANE).holder == "run-0"


def test_a_run_waits_as_successor_and_takes_the_lane_as_soon_as_it_is_free(
    world: World, book: Book, script: Script
) -> None:
    first = book.hold("run-0")
    seen: list[str] = []

    def look() -> None:
        state = world.lanes.state(LANE)
        if state.holder == "run-0":
            seen.append(state.successor)
            book.lanes.release(first)

    world.during = look
    script.steps = [world.stop_now]
    assert world.run("run-1") == "stopped"
    assert seen == ["run-1"]
    assert world.lanes.state(LANE).fencing_token == first.fencing_token + 1


def test_a_run_takes_the_lane_of_a_holder_whose_lease_expires(world: World, book: Book, script: Script) -> None:
    book.hold("run-0")
    script.steps = [world.stop_now]
    assert world.run("run-1") == "stopped"
    assert world.clock() >= NOW_MS + LEASE_MS


def test_a_successor_says_again_that_it_waits_so_that_a_dead_one_is_known(world: World, book: Book) -> None:
    first = book.hold("run-0")
    last_seen: list[int] = []

    def look() -> None:
        last_seen.append(world.clock() - world.lanes.state(LANE).successor_seen_ms)
        book.lanes.renew(first, world.clock(), LEASE_MS)
        world.stop = len(last_seen) > 200

    world.during = look
    world.run("run-1")
    assert max(last_seen[1:]) < 1_500


def test_a_run_keeps_its_lease_while_it_is_idle(world: World, script: Script) -> None:
    expiries: list[int] = []

    def look() -> None:
        expiries.append(world.lanes.state(LANE).expires_at_ms - world.clock())
        world.stop = world.clock() > NOW_MS + 3 * LEASE_MS

    world.during = look
    assert world.run() == "stopped"
    assert min(expiries) > LEASE_MS // 2


def test_a_run_hands_over_at_the_end_of_its_time_to_a_successor_that_waits(world: World) -> None:
    def look() -> None:
        if world.clock() > NOW_MS + 1.2 * RUN_MS:
            world.lanes.wait_as_successor(LANE, "run-2", world.clock())

    world.during = look
    assert world.run() == "handed over"
    assert NOW_MS + 1.2 * RUN_MS < world.clock() < NOW_MS + 1.3 * RUN_MS
    assert world.lanes.state(LANE).holder == ""


def test_a_run_does_not_hand_over_before_its_time(world: World) -> None:
    world.during = lambda: world.lanes.wait_as_successor(LANE, "run-2", world.clock())
    assert world.run() == "handed over"
    assert world.clock() >= NOW_MS + RUN_MS


def test_a_run_without_a_successor_goes_on_but_not_for_ever(world: World) -> None:
    assert world.run() == "its time is over"
    assert NOW_MS + 2 * RUN_MS < world.clock() < NOW_MS + 2.1 * RUN_MS


def test_a_successor_that_died_is_not_handed_over_to(world: World) -> None:
    def look() -> None:
        if world.clock() < NOW_MS + RUN_MS // 2:
            world.lanes.wait_as_successor(LANE, "run-2", world.clock())

    world.during = look
    assert world.run() == "its time is over"


def test_a_run_gives_its_lane_back_while_all_lanes_are_to_stand_still_and_then_goes_on(
    world: World, script: Script
) -> None:
    held: list[Lease] = []

    def take(lease: Lease | None) -> None:
        held.extend([lease] if lease else [])

    def look() -> None:
        waits = supervise(world.lanes.state(LANE), [Run("run-1", NOW_MS, True)], world.clock(), SETTINGS)
        assert not waits.start
        assert not waits.dead
        if len(held) == 1:
            take(world.lanes.acquire(LANE, "rebuild-1", world.clock(), LEASE_MS))
        if world.clock() > NOW_MS + 3_000:
            for lease in held:
                world.lanes.release(lease)

    def ask() -> None:
        take(world.lanes.acquire_standstill("rebuild-1", world.clock(), LEASE_MS))

    world.during = look
    script.steps = [WORK, ask, None, None, None, WORK, world.stop_now]
    assert world.run() == "stopped"
    assert len(held) == 2
    assert world.reported == [WORK, WORK]
    assert script.asked.count("recover") == 2


def test_a_run_does_not_take_a_lane_while_lanes_are_to_stand_still(world: World, script: Script) -> None:
    world.lanes.acquire_standstill("rebuild-1", NOW_MS, LEASE_MS)
    script.steps = [world.stop_now]
    assert world.run() == "stopped"
    assert world.clock() >= NOW_MS + LEASE_MS  # Whoever asked for it died.


def test_a_run_can_be_stopped_while_its_lane_stands_still(world: World, script: Script) -> None:
    def look() -> None:
        world.lanes.acquire_standstill("rebuild-1", world.clock(), LEASE_MS)
        world.stop = not world.lanes.state(LANE).holder

    world.during = look
    assert world.run() == "stopped while the lanes stood still"


def test_a_run_that_lost_its_lane_ends_and_leaves_the_lane_to_the_new_holder(
    world: World, book: Book, script: Script
) -> None:
    def lose() -> None:
        world.clock.sleep(LEASE_MS)
        book.hold("run-2", world.clock())
        raise LeaseLostError("Run run-1 no longer holds lane 0.")

    script.steps = [WORK, lose]
    assert world.run() == "Run run-1 no longer holds lane 0."
    assert world.reported == [WORK]
    assert world.lanes.state(LANE).holder == "run-2"


def test_a_run_that_stood_still_beyond_its_lease_notices_at_its_next_renewal(
    world: World, book: Book, script: Script
) -> None:
    def stand_still() -> None:
        world.clock.sleep(LEASE_MS)
        book.hold("run-2", world.clock())

    script.steps = [stand_still]
    assert world.run().startswith("Run run-1 no longer holds lane 0")
    assert world.lanes.state(LANE).holder == "run-2"


@pytest.mark.parametrize("fault", [WarehouseError, LedgerError])
def test_a_fault_of_the_warehouse_or_the_ledger_is_waited_out_and_the_begun_batch_done_again(
    world: World, script: Script, fault: type[Exception]
) -> None:
    script.steps = [fault("gone"), WORK, world.stop_now]
    script.recoveries = [None, fault("still gone"), fault("still gone"), REDONE]
    assert world.run() == "stopped"
    assert script.asked == ["recover", "step", "recover", "recover", "recover", "step", "step"]
    assert world.reported == [REDONE, WORK]
    assert world.warned == ["gone", "still gone", "still gone"]


@pytest.mark.parametrize(("fault", "recoveries"), [(WarehouseError("closed"), 1), (LedgerError("gone"), 4)])
def test_a_run_gives_way_to_a_rebuild_while_it_waits_for_the_warehouse_and_only_then(
    world: World, script: Script, fault: Exception, recoveries: int
) -> None:
    """It may be what the warehouse waits for. While the ledger is away the run may know answers that no other has."""

    def look() -> None:
        world.lanes.acquire_standstill("rebuild-1", world.clock(), LEASE_MS)
        world.stop = not world.lanes.state(LANE).holder

    world.during = look
    script.recoveries = [fault] * 3
    assert world.run() == "stopped while the lanes stood still"
    assert script.asked.count("recover") == recoveries


def test_a_run_keeps_its_lease_while_it_waits_for_the_warehouse(world: World, script: Script) -> None:
    script.recoveries = [WarehouseError("gone")] * 50
    script.steps = [world.stop_now]
    world.during = lambda: _assert_held(world)
    assert world.run() == "stopped"
    assert world.clock() > NOW_MS + 2 * LEASE_MS


def test_a_warehouse_that_stays_away_fails_the_run_and_frees_the_lane(world: World, script: Script) -> None:
    script.recoveries = [WarehouseError("gone")] * 1_000
    with pytest.raises(WarehouseError, match="gone"):
        world.run()
    assert world.clock() > NOW_MS + MINUTE_MS
    assert world.lanes.state(LANE).holder == ""


def test_a_run_that_is_stopped_does_not_wait_for_the_warehouse(world: World, script: Script) -> None:
    script.recoveries = [WarehouseError("gone")] * 1_000
    world.during = world.stop_now
    with pytest.raises(WarehouseError):
        world.run()
    assert world.pauses == 1


def failing(world: World, monkeypatch: pytest.MonkeyPatch, name: str, times: int) -> None:
    """A method of the lanes fails so often before it does what it did."""
    works, left = getattr(world.lanes, name), [None] * times

    def fail(*arguments: object) -> object:
        if left:
            left.pop()
            raise LedgerError("The ledger is gone.")
        return works(*arguments)

    monkeypatch.setattr(world.lanes, name, fail)


@pytest.mark.parametrize("name", ["state", "acquire", "renew", "release"])
def test_wherever_the_ledger_goes_away_for_a_moment_the_run_goes_on(
    world: World, script: Script, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    script.steps = [None] * 30 + [WORK, world.stop_now]
    failing(world, monkeypatch, name, times=1)
    assert world.run() == "stopped"
    assert world.reported == [WORK]
    assert world.warned == ["The ledger is gone."]


def test_a_run_gives_up_waiting_for_a_lane_when_the_ledger_stays_away(
    world: World, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(world, monkeypatch, "state", times=1_000)
    with pytest.raises(LedgerError, match="gone"):
        world.run()
    assert world.clock() > NOW_MS + MINUTE_MS
    assert script.asked == []


def test_the_ledger_may_go_away_while_a_run_holds_the_lane(
    world: World, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    script.steps = [lambda: failing(world, monkeypatch, "state", times=1)]
    assert world.run() == "its time is over"
    assert script.asked.count("recover") == 2


def test_a_run_whose_lane_is_paused_ends_after_its_batch_and_none_takes_the_lane(world: World, script: Script) -> None:
    script.steps = [WORK, lambda: paused(world, after_ms=0), WORK]
    assert world.run() == "paused by ann: an upgrade"
    assert (script.asked, world.reported) == (["recover", "step", "step"], [WORK])
    assert world.run("run-2") == "the lane is paused"
    assert world.lanes.state(LANE).holder == ""


def test_a_run_that_drains_goes_on_until_it_has_read_what_was_there(world: World, script: Script) -> None:
    paused(world, after_ms=NOW_MS + 7)
    script.steps = [WORK, WORK, lambda: setattr(script, "processed_until_ms", NOW_MS + 7), WORK]
    assert world.run() == "paused by ann: an upgrade"
    assert world.reported[:2] == [WORK, WORK]
    assert world.lanes.is_paused(LANE)
    assert world.run("run-2") == "the lane is paused"


def test_the_lease_is_kept_alive_while_a_slow_broker_is_asked_whether_a_drain_is_through(
    world: World, script: Script
) -> None:
    kept_alive: list[bool] = []

    def slow() -> None:
        kept_alive.append(world.is_kept_alive)
        world.clock.now_ms += 2 * LEASE_MS

    script.looked = slow
    paused(world, after_ms=NOW_MS)
    assert world.run() == "paused by ann: an upgrade"
    assert kept_alive == [True]


@pytest.mark.parametrize("look_ms", [0, 8 * SECOND_MS])
def test_a_drain_leaves_most_reads_that_a_broker_allows_and_half_of_the_time_to_processing(
    world: World, script: Script, look_ms: int
) -> None:
    looks_ms: list[int] = []

    def slow() -> None:
        looks_ms.append(world.clock())
        world.clock.now_ms += look_ms
        world.stop = len(looks_ms) == 4

    script.looked = slow
    paused(world, after_ms=NOW_MS + MINUTE_MS)
    assert world.run() == "stopped"
    assert all(later - earlier >= max(2 * SECOND_MS, 2 * look_ms) for earlier, later in pairwise(looks_ms))


def test_a_drain_that_began_while_the_broker_was_asked_is_waited_for(world: World, script: Script) -> None:
    again = LanePause(LANE, "bob", "a move", NOW_MS + 9, NOW_MS + 9)

    def begin_again() -> None:
        if "step" not in script.asked:
            world.lanes.pause(again)
            script.steps = [None, lambda: setattr(script, "processed_until_ms", NOW_MS + 9)]

    script.looked = begin_again
    paused(world, after_ms=NOW_MS)
    assert world.run() == "paused by bob: a move"
    assert script.asked.count("step") >= 2


def paused(world: World, after_ms: int) -> None:
    world.lanes.pause(LanePause(LANE, "ann", "an upgrade", world.clock(), after_ms))
    world.clock.now_ms += SECOND_MS


def test_any_other_error_fails_the_run_and_frees_the_lane(world: World, script: Script) -> None:
    script.steps = [StreamError("the stream is another one")]
    with pytest.raises(StreamError):
        world.run()
    assert world.lanes.state(LANE).holder == ""


def _assert_held(world: World) -> None:
    state = world.lanes.state(LANE)
    assert state.holder == "run-1"
    assert state.expires_at_ms > world.clock()
