"""A test message through the channels."""

from wakeline.alerts.channels import open_channels
from wakeline.alerts.machine import Kind
from wakeline.alerts.problem import Severity
from wakeline.alerts.text import Message, moment
from wakeline.errors import ConfigError
from wakeline.settings import Settings


def try_channels(settings: Settings, only: str | None, now_ms: int) -> dict[str, str | None]:
    """Channel -> None when it took the message, else why not. Raises ConfigError when there is none of that name."""
    channels = open_channels(settings.alerts)
    if not channels:
        raise ConfigError("There is no channel; add a table [alerts.channels.NAME] with a url, see docs/alerts.md.")
    if only is not None and only not in channels:
        raise ConfigError(f"There is no channel '{only}'; known are {', '.join(channels)}.")
    body = f"Sent by hand at {moment(now_ms)}. Nothing is wrong; alerts would come the same way."
    message = Message("Test of Wakeline's alerts", body, Kind.OPENED, Severity.INFO)
    return {name: channel.send(message) for name, channel in channels.items() if only in (None, name)}
