"""Amazon SES, which reports through an SNS topic.

Event publishing: https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-sns-contents.html
Notifications: https://docs.aws.amazon.com/ses/latest/dg/notification-contents.html
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any

from wakeline.activation.esp.metadata import SendMetadata, read_metadata
from wakeline.clock import to_iso
from wakeline.collector.envelope import parse_json, parse_object
from wakeline.collector.refused import RefusedError
from wakeline.collector.webhooks import reports
from wakeline.collector.webhooks.fetching import Fetch
from wakeline.collector.webhooks.protocol import WebhookAnswer, WebhookRequest
from wakeline.collector.webhooks.reading import (
    address_at,
    at,
    digest,
    list_at,
    ms_of_iso,
    object_at,
    text_at,
    truncate_ips,
)
from wakeline.collector.webhooks.reports import Click, Meaning, Report, message_of
from wakeline.collector.webhooks.settings import SesWebhook
from wakeline.collector.webhooks.sns import CONFIRMATION, NOTIFICATION, Topics

_logger = logging.getLogger(__name__)

#: Type of event -> where its facts stand.
_SECTIONS = {
    "Bounce": "bounce",
    "Click": "click",
    "Complaint": "complaint",
    "Delivery": "delivery",
    "DeliveryDelay": "deliveryDelay",
    "Open": "open",
    "Reject": "reject",
    "Rendering Failure": "failure",
    "Send": "send",
    "Subscription": "subscription",
}
#: Type of event -> where the addresses stand that it is about; all others are about every recipient of the mail.
_RECIPIENTS = {
    "Bounce": "bouncedRecipients",
    "Complaint": "complainedRecipients",
    "Delivery": "recipients",
    "DeliveryDelay": "delayedRecipients",
}
#: Done by one recipient, and SES does not say by which.
_BY_ONE = frozenset({"Open", "Click", "Subscription"})
#: Bounces that SES makes itself, because of earlier ones or of what is set in the account.
_NOT_ATTEMPTED = frozenset({"Suppressed", "OnAccountSuppressionList", "UnsubscribedRecipient"})
#: Types of feedback (RFC 5965, RFC 6591) that are no complaint of a person.
_NO_COMPLAINTS = frozenset({"not-spam", "auth-failure"})


class SesAdapter:
    """Takes what some SNS topics publish; clicks sooner than `too_soon_ms` after the mail are a scanner's."""

    def __init__(self, name: str, settings: SesWebhook, too_soon_ms: float, fetch: Fetch) -> None:
        self._name = name
        self._topics = Topics(settings.topic_arns, fetch)
        self._too_soon_ms = too_soon_ms

    async def receive(self, request: WebhookRequest) -> WebhookAnswer:
        """The messages of a notification; see `protocol.Webhook`. RefusedError is 503 when SNS is out of reach."""
        envelope = parse_object(request.body)
        signed = await self._topics.require_genuine(envelope, request.now_ms)
        match signed["Type"]:
            case kind if kind == NOTIFICATION:
                return WebhookAnswer(_messages(signed, self._too_soon_ms))
            case kind if kind == CONFIRMATION:
                await self._topics.confirm(signed)
                _logger.info("webhooks.%s is now told what %s publishes.", self._name, signed["TopicArn"])
                return WebhookAnswer()
        _logger.warning("webhooks.%s is no longer told what %s publishes.", self._name, signed["TopicArn"])
        return WebhookAnswer([_unsubscription(signed, request.now_ms)])


def bounce_of(bounce_type: str, sub_type: str, diagnostic: str) -> Meaning:
    """A bounce in the terms of SES; only `Permanent` says that there is no such address."""
    if sub_type in _NOT_ATTEMPTED:
        return reports.dropped(sub_type, diagnostic=diagnostic)
    classification = "/".join(part for part in (bounce_type, sub_type) if part)
    return reports.bounced(bounce_type == "Permanent", diagnostic, bounce_classification=classification)


def headers_of(headers: list[Any]) -> dict[str, str]:
    """The headers of a mail by their names in lower case, of a list of names and values."""
    return {text_at(header, "name").lower(): text_at(header, "value") for header in headers}


def _unsubscription(signed: dict[str, str], now_ms: int) -> dict[str, Any]:
    """That the subscription ended: about nobody, so that it ends in quarantine, where it is seen.

    Its token and address are left out: they would subscribe again.
    """
    payload = {name: signed[name] for name in ("Message", "TopicArn")}
    return {
        "type": "track",
        "event": reports.PROVIDER_EVENT,
        "messageId": f"ses-{signed['MessageId']}"[:255],
        "timestamp": to_iso(ms_of_iso(signed["Timestamp"]) or now_ms),
        "properties": {"provider": "ses", "provider_event": signed["Type"], **reports.unknown(payload).properties},
    }


def _messages(signed: dict[str, str], too_soon_ms: float) -> list[Any]:
    """One message for each recipient; what cannot be read stays as it is and is quarantined later."""
    try:
        event = parse_json(signed["Message"].encode(errors="replace"))
    except RefusedError:  # SNS and SES say a few things in plain words.
        return [signed]
    truncate_ips(event)
    kind = text_at(event, "eventType") or text_at(event, "notificationType")
    section = object_at(event, _SECTIONS.get(kind, ""))
    occurred_at_ms = ms_of_iso(section.get("timestamp")) or ms_of_iso(at(event, "mail", "timestamp"))
    recipients = _recipients(kind, section, object_at(event, "mail"))
    if occurred_at_ms is None or not recipients:
        return [event]
    send = _send(object_at(event, "mail"))
    messages: list[Any] = [
        message_of(
            Report(
                provider="ses",
                event_type=kind,
                event_id=f"{signed['MessageId']}-{digest(email.lower())[:16]}",
                email=email,
                occurred_at_ms=occurred_at_ms,
                meaning=_meaning(kind, event, entry, too_soon_ms),
                mail_id=text_at(event, "mail", "messageId"),
                send=send,
            )
        )
        for email, entry in recipients
        if email
    ]
    return messages if len(messages) == len(recipients) else [*messages, event]


def _recipients(kind: str, section: dict[str, Any], mail: dict[str, Any]) -> list[tuple[str, Any]]:
    """Each address with what is told of it; an empty address for an entry that has none."""
    if kind in _RECIPIENTS:
        entries = list_at(section, _RECIPIENTS[kind])
    else:
        entries = list_at(mail, "destination")
        if kind in _BY_ONE and len(entries) > 1:
            return []
    named = [entry if isinstance(entry, dict) else {"emailAddress": entry} for entry in entries]
    return [(address_at(entry, "emailAddress"), entry) for entry in named]


def _send(mail: dict[str, Any]) -> SendMetadata:
    """The values of tags are lists; they cannot hold a colon, so that there is no profile id among them."""
    tags = {name: values[0] for name, values in object_at(mail, "tags").items() if isinstance(values, list) and values}
    headers = headers_of(list_at(mail, "headers"))
    return read_metadata(tags, headers, headers.get("message-id") or text_at(mail, "commonHeaders", "messageId"))


def _meaning(kind: str, event: Any, entry: Any, too_soon_ms: float) -> Meaning:
    section = object_at(event, _SECTIONS.get(kind, ""))
    if kind == "Click":
        return _clicked(section, ms_of_iso(at(event, "mail", "timestamp")), too_soon_ms)
    found = _MEANINGS[kind](section, entry) if kind in _MEANINGS else None
    return found or reports.unknown(event)


def _bounced(bounce: dict[str, Any], recipient: Any) -> Meaning:
    diagnostic = text_at(recipient, "diagnosticCode") or text_at(recipient, "status")
    return bounce_of(text_at(bounce, "bounceType"), text_at(bounce, "bounceSubType"), diagnostic)


def _complained(complaint: dict[str, Any], recipient: Any) -> Meaning | None:
    feedback = text_at(complaint, "complaintFeedbackType")
    if text_at(complaint, "complaintSubType") in _NOT_ATTEMPTED:
        return reports.dropped(text_at(complaint, "complaintSubType"))
    if feedback in _NO_COMPLAINTS:
        return None
    return Meaning(reports.MARKED_AS_SPAM, {"feedback_type": feedback} if feedback else {})


def _delayed(delay: dict[str, Any], recipient: Any) -> Meaning:
    diagnostic = text_at(recipient, "diagnosticCode") or text_at(recipient, "status")
    return reports.deferred(diagnostic, delay_type=text_at(delay, "delayType"))


def _opened(opening: dict[str, Any], recipient: Any) -> Meaning:
    return reports.opened(text_at(opening, "userAgent"), text_at(opening, "ipAddress"))


def _clicked(click: dict[str, Any], made_at_ms: int | None, too_soon_ms: float) -> Meaning:
    link = Click(text_at(click, "link"), made_at_ms, ms_of_iso(click.get("timestamp")), too_soon_ms)
    return reports.clicked(link, text_at(click, "userAgent"), text_at(click, "ipAddress"))


def _subscribed(subscription: dict[str, Any], recipient: Any) -> Meaning | None:
    """An opt-out of a topic counts for marketing as a whole: better one mail too few. An opt-in is none of ours."""
    now = object_at(subscription, "newTopicPreferences")
    topics = [
        text_at(topic, "topicName")
        for topic in list_at(now, "topicSubscriptionStatus")
        if text_at(topic, "subscriptionStatus") == "OptOut"
    ]
    if now.get("unsubscribeAll") is not True and not topics:
        return None
    return reports.unsubscribed("", "", topics=", ".join(topics))


# A reading that is None stands for a report that has no name in our terms.
_MEANINGS: Mapping[str, Callable[[dict[str, Any], Any], Meaning | None]] = {
    "Send": lambda section, recipient: Meaning(reports.SENT),
    "Delivery": lambda section, recipient: reports.delivered(text_at(section, "smtpResponse")),
    "DeliveryDelay": _delayed,
    "Bounce": _bounced,
    "Complaint": _complained,
    "Reject": lambda section, recipient: reports.dropped(text_at(section, "reason")),
    "Rendering Failure": lambda section, recipient: reports.dropped(text_at(section, "errorMessage")),
    "Open": _opened,
    "Subscription": _subscribed,
}
