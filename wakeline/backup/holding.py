"""Lanes stand still between two batches while a backup fixes the moment that it is of."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from wakeline.errors import BackupError, LeaseLostError, RebuildError
from wakeline.replay.standstill import Leases

#: Batches take up to seconds; the one under way is waited for this long.
PATIENCE_SECONDS = 120.0


@contextmanager
def standing_still(leases: Leases) -> Iterator[None]:
    """No lane is within a batch meanwhile. Raises BackupError when one does not come to its end, or has gone on."""
    with ExitStack() as held:
        try:
            own = held.enter_context(leases.standstill(PATIENCE_SECONDS))
        except RebuildError as error:
            raise BackupError(
                f"A lane did not come to the end of its batch within {PATIENCE_SECONDS:.0f} seconds; see why in the"
                " resident_lane runs, then make the backup again."
            ) from error
        if leases.lanes.begun_batches():
            raise BackupError(
                "A lane has begun a batch and no run finishes it; start the stack with 'wakeline up', then make the"
                " backup again."
            )
        yield
        try:
            leases.require(own)
        except LeaseLostError as error:
            raise BackupError("The backup took so long that the lanes went on meanwhile; make it again.") from error
