"""One run at a time writes the archive or restores from it, and the lanes wait where a restore goes on before them."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from wakeline.clock import Clock
from wakeline.errors import ArchiveError
from wakeline.pipeline.heartbeat import heartbeat
from wakeline.pipeline.lanes import ARCHIVE, LaneStore, Lease

#: A large hour takes minutes to be written or read.
_MAX_STEP_MS = 3_600_000


class Leases:
    """The archive's lease for the run `holder`, and those of all lanes once they are wanted; no offset is touched."""

    def __init__(self, lanes: LaneStore, holder: str, clock: Clock, lease_ms: int) -> None:
        self._lanes = lanes
        self._holder = holder
        self._clock = clock
        self._lease_ms = lease_ms
        self._held: list[Lease] = []

    @contextmanager
    def held(self) -> Iterator[Lease]:
        """The archive's lease meanwhile. Raises ArchiveError when another run has it."""
        own = self._lanes.acquire_archive(self._holder, self._clock(), self._lease_ms)
        if own is None:
            raise ArchiveError(
                f"Run {self._lanes.state(ARCHIVE).holder} writes the archive or restores from it; wait until it ends,"
                " or terminate it."
            )
        self._held.append(own)
        try:
            yield own
        finally:
            while self._held:
                self._lanes.release(self._held.pop())

    def pause_lanes(self) -> bool:
        """False if they stand still already. Raises ArchiveError when one is at work."""
        if len(self._held) > 1:
            return False
        for name in self._lanes.names():
            lease = self._lanes.acquire(name, self._holder, self._clock(), self._lease_ms, despite_pause=True)
            if lease is None:
                raise ArchiveError(
                    f"The archive has events that lane {name} would ingest next, and run"
                    f" {self._lanes.state(name).holder} is at work on it: pause the lane (pause_lane), wait until"
                    " the run ends, and restore again."
                )
            self._held.append(lease)
        return True

    def begun_batches(self) -> list[dict[int, tuple[int, int]]]:
        """What lanes have begun to ingest, and will ingest again from the stream if they were cut off."""
        return self._lanes.begun_batches()

    @contextmanager
    def kept(self) -> Iterator[None]:
        """The leases do not expire meanwhile. Raises LeaseLostError when one has been lost before."""
        with ExitStack() as stack:
            for lease in self._held:
                self._lanes.renew(lease, self._clock(), self._lease_ms)
                stack.enter_context(heartbeat(self._lanes, lease, self._clock, self._lease_ms, _MAX_STEP_MS))
            yield
