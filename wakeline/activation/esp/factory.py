"""The adapters that the settings name."""

from collections.abc import Callable
from typing import Any

from wakeline.activation.esp.outbox import OutboxEsp
from wakeline.activation.esp.protocol import Esp
from wakeline.activation.esp.settings import OUTBOX
from wakeline.clock import Clock
from wakeline.errors import ConfigError
from wakeline.section import Section
from wakeline.settings import Settings

#: What opens the adapter of a table, given the table's name, the table and the clock.
_Open = Callable[[str, Any, Clock], Esp]


def open_esp(settings: Settings, clock: Clock) -> Esp:
    """The email service providers of `activation.esp` as one; raises ConfigError for one that is wrong."""
    esps = [_open_one(name, settings, clock) for name in settings.activation.esp]
    if len(esps) > 1:
        raise ConfigError("activation.esp names several providers, and there is no fail-over between them; name one.")
    return esps[0]


def _open_one(name: str, settings: Settings, clock: Clock) -> Esp:
    if name == OUTBOX:
        return OutboxEsp(settings.outbox_dir, clock)
    section = settings.esp[name]
    return _ADAPTERS[type(section)](name, section, clock)


#: Table of the settings -> what opens its adapter.
_ADAPTERS: dict[type[Section], _Open] = {}
