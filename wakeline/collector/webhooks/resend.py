"""Resend's webhooks, which Svix delivers and signs.

Events: https://resend.com/docs/webhooks/event-types
Proof: https://docs.svix.com/receiving/verifying-payloads/how-manual
"""

import base64
from collections.abc import Callable, Mapping
from typing import Any

from wakeline.activation.esp.metadata import read_metadata
from wakeline.collector.envelope import parse_object
from wakeline.collector.webhooks import reports
from wakeline.collector.webhooks.protocol import WebhookAnswer, WebhookRequest, forged
from wakeline.collector.webhooks.reading import address_at, at, list_at, ms_of_iso, object_at, text_at, truncate_ips
from wakeline.collector.webhooks.reports import Click, Meaning, Report, message_of
from wakeline.collector.webhooks.ses import bounce_of, headers_of
from wakeline.collector.webhooks.settings import ResendWebhook
from wakeline.collector.webhooks.signing import (
    MINUTE_MS,
    base64_bytes,
    hmac_sha256,
    require_fresh,
    require_header,
    same,
)
from wakeline.errors import ConfigError

ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER = "svix-id", "svix-timestamp", "svix-signature"

# Every attempt is signed anew; Svix's own libraries allow as much.
_MAX_AGE_MS = 5 * MINUTE_MS


class ResendAdapter:
    """Takes the reports of one Resend account; clicks sooner than `too_soon_ms` after the mail are a scanner's."""

    def __init__(self, name: str, settings: ResendWebhook, too_soon_ms: float) -> None:
        """Raises ConfigError when the signing secret is not one of Svix's."""
        key = base64_bytes(settings.signing_secret.removeprefix("whsec_"))
        if not key:
            raise ConfigError(f"webhooks.{name}.signing_secret is not what Resend shows; copy it from Webhooks again.")
        self._key = key
        self._too_soon_ms = too_soon_ms

    async def receive(self, request: WebhookRequest) -> WebhookAnswer:
        """The message of a report; see `protocol.Webhook`."""
        event_id = self._require_genuine(request)
        event = parse_object(request.body)
        truncate_ips(event)
        return WebhookAnswer([_message(event, event_id, self._too_soon_ms)])

    def _require_genuine(self, request: WebhookRequest) -> str:
        event_id, signed_at, signatures = (
            require_header(request.headers, name) for name in (ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER)
        )
        signed = f"{event_id}.{signed_at}.".encode(errors="replace") + request.body
        expected = b"v1," + base64.b64encode(hmac_sha256(self._key, signed))
        # There are two while one secret replaces another.
        if not any([same(one, expected) for one in signatures.split()]):
            raise forged("The signature is wrong; check signing_secret.")
        require_fresh(f"{signed_at}000", request.now_ms, _MAX_AGE_MS)
        return event_id


def _message(event: dict[str, Any], event_id: str, too_soon_ms: float) -> Any:
    """The message of one report; what has no time or not one address stays as it is and is quarantined later."""
    occurred_at_ms, email = ms_of_iso(event.get("created_at")), _recipient(event)
    if occurred_at_ms is None or not email:
        return event
    event_type = text_at(event, "type")
    headers = headers_of(list_at(event, "data", "headers"))
    return message_of(
        Report(
            provider="resend",
            event_type=event_type,
            event_id=event_id,
            email=email,
            occurred_at_ms=occurred_at_ms,
            meaning=_meaning(event_type, event, too_soon_ms),
            mail_id=text_at(event, "data", "email_id"),
            send=read_metadata(_tags(at(event, "data", "tags")), headers, headers.get("message-id", "")),
        )
    )


def _recipient(event: dict[str, Any]) -> str:
    """Resend does not say which of several recipients a report is about; events of contacts have one address."""
    data = object_at(event, "data")
    everybody = [*list_at(data, "to"), *list_at(data, "cc"), *list_at(data, "bcc")]
    if not everybody:
        return address_at(data, "email")
    return address_at({"to": everybody[0]}, "to") if len(everybody) == 1 else ""


def _tags(tags: Any) -> dict[str, Any]:
    """Tags are an object, or a list of names and values as they were sent."""
    if isinstance(tags, list):
        return {text_at(tag, "name"): at(tag, "value") for tag in tags}
    return tags if isinstance(tags, dict) else {}


def _meaning(event_type: str, event: dict[str, Any], too_soon_ms: float) -> Meaning:
    if event_type == "email.clicked":
        return _clicked(event, too_soon_ms)
    return _MEANINGS[event_type](event) if event_type in _MEANINGS else reports.unknown(event)


def _bounced(event: dict[str, Any]) -> Meaning:
    bounce = object_at(event, "data", "bounce")
    return bounce_of(text_at(bounce, "type"), text_at(bounce, "subType"), text_at(bounce, "message"))


def _opened(event: dict[str, Any]) -> Meaning:
    data = object_at(event, "data", "open")
    return reports.opened(_agent(data), text_at(data, "ipAddress"))


def _clicked(event: dict[str, Any], too_soon_ms: float) -> Meaning:
    data = object_at(event, "data", "click")
    made_at_ms, clicked_at_ms = ms_of_iso(at(event, "data", "created_at")), ms_of_iso(data.get("timestamp"))
    click = Click(text_at(data, "link"), made_at_ms, clicked_at_ms, too_soon_ms)
    return reports.clicked(click, _agent(data), text_at(data, "ipAddress"))


def _agent(data: dict[str, Any]) -> str | None:
    return text_at(data, "userAgent") if "userAgent" in data else None


# contact.updated and suppression.added are not here: they repeat a state, by whomever it was set and whenever.
_MEANINGS: Mapping[str, Callable[[dict[str, Any]], Meaning]] = {
    "email.sent": lambda event: Meaning(reports.SENT),
    "email.delivered": lambda event: reports.delivered(""),
    "email.delivery_delayed": lambda event: reports.deferred(""),
    "email.bounced": _bounced,
    "email.complained": lambda event: Meaning(reports.MARKED_AS_SPAM),
    "email.opened": _opened,
    "email.failed": lambda event: reports.dropped(text_at(event, "data", "failed", "reason") or "failed"),
    "email.suppressed": lambda event: reports.dropped(text_at(event, "data", "suppressed", "message") or "suppressed"),
}
