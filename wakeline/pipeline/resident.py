"""The resident run's loop: take the lane, process micro-batches, hand over to a successor.

Liveness is the lease, not the run's status: a run that hangs or is paused loses it, and a run whose parent has died
gives it up. See docs/decisions/0001-resident-run.md.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from wakeline.clock import Clock
from wakeline.errors import LeaseLostError, LedgerError, WarehouseError
from wakeline.pipeline.lanes import LanePause, LaneStore, Lease
from wakeline.pipeline.microbatch import BatchResult, MicroBatches
from wakeline.settings import LaneSettings

#: A successor that has not been seen for this long is dead.
SUCCESSOR_ALIVE_MS = 3_000
#: A warehouse or ledger that fails for this long without a break fails the run, so that it shows as failed.
_GIVE_UP_MS = 60_000
#: A pause of the lane is looked for so often.
_PAUSE_LOOK_MS = 500
#: The broker is asked whether a drain is through no more often: Kinesis allows few reads, and most are the reader's.
_DRAIN_LOOK_MS = 2_000
_WARM_UP_PAUSE_SECONDS = 0.02
_FAULT_PAUSE_SECONDS = 0.5
#: How often a holder looks whether all lanes are to stand still.
_STANDSTILL_LOOK_MS = 500
_STANDS_STILL = "stands still"
#: What passes by itself, and is waited out.
_FAULTS = (WarehouseError, LedgerError)


@dataclass
class Resident:
    """One run's life on one lane."""

    lane: str
    holder: str
    settings: LaneSettings
    lanes: LaneStore
    batches: MicroBatches
    clock: Clock
    sleep: Callable[[float], None]
    should_stop: Callable[[], bool]
    report: Callable[[BatchResult], None]
    warn: Callable[[str], None]
    #: Wraps each step: keeps the lease alive while the step is at work.
    keep_alive: Callable[[Lease], AbstractContextManager[None]]
    _said_ms: int = field(default=0, init=False)
    _renewed_ms: int = field(default=0, init=False)
    _began_ms: int = field(default=0, init=False)
    _looked_for_standstill_ms: int = field(default=0, init=False)
    _looked_for_pause_ms: int = field(default=0, init=False)
    _drain_look_due_ms: int = field(default=0, init=False)

    def run(self) -> str:
        """Process until handed over, paused, stopped, or at the end of the run's time; returns which it was.

        While somebody lets all lanes stand still it has given the lane back, and takes it again afterwards.
        """
        while lease := self._wait_for_lease():
            ended = self._hold_and_release(lease)
            if ended != _STANDS_STILL:
                return ended
        if not self.should_stop():
            return "the lane is paused"
        return "stopped while the lanes stood still" if self._began_ms else "stopped before it was its turn"

    def _hold_and_release(self, lease: Lease) -> str:
        try:
            return self._hold(lease)
        except LeaseLostError as lost:
            return str(lost)
        finally:
            self._release(lease)

    def _release(self, lease: Lease) -> None:
        try:
            self.lanes.release(lease)
        except LedgerError as fault:  # The lease expires by itself; what the run ends with says more.
            self.warn(str(fault))

    def _wait_for_lease(self) -> Lease | None:
        self._said_ms, answered_ms = 0, self.clock()
        while not self.should_stop():
            pause_seconds = _WARM_UP_PAUSE_SECONDS
            try:
                if lease := self._ask_for_lease():
                    return lease
                if self._pause_is_worth_a_look() and self.lanes.is_paused(self.lane):
                    return None
                answered_ms = self.clock()
            except LedgerError as fault:
                if self.clock() - answered_ms > _GIVE_UP_MS:
                    raise
                self.warn(str(fault))
                pause_seconds = _FAULT_PAUSE_SECONDS
            self.sleep(pause_seconds)
        return None

    def _ask_for_lease(self) -> Lease | None:
        now_ms = self.clock()
        state = self.lanes.state(self.lane)
        is_free = not state.holder or state.expires_at_ms <= now_ms
        if is_free and not self.lanes.stand_still(now_ms):
            return self.lanes.acquire(self.lane, self.holder, now_ms, self._lease_ms)
        if now_ms - self._said_ms > SUCCESSOR_ALIVE_MS // 3:
            self.lanes.wait_as_successor(self.lane, self.holder, now_ms)
            self._said_ms = now_ms
        return None

    def _hold(self, lease: Lease) -> str:
        self._renewed_ms = self.clock()
        self._began_ms = self._began_ms or self._renewed_ms
        ended = self._until_recovered(lease)
        while ended is None:
            try:
                ended = self._pause_reason(lease) or self._end_reason(self._began_ms)
                if ended is None:
                    self._step_or_pause(lease)
            except _FAULTS as fault:
                self.warn(str(fault))
                ended = self._until_recovered(lease)
        return ended

    def _step_or_pause(self, lease: Lease) -> None:
        if self._step(lease):
            self._renewed_ms = self.clock()
            return
        if self.clock() - self._renewed_ms > self._lease_ms // 4:
            self._renew(lease)
        self.sleep(self.settings.poll_seconds)

    def _renew(self, lease: Lease) -> None:
        self._renewed_ms = self.clock()
        self.lanes.renew(lease, self._renewed_ms, self._lease_ms)

    def _end_reason(self, began_ms: int) -> str | None:
        if self.should_stop():
            return "stopped"
        if self._is_to_stand_still():
            return self._give_way()
        held_ms = self.clock() - began_ms
        soft_end_ms = round(self.settings.run_minutes * 60_000)
        if held_ms < soft_end_ms:
            return None
        if self.clock() - self.lanes.state(self.lane).successor_seen_ms < SUCCESSOR_ALIVE_MS:
            return "handed over"
        return "its time is over" if held_ms > 2 * soft_end_ms else None

    def _give_way(self) -> str:
        # Said before the lane is free: the supervisor must not take this run for one that has ended.
        self.lanes.wait_as_successor(self.lane, self.holder, self.clock())
        return _STANDS_STILL

    def _is_to_stand_still(self) -> bool:
        now_ms = self.clock()
        if now_ms - self._looked_for_standstill_ms < _STANDSTILL_LOOK_MS:
            return False
        self._looked_for_standstill_ms = now_ms
        return self.lanes.stand_still(now_ms)

    def _pause_reason(self, lease: Lease) -> str | None:
        """Why the lane stands still from now on, if it does."""
        pause = self.lanes.pauses().get(self.lane) if self._pause_is_worth_a_look() else None
        if pause is None or (pause.after_ms and not self._has_drained(lease, pause)):
            return None
        return f"paused by {pause.paused_by}: {pause.reason}"

    def _has_drained(self, lease: Lease, drain: LanePause) -> bool:
        """Whether what was to be processed before the pause is; noted for all others, who cannot know."""
        began_ms = self.clock()
        if began_ms < self._drain_look_due_ms:
            return False
        with self.keep_alive(lease):  # A broker that is away may take long to be found so.
            is_through = self.batches.has_processed(lease, drain.after_ms)
        ended_ms = self.clock()
        self._drain_look_due_ms = ended_ms + max(_DRAIN_LOOK_MS, ended_ms - began_ms)
        return is_through and self.lanes.end_drain(lease, drain)

    def _pause_is_worth_a_look(self) -> bool:
        now_ms = self.clock()
        if now_ms - self._looked_for_pause_ms < _PAUSE_LOOK_MS:
            return False
        self._looked_for_pause_ms = now_ms
        return True

    def _step(self, lease: Lease) -> bool:
        """One micro-batch; whether there was anything to do."""
        with self.keep_alive(lease):
            result = self.batches.step(lease)
        if result is None:
            return False
        self.report(result)
        return bool(result.rows or result.decided or result.answers)

    def _until_recovered(self, lease: Lease) -> str | None:
        """A fault of the warehouse or the ledger is waited out, and then the begun batch is redone.

        Returns why the lane is given back before that, if it is: a rebuild of profiles may be what ends the fault.
        """
        failing_since_ms, is_known = self.clock(), False
        while True:
            try:
                if is_known and self._is_to_stand_still():
                    return self._give_way()
                self._recover(lease)
                return None
            except _FAULTS as fault:
                if self.clock() - failing_since_ms > _GIVE_UP_MS or self.should_stop():
                    raise
                self.warn(str(fault))
                self.sleep(_FAULT_PAUSE_SECONDS)
                # A recovery gets as far as the warehouse only once the ledger has the answers that this run alone knew.
                is_known = isinstance(fault, WarehouseError)

    def _recover(self, lease: Lease) -> None:
        # While the warehouse is away nothing else keeps the lease.
        self._renew(lease)
        with self.keep_alive(lease):
            redone = self.batches.recover(lease)
        for result in redone:
            self.report(result)

    @property
    def _lease_ms(self) -> int:
        return round(self.settings.lease_seconds * 1000)
