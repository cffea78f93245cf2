"""The resident run's loop: take the lane, process micro-batches, hand over to a successor.

Liveness is the lease, not the run's status: a run that hangs or is paused loses it, and a run whose parent has died
gives it up. See docs/decisions/0001-resident-run.md.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from wakeline.clock import Clock
from wakeline.errors import LeaseLostError, WarehouseError
from wakeline.pipeline.lanes import LaneStore, Lease
from wakeline.pipeline.microbatch import BatchResult, MicroBatches
from wakeline.settings import LaneSettings

#: A successor that has not been seen for this long is dead.
SUCCESSOR_ALIVE_MS = 3_000
#: A warehouse that fails for this long without a break fails the run, so that it shows as failed.
_GIVE_UP_MS = 60_000
_WARM_UP_PAUSE_SECONDS = 0.02
_FAULT_PAUSE_SECONDS = 0.5


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

    def run(self) -> str:
        """Process until handed over, stopped, or at the end of the run's time; returns which of them it was."""
        lease = self._wait_for_lease()
        if lease is None:
            return "stopped before it was its turn"
        try:
            return self._hold(lease)
        except LeaseLostError as lost:
            return str(lost)
        finally:
            self.lanes.release(lease)

    def _wait_for_lease(self) -> Lease | None:
        said_ms = 0
        while not self.should_stop():
            now_ms = self.clock()
            state = self.lanes.state(self.lane)
            if not state.holder or state.expires_at_ms <= now_ms:
                lease = self.lanes.acquire(self.lane, self.holder, now_ms, self._lease_ms)
                if lease is not None:
                    return lease
            elif now_ms - said_ms > SUCCESSOR_ALIVE_MS // 3:
                self.lanes.wait_as_successor(self.lane, self.holder, now_ms)
                said_ms = now_ms
            self.sleep(_WARM_UP_PAUSE_SECONDS)
        return None

    def _hold(self, lease: Lease) -> str:
        began_ms = self.clock()
        self._until_recovered(lease)
        renewed_ms = began_ms
        while (ended := self._end_reason(began_ms)) is None:
            worked = self._step(lease)
            if worked:
                renewed_ms = self.clock()
                continue
            if self.clock() - renewed_ms > self._lease_ms // 4:
                renewed_ms = self.clock()
                self.lanes.renew(lease, renewed_ms, self._lease_ms)
            self.sleep(self.settings.poll_seconds)
        return ended

    def _end_reason(self, began_ms: int) -> str | None:
        if self.should_stop():
            return "stopped"
        held_ms = self.clock() - began_ms
        soft_end_ms = round(self.settings.run_minutes * 60_000)
        if held_ms < soft_end_ms:
            return None
        if self.clock() - self.lanes.state(self.lane).successor_seen_ms < SUCCESSOR_ALIVE_MS:
            return "handed over"
        return "its time is over" if held_ms > 2 * soft_end_ms else None

    def _step(self, lease: Lease) -> bool:
        """One micro-batch; a fault of the warehouse is waited out, and then the begun batch is redone."""
        try:
            with self.keep_alive(lease):
                result = self.batches.step(lease)
        except WarehouseError as fault:
            self.warn(str(fault))
            self._until_recovered(lease)
            return True
        if result is None:
            return False
        self.report(result)
        return bool(result.rows or result.decided or result.answers)

    def _until_recovered(self, lease: Lease) -> None:
        failing_since_ms = self.clock()
        while True:
            try:
                with self.keep_alive(lease):
                    redone = self.batches.recover(lease)
                for result in redone:
                    self.report(result)
                return
            except WarehouseError as fault:
                if self.clock() - failing_since_ms > _GIVE_UP_MS or self.should_stop():
                    raise
                self.warn(str(fault))
                self.lanes.renew(lease, self.clock(), self._lease_ms)
                self.sleep(_FAULT_PAUSE_SECONDS)

    @property
    def _lease_ms(self) -> int:
        return round(self.settings.lease_seconds * 1000)
