"""Customer.io, App API: Send a transactional email.

Request and answers: https://docs.customer.io/integrations/api/app/tag/send-messages/sendEmail/
"""

import re

import httpx

from wakeline.activation.addresses import parse_address, parse_mailbox
from wakeline.activation.esp.http import REQUEST_HEADERS, Answer, Refusal, custom_headers
from wakeline.activation.esp.metadata import metadata_of
from wakeline.activation.esp.protocol import Accepted, Mail
from wakeline.activation.esp.settings import CustomerioEsp
from wakeline.clock import Clock

_LIQUID_BEGINS = re.compile(r"\{(?=[{%])")


class CustomerioApi:
    """One workspace of Customer.io."""

    idempotency_key_seconds: float = 0

    def __init__(self, section: CustomerioEsp, clock: Clock) -> None:
        self._url = f"{section.endpoint_url}/v1/send/email"
        self._headers = {**REQUEST_HEADERS, "Authorization": f"Bearer {section.app_api_key}"}
        self._message_id = section.transactional_message_id

    def request(self, mail: Mail) -> httpx.Request:
        """See `http.Api`."""
        address = parse_address(mail.to).addr_spec
        body = {
            "transactional_message_id": self._message_id,
            "to": address,
            "from": str(parse_mailbox(mail.sender)),
            "identifiers": {"email": address},
            "subject": _literal(mail.subject),
            "body": _literal(mail.html),
            "body_plain": _literal(mail.text),
            "headers": custom_headers(mail),
            "message_data": metadata_of(mail),
            "tracked": False,
            # MJML has done it.
            "disable_css_preprocessing": True,
        }
        return httpx.Request("POST", self._url, headers=self._headers, json=body)

    def accepted(self, mail: Mail, answer: Answer) -> Accepted | None:
        """200 with a delivery id."""
        provider_id = answer.text_at("delivery_id")
        return Accepted(provider_id) if answer.is_success and provider_id else None

    def refused(self, answer: Answer) -> Refusal:
        """A sentence, or a list of them."""
        return Refusal(message=answer.text_at("meta", "error") or answer.text_at("meta", "errors", 0))


def _literal(text: str) -> str:
    """A text that Customer.io's Liquid shows as it is: what a person typed must not become a template."""
    return _LIQUID_BEGINS.sub("{{ '{' }}", text)
