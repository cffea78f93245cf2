"""Keeps the lanes from ingesting what a restore puts into landing before them."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from wakeline.clock import Clock
from wakeline.errors import ArchiveError
from wakeline.pipeline.heartbeat import heartbeat
from wakeline.pipeline.lanes import LaneStore, Lease


class LanePause:
    """Leases on all lanes, once they are wanted; offsets are not touched."""

    def __init__(self, lanes: LaneStore, holder: str, clock: Clock, lease_ms: int) -> None:
        self._lanes = lanes
        self._holder = holder
        self._clock = clock
        self._lease_ms = lease_ms
        self._leases: list[Lease] = []

    def begin(self) -> bool:
        """False if it had begun already. Raises ArchiveError when a lane is at work."""
        if self._leases:
            return False
        for name in self._lanes.names():
            lease = self._lanes.acquire(name, self._holder, self._clock(), self._lease_ms)
            if lease is None:
                raise ArchiveError(
                    f"The archive has events that lane {name} would ingest next, and run"
                    f" {self._lanes.state(name).holder} is at work on it: turn lane_sensor off, terminate the run, and"
                    " restore again."
                )
            self._leases.append(lease)
        return True

    @contextmanager
    def kept(self) -> Iterator[None]:
        """The leases do not expire meanwhile. Raises LeaseLostError when one has."""
        with ExitStack() as stack:
            for lease in self._leases:
                self._lanes.renew(lease, self._clock(), self._lease_ms)
                stack.enter_context(heartbeat(self._lanes, lease, self._clock, self._lease_ms))
            yield

    def begun_batches(self) -> list[dict[int, tuple[int, int]]]:
        """What lanes have begun to ingest, and will ingest again from the stream if they were cut off."""
        return self._lanes.begun_batches()

    def end(self) -> None:
        """Let the lanes go on."""
        while self._leases:
            self._lanes.release(self._leases.pop())
