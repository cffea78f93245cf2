"""Mailgun's webhooks.

Events: https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/webhook-payloads
Bots: https://documentation.mailgun.com/docs/mailgun/user-manual/tracking-messages/open-click-bot-detect
Proof: https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/securing-webhooks
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from wakeline.activation.esp.metadata import read_metadata
from wakeline.collector.envelope import parse_object
from wakeline.collector.mail.labels import APPLE_MAIL_PRIVACY, BOT
from wakeline.collector.webhooks import reports
from wakeline.collector.webhooks.protocol import WebhookAnswer, WebhookRequest, forged
from wakeline.collector.webhooks.reading import (
    address_at,
    at,
    digest,
    ms_of_seconds,
    object_at,
    text_at,
    truncate_ips,
)
from wakeline.collector.webhooks.reports import Click, Meaning, Report, message_of
from wakeline.collector.webhooks.settings import MailgunWebhook
from wakeline.collector.webhooks.signing import HOUR_MS, hmac_sha256, require_fresh, same

# Mailgun tries for 8 hours, and does not say that it signs anew.
_MAX_AGE_MS = 9 * HOUR_MS
#: About 10 MB at most.
_TOKENS_REMEMBERED = 50_000
#: With `parent-signature` the account above a subaccount signs as well.
_SIGNATURES = ("signature", "parent-signature")


class MailgunAdapter:
    """Takes the reports of one Mailgun account.

    Mailgun signs a time and a token, and not what it reports. So each token stands for one report: a recorded signature
    does not fit another. Clicks sooner than `too_soon_ms` after the delivery are a scanner's.
    """

    def __init__(self, name: str, settings: MailgunWebhook, too_soon_ms: float) -> None:
        self._key = settings.signing_key.encode()
        self._too_soon_ms = too_soon_ms
        self._reported: OrderedDict[str, str] = OrderedDict()

    async def receive(self, request: WebhookRequest) -> WebhookAnswer:
        """The message of a report; see `protocol.Webhook`."""
        content = parse_object(request.body)
        self._require_genuine(content, request.now_ms)
        truncate_ips(content)
        event = content.get("event-data")
        self._require_unused(text_at(content, "signature", "token"), digest(event))
        return WebhookAnswer([_message(event, self._too_soon_ms)])

    def _require_genuine(self, content: dict[str, Any], now_ms: int) -> None:
        signature = object_at(content, "signature")
        signed_at, token = text_at(signature, "timestamp"), text_at(signature, "token")
        given = [found for name in _SIGNATURES if (found := text_at(signature, name))]
        if not signed_at or not token or not given:
            raise forged("The body has no signature with its timestamp and token.")
        expected = hmac_sha256(self._key, f"{signed_at}{token}".encode()).hex().encode()
        if not any([same(one, expected) for one in given]):
            raise forged("The signature is wrong; check signing_key.")
        require_fresh(ms_of_seconds(signed_at), now_ms, _MAX_AGE_MS)

    def _require_unused(self, token: str, reported: str) -> None:
        if self._reported.setdefault(token, reported) != reported:
            raise forged("The token of the signature came before, with another report.")
        self._reported.move_to_end(token)
        if len(self._reported) > _TOKENS_REMEMBERED:
            self._reported.popitem(last=False)


def _message(event: Any, too_soon_ms: float) -> Any:
    """The message of one report; what has no time or no address stays as it is and is quarantined later."""
    occurred_at_ms = ms_of_seconds(at(event, "timestamp"))
    # A rejected mail has no recipient yet.
    email = address_at(event, "recipient") or address_at(event, "message", "headers", "to")
    if occurred_at_ms is None or not email:
        return event
    event_type, mail_id = text_at(event, "event"), text_at(event, "message", "headers", "message-id")
    own_id = text_at(event, "id")
    return message_of(
        Report(
            provider="mailgun",
            event_type=event_type,
            # An id is unique within a day only.
            event_id=f"{own_id}-{occurred_at_ms}" if own_id else digest(event),
            email=email,
            occurred_at_ms=occurred_at_ms,
            meaning=_meaning(event_type, event, too_soon_ms),
            mail_id=mail_id,
            send=read_metadata(object_at(event, "user-variables"), message_id=mail_id),
        )
    )


def _meaning(event_type: str, event: Any, too_soon_ms: float) -> Meaning:
    if event_type == "clicked":
        return _clicked(event, too_soon_ms)
    return _MEANINGS[event_type](event) if event_type in _MEANINGS else reports.unknown(event)


def _diagnostic(event: Any) -> str:
    """The SMTP answer, `550 5.1.1 ...`."""
    status = object_at(event, "delivery-status")
    answer = text_at(status, "message") or text_at(status, "description")
    return " ".join(part for part in (text_at(status, "code"), answer) if part)


def _failed(event: Any) -> Meaning:
    reason, diagnostic = text_at(event, "reason"), _diagnostic(event)
    if reason.startswith("suppress-"):
        return reports.dropped(reason, diagnostic=diagnostic)
    if text_at(event, "severity") == "temporary":
        return reports.deferred(diagnostic)
    # Earlier reports have no bounce-type.
    bounce_type = text_at(event, "delivery-status", "bounce-type") or ("hard" if reason == "bounce" else "")
    is_hard = text_at(event, "severity") == "permanent" and bounce_type == "hard"
    return reports.bounced(is_hard, diagnostic, bounce_classification=reason)


def _rejected(event: Any) -> Meaning:
    return reports.dropped(text_at(event, "reject", "reason") or text_at(event, "reason"))


def _known(event: Any) -> dict[str, Any] | None:
    """What Mailgun has found out about a program; None when it has found none."""
    bot = text_at(event, "client-info", "bot")
    reason = APPLE_MAIL_PRIVACY if bot == "apple" else BOT
    return {"automated": True, "automated_reason": reason} if bot else None


def _opened(event: Any) -> Meaning:
    return reports.opened(_agent(event), text_at(event, "ip"), _known(event))


def _clicked(event: Any, too_soon_ms: float) -> Meaning:
    delivered_at_ms, clicked_at_ms = ms_of_seconds(at(event, "delivered-at")), ms_of_seconds(at(event, "timestamp"))
    click = Click(text_at(event, "url"), delivered_at_ms, clicked_at_ms, too_soon_ms)
    return reports.clicked(click, _agent(event), text_at(event, "ip"), _known(event))


def _unsubscribed(event: Any) -> Meaning:
    return reports.unsubscribed(_agent(event), text_at(event, "ip"))


def _agent(event: Any) -> str:
    return text_at(event, "client-info", "user-agent")


_MEANINGS: Mapping[str, Callable[[Any], Meaning]] = {
    "accepted": lambda event: Meaning(reports.SENT),
    "rejected": _rejected,
    "delivered": lambda event: reports.delivered(_diagnostic(event)),
    "failed": _failed,
    "opened": _opened,
    "unsubscribed": _unsubscribed,
    "complained": lambda event: Meaning(reports.MARKED_AS_SPAM),
}
