"""Waiting that shows progress and lets itself be stopped."""

from collections.abc import Callable
from dataclasses import dataclass

from wakeline.clock import Clock

# Short enough that Ctrl-C feels immediate.
_SLICE_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Pacer:
    """The time as the player sees it; `sleep` takes seconds, `stopped` says whether somebody wants an end."""

    clock: Clock
    sleep: Callable[[float], None]
    stopped: Callable[[], bool]
    tick: Callable[[], None]

    def wait_until(self, due_ms: int) -> bool:
        """True once it is due; False as soon as somebody wants an end."""
        while (remaining_ms := due_ms - self.clock()) > 0 and not self.stopped():
            self.tick()
            self.sleep(min(remaining_ms / 1000, _SLICE_SECONDS))
        return not self.stopped()
