"""Keeps a lease alive while one long step is at work."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from wakeline.clock import Clock
from wakeline.errors import LeaseLostError, LedgerError
from wakeline.pipeline.lanes import LaneStore, Lease

#: A step that takes longer hangs: its lease is let go, so that another run may take the lane.
MAX_STEP_MS = 120_000


@contextmanager
def heartbeat(
    lanes: LaneStore, lease: Lease, clock: Clock, lease_ms: int, max_step_ms: int = MAX_STEP_MS
) -> Iterator[None]:
    """Renew the lease from a thread of its own until the block ends; a paused process pauses it too."""
    done = threading.Event()
    began_ms = clock()

    def renew() -> None:
        while not done.wait(lease_ms / 4_000) and clock() - began_ms < max_step_ms:
            try:
                lanes.renew(lease, clock(), lease_ms)
            except LeaseLostError:
                return  # The step's own next write meets the same and ends the run.
            except LedgerError:
                continue  # As above; and if the ledger is back by then, the lease may be what it was.

    thread = threading.Thread(target=renew, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
