"""Lets all lanes stand still between two batches, for as long as it takes to exchange tables."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

from wakeline.clock import Clock
from wakeline.errors import RebuildError
from wakeline.pipeline.heartbeat import heartbeat
from wakeline.pipeline.lanes import REBUILD, STANDSTILL, LaneStore, Lease

_LOOK_SECONDS = 0.02
#: All lanes go on by themselves when what is done meanwhile hangs for so long.
STANDSTILL_MS = 180_000
#: To read much history takes hours, and so does to rebuild all of it.
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
                f"Profiles are rebuilt already, by {self.lanes.state(REBUILD).holder}; wait until it ends, or end it."
                f" If it was killed, its right to do so ends within {self.lease_ms / 1000:.0f} seconds."
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
        looks = iter(range(round(patience_seconds / _LOOK_SECONDS)))
        with ExitStack() as held:
            self._await(held, STANDSTILL, self.lanes.acquire_standstill, looks)
            yield [self._await(held, name, self._taker(name), looks) for name in self.lanes.names()]

    def _taker(self, lane: str) -> Callable[[str, int, int], Lease | None]:
        # A lane that is paused is nobody's; it must not begin in the meantime either.
        return partial(self.lanes.acquire, lane, despite_pause=True)

    def require(self, leases: Sequence[Lease]) -> None:
        """Raise LeaseLostError unless nobody else has held one of these lanes since."""
        for lease in leases:
            self.lanes.renew(lease, self.clock(), self.lease_ms)

    def _await(
        self, held: ExitStack, name: str, take: Callable[[str, int, int], Lease | None], looks: Iterator[int]
    ) -> Lease:
        for _ in looks:
            if lease := take(self.holder, self.clock(), self.lease_ms):
                held.enter_context(self._kept(lease, STANDSTILL_MS))
                return lease
            self.sleep(_LOOK_SECONDS)
        holder = self.lanes.state(name).holder or "of another number of lanes"
        raise RebuildError(
            f"Lane {name} did not stand still in time: run {holder} is still at its batch. Nothing was changed; see in"
            " Dagster what that run is doing, and rebuild again when it has less to do, or has ended."
        )

    @contextmanager
    def _kept(self, lease: Lease, max_ms: int = _MAX_MS) -> Iterator[None]:
        try:
            with heartbeat(self.lanes, lease, self.clock, self.lease_ms, max_ms):
                yield
        finally:
            self.lanes.release(lease)
