"""Channels through Apprise. Their addresses hold secrets, and Apprise logs them: nothing of its log is let through."""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import unquote

import apprise

from wakeline.alerts.concerns import BY_NAME
from wakeline.alerts.machine import Kind, Notice
from wakeline.alerts.problem import Severity
from wakeline.alerts.settings import AlertSettings, ChannelSettings
from wakeline.alerts.text import Message
from wakeline.errors import ConfigError

_NO_REASON = "The channel did not take the message."
#: Parts of an address that are shorter than this are in too many words to be taken out of a sentence.
_SHORTEST_SECRET = 5
_MOST_OF_A_REASON = 300

_TYPES = {
    Severity.INFO: apprise.NotifyType.INFO,
    Severity.WARNING: apprise.NotifyType.WARNING,
    Severity.ERROR: apprise.NotifyType.FAILURE,
    Severity.CRITICAL: apprise.NotifyType.FAILURE,
}


class Channel(Protocol):
    """Where messages go."""

    def send(self, message: Message) -> str | None:
        """None when the channel took it, else why not, in a sentence without secrets."""


@dataclass(frozen=True, slots=True)
class AppriseChannel:
    """One address of the settings."""

    url: str = field(repr=False)
    service: apprise.Apprise = field(repr=False)

    def send(self, message: Message) -> str | None:
        """As the protocol says; a service that does not answer within its time-out (4 s) has not taken it."""
        recovered = message.kind is Kind.RECOVERED
        _HEARING.said = _NO_REASON
        taken = self.service.notify(
            title=message.title,
            body=message.body,
            notify_type=apprise.NotifyType.SUCCESS if recovered else _TYPES[message.severity],
            body_format=apprise.NotifyFormat.TEXT,
        )
        return None if taken else without_secrets(_HEARING.said, self.url)


def open_channels(settings: AlertSettings) -> dict[str, Channel]:
    """The channels of the settings, by name. Raises ConfigError naming the key of one that Apprise does not know."""
    _require_known_concerns(settings)
    _hush()
    return {name: _open(name, one) for name, one in settings.channels.items()}


def route(notice: Notice, channels: Mapping[str, ChannelSettings]) -> list[str]:
    """Names of the channels that hear of a notice; that a channel is down is not told through it."""
    own = {alert.key.removeprefix("channel/") for alert in notice.alerts if notice.concern.name == "channel"}
    return [
        name
        for name, one in channels.items()
        if notice.severity >= Severity.of(one.min_severity)
        and notice.concern.name in (one.concerns or BY_NAME)
        and name not in own
    ]


def without_secrets(said: str, url: str) -> str:
    """A sentence without anything that stands in the address."""
    first = said.strip().splitlines()[0][:_MOST_OF_A_REASON] if said.strip() else _NO_REASON
    scheme, _, rest = url.partition("://")
    parts = {scheme + "://" + rest, rest, *re.split(r"[/:@?&=,\s]+", rest)}
    for part in sorted(parts | {unquote(part) for part in parts}, key=len, reverse=True):
        if len(part) >= _SHORTEST_SECRET:
            first = first.replace(part, "***")
    return first


def _open(name: str, settings: ChannelSettings) -> AppriseChannel:
    asset = apprise.AppriseAsset(
        app_id="Wakeline",
        app_desc="Wakeline alerts",
        async_mode=False,
        allow_templates=False,
        secure_logging=True,
        storage_mode=apprise.PersistentStoreMode.MEMORY,
    )
    service = apprise.Apprise(asset=asset)
    if not service.add(settings.url):
        raise ConfigError(
            f"alerts.channels.{name}.url is no address that Apprise knows, or a part of it is missing; see"
            " docs/alerts.md for examples."
        )
    for one in service:
        if one.overflow_mode == apprise.OverflowMode.UPSTREAM:
            # A service refuses what is too long for it, and everything behind that message would wait for a day.
            one.overflow_mode = apprise.OverflowMode.TRUNCATE
    return AppriseChannel(settings.url, service)


def _require_known_concerns(settings: AlertSettings) -> None:
    named = {f"channels.{name}.concerns": one.concerns for name, one in settings.channels.items()}
    named["maintenance.concern"] = [one.concern for one in settings.maintenance if one.concern]
    for key, concerns in named.items():
        for concern in concerns:
            if concern not in BY_NAME:
                raise ConfigError(f"alerts.{key} names '{concern}'; known concerns are {', '.join(BY_NAME)}.")


class _Hearing(logging.Filter):
    """Keeps the last warning of Apprise, which says why a service took nothing, and lets nothing through."""

    said = ""

    def filter(self, record: logging.LogRecord) -> bool:
        """Called by the logger with everything it is to log."""
        if record.levelno >= logging.WARNING:
            self.said = record.getMessage()
        return False


_LOGGER = logging.getLogger("apprise")
_HEARING = _Hearing()


def _hush() -> None:
    _LOGGER.addFilter(_HEARING)
    # At the level below it logs paths of requests, and in them are tokens.
    logging.getLogger("urllib3.connectionpool").setLevel(logging.INFO)
