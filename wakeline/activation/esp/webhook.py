"""Any other system that takes a mail as JSON.

Signature: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import hmac

import httpx

from wakeline.activation.addresses import parse_address, parse_mailbox
from wakeline.activation.esp.http import REQUEST_HEADERS, Answer, Refusal, custom_headers
from wakeline.activation.esp.protocol import Accepted, Mail
from wakeline.activation.esp.settings import WebhookEsp, signing_key
from wakeline.clock import Clock, to_iso

_TYPE = "mail.send"
_MS_PER_SECOND = 1_000


class WebhookApi:
    """One receiver; the idempotency key is the `webhook-id`, whether or not the receiver looks at it."""

    def __init__(self, section: WebhookEsp, clock: Clock) -> None:
        self.idempotency_key_seconds = section.idempotency_key_seconds
        self._url = section.url
        self._signing_key = signing_key(section.signing_secret)
        self._clock = clock

    def request(self, mail: Mail) -> httpx.Request:
        """See `http.Api`."""
        now_ms = self._clock()
        body = {"type": _TYPE, "timestamp": to_iso(now_ms), "data": _document(mail)}
        request = httpx.Request("POST", self._url, headers=REQUEST_HEADERS, json=body)
        request.headers.update(self._signed(mail.key, now_ms, request.content))
        return request

    def accepted(self, mail: Mail, answer: Answer) -> Accepted | None:
        """Any 2xx, whatever the body, by the spec; an `id` in it is kept, else the key is the id."""
        return Accepted(answer.text_at("id") or mail.key) if answer.is_success else None

    def refused(self, answer: Answer) -> Refusal:
        """The spec knows status codes only; a sentence in `error` or `message` is told."""
        return Refusal(message=answer.text_at("error") or answer.text_at("message"))

    def _signed(self, key: str, now_ms: int, body: bytes) -> dict[str, str]:
        signed_at = str(now_ms // _MS_PER_SECOND)
        signature = hmac.digest(self._signing_key, f"{key}.{signed_at}.".encode() + body, "sha256")
        return {
            "webhook-id": key,
            "webhook-timestamp": signed_at,
            "webhook-signature": f"v1,{base64.b64encode(signature).decode()}",
        }


def _document(mail: Mail) -> dict[str, object]:
    return {
        "key": mail.key,
        "campaign": mail.campaign,
        "profile_id": mail.profile_id,
        "from": str(parse_mailbox(mail.sender)),
        "to": parse_address(mail.to).addr_spec,
        "subject": mail.subject,
        "html": mail.html,
        "text": mail.text,
        "headers": custom_headers(mail),
    }
