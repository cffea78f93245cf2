"""Pausing lanes, letting them go on, and draining them: for people."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from wakeline.clock import Clock, to_iso
from wakeline.engines import open_database
from wakeline.errors import ConfigError, ReplayError
from wakeline.pipeline.factory import lane_store
from wakeline.pipeline.lanes import LanePause, LaneStore
from wakeline.settings import Settings

_LOOK_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class LaneControl:
    """The switches of the lanes."""

    lanes: LaneStore
    clock: Clock
    sleep: Callable[[float], None]

    def pause(self, lane: str, paused_by: str, reason: str) -> LanePause:
        """Let no run process a lane from now on; its present run ends after the batch that it is at.

        Raises ConfigError when there is no such lane, or when the reason is blank.
        """
        return self._pause([lane], paused_by, reason, 0)[0]

    def resume(self, lane: str) -> bool:
        """Let a lane go on; whether it was paused. Raises ConfigError when there is no such lane."""
        return self.lanes.resume(lane)

    def drain(self, paused_by: str, reason: str, wait_seconds: float) -> int:
        """Let every lane process what is in the stream up to now and then stand still; returns that time when all do.

        A lane that is paused stays as it is. The collector goes on taking events. Raises ReplayError when a lane is at
        work after `wait_seconds` still; it stops by itself all the same.
        """
        now_ms = self.clock()
        at_work = [lane for lane in self.lanes.names() if not self.lanes.is_paused(lane)]
        self._pause(at_work, paused_by, reason, now_ms)
        while moving := [lane for lane in self.lanes.names() if not self.stands_still(lane)]:
            if self.clock() - now_ms >= wait_seconds * 1000:
                raise ReplayError(
                    f"After {wait_seconds:g} seconds lanes {', '.join(moving)} have not read what was in the stream at"
                    f" {to_iso(now_ms)}; they go on and stop once they have. If no run has them, turn lane_sensor on."
                )
            self.sleep(_LOOK_SECONDS)
        return now_ms

    def stands_still(self, lane: str) -> bool:
        """Whether a lane is paused and no run is at work on it any more."""
        state = self.lanes.state(lane)
        is_free = not state.holder or state.expires_at_ms <= self.clock()
        return is_free and self.lanes.is_paused(lane)

    def _pause(self, names: Sequence[str], paused_by: str, reason: str, after_ms: int) -> list[LanePause]:
        if not reason.strip():
            raise ConfigError("Why are lanes paused? Give a reason; it is shown to whoever resumes them.")
        for lane in names:
            self.lanes.require_lane(lane)
        now_ms = self.clock()
        pauses = [LanePause(lane, paused_by, reason.strip(), now_ms, after_ms) for lane in names]
        for pause in pauses:
            self.lanes.pause(pause)
        return pauses


@contextmanager
def open_lane_control(settings: Settings, clock: Clock, sleep: Callable[[float], None]) -> Iterator[LaneControl]:
    """The switches of the settings' lanes."""
    database = open_database(settings)
    try:
        yield LaneControl(lane_store(settings, database), clock, sleep)
    finally:
        database.dispose()
