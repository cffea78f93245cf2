"""Lanes stand still between two batches while a backup fixes the moment that it is of."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from wakeline.clock import Clock
from wakeline.errors import BackupError
from wakeline.pipeline.lanes import LaneStore

#: A backup that is killed lets the lanes go by itself after this.
HOLD_MS = 15_000
#: Batches take up to seconds; the one under way is waited for this long.
PATIENCE_MS = 120_000
_POLL_SECONDS = 0.02


@dataclass
class Hold:
    """The hold on all lanes of a store; lasts while `keep` is called at least every `HOLD_MS`."""

    lanes: LaneStore
    clock: Clock
    sleep: Callable[[float], None]
    _until_ms: int = field(default=0, init=False)

    @contextmanager
    def held(self) -> Iterator[None]:
        """No lane is within a batch meanwhile. Raises BackupError when one does not come to its end."""
        if not self._anybody_works():
            self._require_no_begun_batch()
            yield
            return
        self._until_ms = self.clock() + HOLD_MS
        self.lanes.hold(self._until_ms)
        try:
            self._await_batches()
            yield
            self.keep()
        finally:
            self.lanes.hold(0)

    def keep(self) -> None:
        """Go on holding. Raises BackupError when the lanes were let go in between, as this process stood still."""
        if not self._until_ms:
            return
        now_ms = self.clock()
        if now_ms >= self._until_ms:
            raise BackupError("The backup stood still for so long that the lanes went on; make it again.")
        if self._until_ms - now_ms < HOLD_MS // 2:
            self._until_ms = now_ms + HOLD_MS
            self.lanes.hold(self._until_ms)

    def _await_batches(self) -> None:
        began_ms = self.clock()
        while self.lanes.begun_batches():
            if self.clock() - began_ms > PATIENCE_MS:
                raise BackupError(
                    f"A lane did not come to the end of its batch within {PATIENCE_MS // 1000} seconds; see why in the"
                    " resident_lane runs, then make the backup again."
                )
            self.keep()
            self.sleep(_POLL_SECONDS)

    def _anybody_works(self) -> bool:
        states = (self.lanes.state(name) for name in self.lanes.names())
        return any(state.holder and state.expires_at_ms > self.clock() for state in states)

    def _require_no_begun_batch(self) -> None:
        if self.lanes.begun_batches():
            raise BackupError(
                "A lane has begun a batch and no run finishes it; start the stack with 'wakeline up', then make the"
                " backup again."
            )
