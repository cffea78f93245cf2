"""Alerts as the settings want them: what a sensor hands its look to, and what the command line asks."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from wakeline.activation.quiet_hours import QuietHours
from wakeline.alerts.channels import Channel, open_channels, route
from wakeline.alerts.concerns import Concern
from wakeline.alerts.database import open_alert_database
from wakeline.alerts.outbox import Outbox
from wakeline.alerts.problem import Look
from wakeline.alerts.settings import AlertSettings
from wakeline.alerts.silences import Silence, Window, is_silenced
from wakeline.alerts.store import Rules, Store
from wakeline.alerts.text import Message
from wakeline.settings import Settings

_HOUR_MS = 3_600_000
#: Messages are kept for so long.
_KEEP_MS = 90 * 24 * _HOUR_MS


@dataclass(frozen=True, slots=True)
class Book:
    """The alerts of one deployment."""

    settings: AlertSettings
    rules: Rules
    store: Store
    outbox: Outbox
    channels: dict[str, Channel]
    windows: tuple[Window, ...]

    def take(self, concern: Concern, look: Look, now_ms: int) -> tuple[Message, ...]:
        """Take what a concern sees; returns what is told of it. Raises AlertError."""

        def silenced(name: str, key: str, silences: Sequence[Silence]) -> bool:
            return is_silenced(name, key, now_ms, silences, self.windows)

        return self.store.take(
            concern, look, now_ms, self.rules, silenced, lambda notice: route(notice, self.settings.channels)
        )

    def forget(self, now_ms: int) -> None:
        """Delete messages that are three months old."""
        self.store.forget(now_ms - _KEEP_MS)


@contextmanager
def open_book(settings: Settings) -> Iterator[Book]:
    """The book of the settings. Raises ConfigError or AlertError."""
    channels = open_channels(settings.alerts)
    engine = open_alert_database(settings)
    try:
        yield Book(settings.alerts, rules(settings), Store(engine), Outbox(engine), channels, windows(settings.alerts))
    finally:
        engine.dispose()


def rules(settings: Settings) -> Rules:
    """How the settings want alerts to be told."""
    return Rules(round(settings.alerts.remind_hours * _HOUR_MS), settings.sla.window_minutes * 60_000)


def windows(settings: AlertSettings) -> tuple[Window, ...]:
    """The maintenance windows of the settings."""
    return tuple(
        Window(
            tuple(one.days),
            QuietHours(_minute_of_day(one.start), _minute_of_day(one.end)),
            ZoneInfo(one.time_zone),
            one.concern,
            one.key,
        )
        for one in settings.maintenance
    )


def _minute_of_day(time: str) -> int:
    hour, minute = time.split(":")
    return int(hour) * 60 + int(minute)
