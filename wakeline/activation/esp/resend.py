"""Resend, Send Email.

Request: https://resend.com/docs/api-reference/emails/send-email
Idempotency: https://resend.com/docs/dashboard/emails/idempotency-keys
Errors: https://resend.com/docs/api-reference/errors
"""

import re

import httpx

from wakeline.activation.addresses import parse_address, parse_mailbox
from wakeline.activation.esp.http import REQUEST_HEADERS, Answer, Meaning, Refusal, custom_headers
from wakeline.activation.esp.metadata import metadata_of
from wakeline.activation.esp.protocol import Accepted, Mail
from wakeline.activation.esp.settings import ResendEsp
from wakeline.clock import Clock

#: Values of tags that Resend takes; a profile id has a colon and is none of them.
_TAG = re.compile(r"[A-Za-z0-9_-]{1,256}")
_USED_KEY = "invalid_idempotent_request"
_KEY_IN_USE = "concurrent_idempotent_requests"


class ResendApi:
    """One Resend account; keys live for 24 hours."""

    idempotency_key_seconds: float = 86_400

    def __init__(self, section: ResendEsp, clock: Clock) -> None:
        self._url = f"{section.endpoint_url}/emails"
        self._headers = {**REQUEST_HEADERS, "Authorization": f"Bearer {section.api_key}"}

    def request(self, mail: Mail) -> httpx.Request:
        """See `http.Api`."""
        tags = metadata_of(mail).items()
        body = {
            "from": str(parse_mailbox(mail.sender)),
            "to": [str(parse_address(mail.to))],
            "subject": mail.subject,
            "html": mail.html,
            "text": mail.text,
            "headers": custom_headers(mail),
            "tags": [{"name": name, "value": value} for name, value in tags if _TAG.fullmatch(value)],
        }
        headers = {**self._headers, "Idempotency-Key": mail.key}
        return httpx.Request("POST", self._url, headers=headers, json=body)

    def accepted(self, mail: Mail, answer: Answer) -> Accepted | None:
        """200 with an id, or that the key was used for a mail that was sent.

        A mail that is rendered again after its templates were changed differs, and Resend does not answer as before.
        The id is lost then; Resend's webhook tells it.
        """
        if answer.text_at("name") == _USED_KEY:
            return Accepted("")
        provider_id = answer.text_at("id")
        return Accepted(provider_id) if answer.is_success and provider_id else None

    def refused(self, answer: Answer) -> Refusal:
        """The name of an error and a sentence."""
        name = answer.text_at("name")
        return Refusal(name, answer.text_at("message"), Meaning.LATER if name == _KEY_IN_USE else None)
