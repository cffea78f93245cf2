"""SendGrid's signed event webhook.

Events: https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event
Proof: https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/getting-started-event-webhook-security-features
"""

import binascii
from collections.abc import Callable, Mapping
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from wakeline.activation.esp.metadata import read_metadata
from wakeline.collector.envelope import parse_json
from wakeline.collector.mail.labels import APPLE_MAIL_PRIVACY
from wakeline.collector.refused import RefusedError
from wakeline.collector.webhooks import reports
from wakeline.collector.webhooks.protocol import WebhookAnswer, WebhookRequest, forged
from wakeline.collector.webhooks.reading import address_at, at, digest, ms_of_seconds, text_at, truncate_ips
from wakeline.collector.webhooks.reports import Click, Meaning, Report, message_of
from wakeline.collector.webhooks.settings import SendgridWebhook
from wakeline.collector.webhooks.signing import HOUR_MS, base64_bytes, require_fresh, require_header
from wakeline.errors import ConfigError

SIGNATURE_HEADER = "X-Twilio-Email-Event-Webhook-Signature"
TIMESTAMP_HEADER = "X-Twilio-Email-Event-Webhook-Timestamp"

# SendGrid tries for 24 hours, and does not say that it signs anew.
_MAX_AGE_MS = 25 * HOUR_MS


class SendgridAdapter:
    """Takes the batches of one SendGrid account or subuser."""

    def __init__(self, name: str, settings: SendgridWebhook) -> None:
        """Raises ConfigError when the public key is not one of SendGrid's."""
        self._key = _public_key(name, settings.public_key)

    async def receive(self, request: WebhookRequest) -> WebhookAnswer:
        """The messages of a batch; see `protocol.Webhook`."""
        self._require_genuine(request)
        events = parse_json(request.body)
        if not isinstance(events, list):
            raise RefusedError(400, "The body is not a list of SendGrid's events.")
        truncate_ips(events)
        return WebhookAnswer([_message(event) for event in events])

    def _require_genuine(self, request: WebhookRequest) -> None:
        signature = base64_bytes(require_header(request.headers, SIGNATURE_HEADER))
        signed_at = require_header(request.headers, TIMESTAMP_HEADER)
        signed = signed_at.encode(errors="replace") + request.body
        try:
            self._key.verify(signature or b"", signed, ECDSA(SHA256()))
        except InvalidSignature as error:
            raise forged("The signature is wrong; check public_key.") from error
        require_fresh(ms_of_seconds(signed_at), request.now_ms, _MAX_AGE_MS)


def _public_key(name: str, written: str) -> EllipticCurvePublicKey:
    lines = [line.strip() for line in written.strip().splitlines() if not line.startswith("-----")]
    try:
        key = load_der_public_key(base64_bytes("".join(lines)) or b"")
    except (ValueError, UnsupportedAlgorithm, binascii.Error) as error:
        raise _no_key(name) from error
    if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP256R1):
        raise _no_key(name)
    return key


def _no_key(name: str) -> ConfigError:
    return ConfigError(
        f"webhooks.{name}.public_key is not a public key of SendGrid; copy the verification key from"
        " Settings > Mail Settings > Event Webhooks."
    )


def _message(event: Any) -> Any:
    """The message of one event; what has no time or no address stays as it is and is quarantined later."""
    occurred_at_ms, email = ms_of_seconds(at(event, "timestamp")), address_at(event, "email")
    if occurred_at_ms is None or not email:
        return event
    event_type = text_at(event, "event")
    return message_of(
        Report(
            provider="sendgrid",
            event_type=event_type,
            event_id=text_at(event, "sg_event_id") or digest(event),
            email=email,
            occurred_at_ms=occurred_at_ms,
            meaning=_MEANINGS[event_type](event) if event_type in _MEANINGS else reports.unknown(event),
            mail_id=text_at(event, "sg_message_id"),
            send=read_metadata(event, message_id=text_at(event, "smtp-id")),
        )
    )


def _deferred(event: Any) -> Meaning:
    return reports.deferred(text_at(event, "response") or text_at(event, "reason"))


def _bounced(event: Any) -> Meaning:
    """`blocked` is a refusal of this mail or of our server, not of the address."""
    classification = text_at(event, "bounce_classification")
    is_hard = text_at(event, "type") == "bounce"
    return reports.bounced(is_hard, text_at(event, "reason"), bounce_classification=classification)


def _dropped(event: Any) -> Meaning:
    return reports.dropped(text_at(event, "reason"))


def _opened(event: Any) -> Meaning:
    machine = {"automated": True, "automated_reason": APPLE_MAIL_PRIVACY}
    known = machine if at(event, "sg_machine_open") is True else None
    return reports.opened(text_at(event, "useragent"), text_at(event, "ip"), known)


def _clicked(event: Any) -> Meaning:
    return reports.clicked(Click(text_at(event, "url")), text_at(event, "useragent"), text_at(event, "ip"))


def _unsubscribed(event: Any) -> Meaning:
    return reports.unsubscribed(text_at(event, "useragent"), text_at(event, "ip"), group=text_at(event, "asm_group_id"))


# A resubscription (`group_resubscribe`) is not here: it may undo an opt-out at SendGrid, and is no consent of ours.
_MEANINGS: Mapping[str, Callable[[Any], Meaning]] = {
    "processed": lambda event: Meaning(reports.SENT),
    "deferred": _deferred,
    "delivered": lambda event: reports.delivered(text_at(event, "response")),
    "bounce": _bounced,
    "dropped": _dropped,
    "open": _opened,
    "click": _clicked,
    "spamreport": lambda event: Meaning(reports.MARKED_AS_SPAM),
    "unsubscribe": _unsubscribed,
    "group_unsubscribe": _unsubscribed,
}
