"""Postmark's webhooks.

Events: https://postmarkapp.com/developer/webhooks/webhooks-overview
Types of bounces: https://postmarkapp.com/developer/api/bounce-api#bounce-types
Proof: https://postmarkapp.com/developer/webhooks/webhooks-overview#protecting-your-webhook
"""

from collections.abc import Callable, Mapping
from typing import Any

from wakeline.activation.esp.metadata import read_metadata
from wakeline.collector.envelope import parse_object
from wakeline.collector.webhooks import reports
from wakeline.collector.webhooks.protocol import WebhookAnswer, WebhookRequest
from wakeline.collector.webhooks.reading import address_at, at, digest, ms_of_iso, object_at, text_at, truncate_ips
from wakeline.collector.webhooks.reports import Click, Meaning, Report, message_of
from wakeline.collector.webhooks.settings import PostmarkWebhook
from wakeline.collector.webhooks.signing import require_basic_auth

_TIMES = ("DeliveredAt", "BouncedAt", "ReceivedAt", "ChangedAt")

#: Types of bounces that say that there is no such address; all others may pass.
_HARD = frozenset({"HardBounce", "BadEmailAddress"})
_DEFERRED = frozenset({"Transient"})
_NOT_ATTEMPTED = frozenset({"ManuallyDeactivated", "Unconfirmed", "SMTPApiError", "TemplateRenderingFailed"})
#: Types of answers to a mail that arrived.
_NO_BOUNCES = frozenset({"Subscribe", "AutoResponder", "AddressChange", "ChallengeVerification", "InboundError"})


class PostmarkAdapter:
    """Takes the reports of one Postmark server; Postmark signs nothing, so that there is no time to check."""

    def __init__(self, name: str, settings: PostmarkWebhook) -> None:
        self._settings = settings

    async def receive(self, request: WebhookRequest) -> WebhookAnswer:
        """The message of a report; see `protocol.Webhook`."""
        require_basic_auth(request.headers, self._settings.username, self._settings.password)
        event = parse_object(request.body)
        truncate_ips(event)
        return WebhookAnswer([_message(event)])


def _message(event: dict[str, Any]) -> Any:
    """The message of one report; what has no time or no address stays as it is and is quarantined later."""
    times = [ms_of_iso(event[name]) for name in _TIMES if name in event]
    occurred_at_ms = times[0] if times else None
    email = address_at(event, "Recipient") or address_at(event, "Email")
    if occurred_at_ms is None or not email:
        return event
    event_type = text_at(event, "RecordType")
    return message_of(
        Report(
            provider="postmark",
            event_type=event_type,
            event_id=_event_id(event, event_type, occurred_at_ms, email),
            email=email,
            occurred_at_ms=occurred_at_ms,
            meaning=_MEANINGS[event_type](event) if event_type in _MEANINGS else reports.unknown(event),
            mail_id=text_at(event, "MessageID"),
            send=read_metadata(object_at(event, "Metadata")),
        )
    )


def _event_id(event: dict[str, Any], event_type: str, occurred_at_ms: int, email: str) -> str:
    """Bounces and complaints have an id; others are known by what they tell, and when."""
    own = text_at(event, "ID")
    mail_id, link = text_at(event, "MessageID"), text_at(event, "OriginalLink")
    suppressed = str(at(event, "SuppressSending"))
    return f"{event_type}-{own}" if own else digest(event_type, mail_id, occurred_at_ms, email, link, suppressed)


def _bounced(event: dict[str, Any]) -> Meaning:
    kind = text_at(event, "Type")
    detail = text_at(event, "Details") or text_at(event, "Description")
    if kind == "SpamComplaint":
        return Meaning(reports.MARKED_AS_SPAM)
    if kind == "Unsubscribe":
        return reports.unsubscribed("", "")
    if kind in _NO_BOUNCES:
        return reports.unknown(event)
    if kind in _NOT_ATTEMPTED:
        return reports.dropped(kind, diagnostic=detail)
    if kind in _DEFERRED:
        return reports.deferred(detail)
    return reports.bounced(kind in _HARD, detail, bounce_classification=kind)


def _opened(event: dict[str, Any]) -> Meaning:
    return reports.opened(text_at(event, "UserAgent"), text_at(event, "Geo", "IP"))


def _clicked(event: dict[str, Any]) -> Meaning:
    link = Click(text_at(event, "OriginalLink"))
    return reports.clicked(link, text_at(event, "UserAgent"), text_at(event, "Geo", "IP"))


def _subscription_changed(event: dict[str, Any]) -> Meaning:
    """Only a suppression by the recipient is an opt-out.

    Suppressions after bounces and complaints are reported on their own. Those by us, and reactivations by whomever, are
    no word of the person.
    """
    is_opt_out = (
        at(event, "SuppressSending") is True
        and text_at(event, "Origin") == "Recipient"
        and text_at(event, "SuppressionReason") == "ManualSuppression"
    )
    return reports.unsubscribed("", "") if is_opt_out else reports.unknown(event)


_MEANINGS: Mapping[str, Callable[[dict[str, Any]], Meaning]] = {
    "Delivery": lambda event: reports.delivered(text_at(event, "Details")),
    "Bounce": _bounced,
    "SpamComplaint": lambda event: Meaning(reports.MARKED_AS_SPAM),
    "Open": _opened,
    "Click": _clicked,
    "SubscriptionChange": _subscription_changed,
}
