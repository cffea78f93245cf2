"""Postmark, Send a single email.

Request: https://postmarkapp.com/developer/api/email-api#send-a-single-email
Answers: https://postmarkapp.com/developer/api/overview#api-error-codes
Metadata: https://postmarkapp.com/support/article/1125-custom-metadata-faq
"""

import httpx

from wakeline.activation.addresses import parse_address, parse_mailbox
from wakeline.activation.esp.http import REQUEST_HEADERS, Answer, Meaning, Refusal, custom_headers
from wakeline.activation.esp.metadata import metadata_of
from wakeline.activation.esp.protocol import Accepted, Mail
from wakeline.activation.esp.settings import PostmarkEsp
from wakeline.clock import Clock

#: With it Postmark keeps our Message-ID.
_KEEP_ID = {"X-PM-KeepID": "true"}
#: A longer value makes the whole mail invalid.
_MAX_METADATA_CHARACTERS = 80

_SENT = "0"
#: Token, sender signature, account, message stream.
_WRONG_SETTINGS = frozenset({"10", "400", "401", "405", "412", "413", "1226", "1235", "1236"})
_MEANINGS = {"100": Meaning.LATER, **dict.fromkeys(_WRONG_SETTINGS, Meaning.SETTINGS)}


class PostmarkApi:
    """One Postmark server."""

    idempotency_key_seconds: float = 0

    def __init__(self, section: PostmarkEsp, clock: Clock) -> None:
        self._url = f"{section.endpoint_url}/email"
        self._headers = {**REQUEST_HEADERS, "X-Postmark-Server-Token": section.server_token}
        self._stream = section.message_stream

    def request(self, mail: Mail) -> httpx.Request:
        """See `http.Api`."""
        metadata = metadata_of(mail).items()
        body = {
            "From": str(parse_mailbox(mail.sender)),
            "To": str(parse_address(mail.to)),
            "Subject": mail.subject,
            "HtmlBody": mail.html,
            "TextBody": mail.text,
            "MessageStream": self._stream,
            "Headers": [{"Name": name, "Value": value} for name, value in (custom_headers(mail) | _KEEP_ID).items()],
            "Metadata": {name: value for name, value in metadata if len(value) <= _MAX_METADATA_CHARACTERS},
            "TrackOpens": False,
            "TrackLinks": "None",
        }
        return httpx.Request("POST", self._url, headers=self._headers, json=body)

    def accepted(self, mail: Mail, answer: Answer) -> Accepted | None:
        """200 with ErrorCode 0 and a MessageID."""
        provider_id = answer.text_at("MessageID")
        sent = answer.is_success and answer.text_at("ErrorCode") == _SENT
        return Accepted(provider_id) if sent and provider_id else None

    def refused(self, answer: Answer) -> Refusal:
        """ErrorCode, which is no HTTP status though it looks like one, and Message."""
        code = answer.text_at("ErrorCode")
        meaning = _MEANINGS.get(code)
        if meaning is None and answer.is_success and code not in ("", _SENT):
            meaning = Meaning.REFUSED
        return Refusal(code, answer.text_at("Message"), meaning)
