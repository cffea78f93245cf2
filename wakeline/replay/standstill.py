"""Lets all lanes stand still between two batches, for as long as it takes to exchange tables."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from wakeline.clock import Clock
from wakeline.errors import RebuildError
from wakeline.pipeline.heartbeat import heartbeat
from wakeline.pipeline.lanes import REBUILD, STANDSTILL, LaneStore, Lease

_LOOK_SECONDS = 0.02
#: A rebuild of much history takes hours; its lease must last as long.
_MAX_MS = 7 * 24 * 3_600_000


@dataclass(frozen=True, slots=True)
class Leases:
    """The leases of one rebuild; `holder` is its run."""

    lanes: LaneStore
    holder: str
    clock: Clock
    sleep: Callable[[float], None]
    lease_ms: int

    @contextmanager
    def alone(self) -> Iterator[Lease]:
        """No other rebuild runs meanwhile. Raises RebuildError when one does."""
        lease = self.lanes.acquire_rebuild(self.holder, self.clock(), self.lease_ms)
        if lease is None:
            raise RebuildError(
                f"Run {self.lanes.state(REBUILD).holder} rebuilds profiles already; wait until it ends, or end it. If it"
                f" was killed, its right to do so ends within {self.lease_ms / 1000:.0f} seconds."
            )
        with self._kept(lease):
            yield lease

    @contextmanager
    def no_restore(self) -> Iterator[None]:
        """Nothing is restored into landing meanwhile. Raises RebuildError while the archive is at work."""
        lease = self.lanes.acquire_archive(self.holder, self.clock(), self.lease_ms)
        if lease is None:
            raise RebuildError(
                "The archive is being written or restored from, and a restore changes landing: rebuild again when it"
                " has ended."
            )
        with self._kept(lease):
            yield

    @contextmanager
    def standstill(self, patience_seconds: float) -> Iterator[Sequence[Lease]]:
        """Every lane is held here meanwhile, between two batches of its own, and goes on by itself afterwards.

        Raises RebuildError when a lane does not come to the end of its batch within the patience.
        """
        with ExitStack() as stack:
            deadline_ms = self.clock() + round(patience_seconds * 1000)
            self._await(stack, STANDSTILL, self.lanes.acquire_standstill, deadline_ms)
            yield [self._await(stack, name, self._taker(name), deadline_ms) for name in self.lanes.names()]

    def require(self, leases: Sequence[Lease]) -> None:
        """Raise LeaseLostError unless nobody else has held one of these lanes since."""
        for lease in leases:
            self.lanes.renew(lease, self.clock(), self.lease_ms)

    def _taker(self, lane: str) -> Callable[[str, int, int], Lease | None]:
        return lambda holder, now_ms, lease_ms: self.lanes.acquire(lane, holder, now_ms, lease_ms)

    def _await(
        self, stack: ExitStack, name: str, take: Callable[[str, int, int], Lease | None], deadline_ms: int
    ) -> Lease:
        while (lease := take(self.holder, self.clock(), self.lease_ms)) is None:
            if self.clock() > deadline_ms:
                raise self._not_paused(name)
            self.sleep(_LOOK_SECONDS)
        stack.enter_context(self._kept(lease))
        return lease

    def _not_paused(self, name: str) -> RebuildError:
        holder = self.lanes.state(name).holder or "of another number of lanes"
        return RebuildError(
            f"Lane {name} did not stand still in time: run {holder} is still at its batch. Nothing was changed; see in"
            " Dagster what that run is doing, and rebuild again when it has less to do, or has ended."
        )

    @contextmanager
    def _kept(self, lease: Lease) -> Iterator[None]:
        try:
            with heartbeat(self.lanes, lease, self.clock, self.lease_ms, _MAX_MS):
                yield
        finally:
            self.lanes.release(lease)
