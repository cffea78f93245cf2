"""SendGrid, v3 Mail Send.

Request and answers: https://www.twilio.com/docs/sendgrid/api-reference/mail-send/mail-send
"""

from email.headerregistry import Address
from typing import Any

import httpx

from wakeline.activation.addresses import parse_address, parse_mailbox
from wakeline.activation.esp.http import REQUEST_HEADERS, Answer, Refusal, custom_headers
from wakeline.activation.esp.metadata import metadata_of
from wakeline.activation.esp.protocol import Accepted, Mail
from wakeline.activation.esp.settings import SendgridEsp
from wakeline.clock import Clock

_TRACKING_OFF = {
    "click_tracking": {"enable": False, "enable_text": False},
    "open_tracking": {"enable": False},
    "subscription_tracking": {"enable": False},
    "ganalytics": {"enable": False},
}


class SendgridApi:
    """One SendGrid account or subuser."""

    idempotency_key_seconds: float = 0

    def __init__(self, section: SendgridEsp, clock: Clock) -> None:
        self._url = f"{section.endpoint_url}/v3/mail/send"
        self._headers = {**REQUEST_HEADERS, "Authorization": f"Bearer {section.api_key}"}

    def request(self, mail: Mail) -> httpx.Request:
        """See `http.Api`."""
        parts = {"text/plain": mail.text, "text/html": mail.html}
        body = {
            "personalizations": [{"to": [_person(parse_address(mail.to))]}],
            "from": _person(parse_mailbox(mail.sender)),
            "subject": mail.subject,
            # An empty part is an error.
            "content": [{"type": kind, "value": text} for kind, text in parts.items() if text],
            "headers": custom_headers(mail),
            "custom_args": metadata_of(mail),
            "tracking_settings": _TRACKING_OFF,
        }
        return httpx.Request("POST", self._url, headers=self._headers, json=body)

    def accepted(self, mail: Mail, answer: Answer) -> Accepted | None:
        """202 with the id in a header; the body is empty."""
        provider_id = answer.headers.get("X-Message-Id", "")
        return Accepted(provider_id) if answer.is_success and provider_id else None

    def refused(self, answer: Answer) -> Refusal:
        """A list of errors, of which the first is told."""
        return Refusal(answer.text_at("errors", 0, "field"), answer.text_at("errors", 0, "message"))


def _person(address: Address) -> dict[str, Any]:
    return {"email": address.addr_spec, **({"name": address.display_name} if address.display_name else {})}
