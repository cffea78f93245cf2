"""Pausing campaigns and letting them go on: for people, and for the watch over bounces and complaints."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from wakeline.activation.campaigns import load_campaigns
from wakeline.activation.ledger.protocol import Ledger
from wakeline.clock import Clock
from wakeline.engines import open_database
from wakeline.errors import ConfigError
from wakeline.pipeline.factory import open_ledger
from wakeline.settings import Settings


@dataclass(frozen=True, slots=True)
class Control:
    """The switch of every campaign."""

    ledger: Ledger
    clock: Clock
    campaigns: Collection[str]

    def pause(self, campaign: str, paused_by: str, reason: str) -> Mapping[str, Any]:
        """Hold a campaign's sends from now on; the pause that is in force, which may be an earlier one.

        Raises ConfigError when there is no such campaign, or when the reason is blank.
        """
        self._require_known(campaign)
        if not reason.strip():
            raise ConfigError(f"Why is '{campaign}' paused? Give a reason; it is shown to whoever resumes it.")
        why, now_ms = reason.strip(), self.clock()
        self.ledger.pause(campaign, paused_by, why, now_ms)
        own = {"campaign": campaign, "paused_by": paused_by, "reason": why, "paused_at_ms": now_ms}
        return self.ledger.pauses().get(campaign, own)  # Somebody may have resumed it at once.

    def resume(self, campaign: str, resumed_by: str) -> bool:
        """Let a campaign's sends go on; whether it was paused. Raises ConfigError when there is no such campaign."""
        self._require_known(campaign)
        return self.ledger.resume(campaign, resumed_by, self.clock())

    def _require_known(self, campaign: str) -> None:
        # A campaign whose folder is gone may still be paused, and its sends held.
        known = sorted({*self.campaigns, *self.ledger.pauses()})
        if campaign not in known:
            raise ConfigError(f"There is no campaign '{campaign}'; known are {', '.join(known)}.")


@contextmanager
def open_control(settings: Settings, clock: Clock) -> Iterator[Control]:
    """The switches of the settings' campaigns, on their ledger."""
    campaigns = load_campaigns(settings.campaigns_dir)
    database = open_database(settings)
    try:
        yield Control(open_ledger(database, 0), clock, campaigns)  # Nothing is settled through it.
    finally:
        database.dispose()
