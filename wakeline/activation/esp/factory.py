"""The adapter that the settings name."""

from typing import assert_never

from wakeline.activation.esp.outbox import OutboxEsp
from wakeline.activation.esp.protocol import Esp
from wakeline.clock import Clock
from wakeline.settings import Settings


def open_esp(settings: Settings, clock: Clock) -> Esp:
    """The email service provider of `activation.esp`."""
    match settings.activation.esp:
        case "outbox":
            return OutboxEsp(settings.outbox_dir, clock)
        case other:
            assert_never(other)
