"""From what a mail provider reports to a message of the Segment spec.

https://segment.com/docs/connections/spec/email/
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from wakeline.activation.esp.metadata import SendMetadata
from wakeline.activation.links import CLICK_PATH, UNSUBSCRIBE_PATH, VIEW_PATH
from wakeline.clock import to_iso
from wakeline.collector.mail.labels import ClickRules, label_click, label_open, user_agent
from wakeline.collector.visitor import Visitor, truncated_ip
from wakeline.collector.webhooks.reading import digest
from wakeline.events import subject_fields

SENT = "Email Sent"
DELIVERED = "Email Delivered"
DEFERRED = "Email Deferred"
BOUNCED = "Email Bounced"
DROPPED = "Email Dropped"
MARKED_AS_SPAM = "Email Marked as Spam"
OPENED = "Email Opened"
CLICKED = "Email Link Clicked"
UNSUBSCRIBED = "Unsubscribed"
#: Whatever else a provider reports, with all it had in `payload`. Nobody draws conclusions from it.
PROVIDER_EVENT = "Email Provider Event"

_MAX_MESSAGE_ID_CHARACTERS = 255
#: Paths of a mail's own links, whose query is a token that works for whoever has it.
_OWN_PATHS = (CLICK_PATH, UNSUBSCRIBE_PATH, VIEW_PATH)


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a report says in our terms; `visitor` is the device of the person it is about, where there is one."""

    event: str
    properties: Mapping[str, Any] = field(default_factory=dict)
    visitor: Visitor = field(default_factory=Visitor)


@dataclass(frozen=True, slots=True)
class Report:
    """One report about one mail to one address.

    `event_id` is the provider's own id of the report: the same whenever it is sent again, another for another address.
    """

    provider: str
    event_type: str
    event_id: str
    email: str
    occurred_at_ms: int
    meaning: Meaning
    mail_id: str = ""
    send: SendMetadata = field(default_factory=SendMetadata)


@dataclass(frozen=True, slots=True)
class Click:
    """A click `at_ms` on a link of a mail of `mail_at_ms`; sooner than `too_soon_ms` it is a scanner's.

    A time is None when the provider does not tell it.
    """

    link_url: str
    mail_at_ms: int | None = None
    at_ms: int | None = None
    too_soon_ms: float = 0

    def timing(self) -> tuple[int, ClickRules]:
        """The age of the mail and the rules for it; without a time none is too soon."""
        # https is about headers of the browser, which no provider passes on.
        if self.mail_at_ms is None or self.at_ms is None:
            return 0, ClickRules(0, https=False)
        return self.at_ms - self.mail_at_ms, ClickRules(self.too_soon_ms, https=False)


def message_of(report: Report) -> dict[str, Any]:
    """The message of a report; with a profile id in the send's metadata it is that profile's, else the address's."""
    properties = {
        "email": report.email,
        "idempotency_key": report.send.key,
        "campaign": report.send.campaign,
        "provider": report.provider,
        "provider_event": report.event_type,
        "provider_message_id": report.mail_id,
    }
    return {
        "type": "track",
        "event": report.meaning.event,
        "messageId": _message_id(report.provider, report.event_id),
        "timestamp": to_iso(report.occurred_at_ms),
        **_ids(report.send.profile_id),
        "properties": {**_filled(properties), **report.meaning.properties},
        "context": _context(report.meaning.visitor),
    }


def bounced(is_hard: bool, diagnostic: str, **more: str) -> Meaning:
    """The receiving server refused the mail; only a hard bounce says that there is no such address."""
    bounce_type = "hard" if is_hard else "soft"
    return Meaning(BOUNCED, {"bounce_type": bounce_type, **_filled({"diagnostic": diagnostic, **more})})


def delivered(diagnostic: str) -> Meaning:
    """The receiving server took the mail."""
    return Meaning(DELIVERED, _filled({"diagnostic": diagnostic}))


def deferred(diagnostic: str, **more: str) -> Meaning:
    """The receiving server did not take the mail yet, and the provider tries again."""
    return Meaning(DEFERRED, _filled({"diagnostic": diagnostic, **more}))


def dropped(reason: str, **more: str) -> Meaning:
    """The provider did not even try."""
    return Meaning(DROPPED, _filled({"reason": reason, **more}))


def opened(agent: str | None, ip: str, known: Mapping[str, Any] | None = None) -> Meaning:
    """An open, labelled by its user agent, or with what the provider has found out (`known`).

    The agent is None when the provider tells none: then nothing speaks for a program.
    """
    headers = {"user-agent": agent or ""}
    labels = label_open(headers) if agent is not None else {"automated": False}
    return Meaning(OPENED, known or labels, Visitor(ip, user_agent(headers)))


def clicked(click: Click, agent: str | None, ip: str, known: Mapping[str, Any] | None = None) -> Meaning:
    """A click, labelled like an open, and by how soon after the mail it came where the provider tells."""
    headers = {"user-agent": agent or ""}
    link = _filled({"link_url": _without_token(click.link_url)})
    labels = label_click(headers, *click.timing()) if agent is not None else {"automated": False}
    return Meaning(CLICKED, {**link, **(known or labels)}, Visitor(ip, user_agent(headers)))


def unsubscribed(agent: str, ip: str, **more: str) -> Meaning:
    """The person opted out. Which of our purposes is meant no provider knows, so that it is marketing as a whole."""
    return Meaning(UNSUBSCRIBED, _filled(more), Visitor(ip, user_agent({"user-agent": agent})))


def unknown(payload: Any) -> Meaning:
    """A report that has no name in our terms; it is nothing that the person did."""
    return Meaning(PROVIDER_EVENT, {"automated": True, "payload": payload})


def _message_id(provider: str, event_id: str) -> str:
    found = f"{provider}-{event_id}"
    return found if len(found) <= _MAX_MESSAGE_ID_CHARACTERS else f"{provider}-{digest(event_id)}"


def _ids(profile_id: str) -> dict[str, str]:
    try:
        return subject_fields(profile_id)[0]
    except ValueError:  # None was sent along, or none of ours: the address is left.
        return {}


def _context(visitor: Visitor) -> dict[str, str]:
    return _filled({"ip": truncated_ip(visitor.ip), "userAgent": visitor.user_agent})


def _without_token(url: str) -> str:
    try:
        path = urlsplit(url).path
    except ValueError:  # No address at all.
        return url
    return url.partition("?")[0] if path.endswith(_OWN_PATHS) else url


def _filled(values: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in values.items() if value}
