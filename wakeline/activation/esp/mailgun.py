"""Mailgun, Messages.

Request: https://documentation.mailgun.com/docs/mailgun/api-reference/send/mailgun/messages
Answers: https://documentation.mailgun.com/docs/mailgun/quickstart-guide/responses
"""

import base64

import httpx

from wakeline.activation.addresses import parse_address, parse_mailbox
from wakeline.activation.esp.http import REQUEST_HEADERS, Answer, Refusal, custom_headers
from wakeline.activation.esp.metadata import metadata_of
from wakeline.activation.esp.protocol import Accepted, Mail
from wakeline.activation.esp.settings import MailgunEsp
from wakeline.clock import Clock

_TRACKING_OFF = {"o:tracking": "no", "o:tracking-clicks": "no", "o:tracking-opens": "no"}


class MailgunApi:
    """One sending domain at Mailgun."""

    idempotency_key_seconds: float = 0

    def __init__(self, section: MailgunEsp, clock: Clock) -> None:
        self._url = f"{section.endpoint_url}/v3/{section.domain}/messages"
        self._headers = {**REQUEST_HEADERS, "Authorization": _basic("api", section.api_key)}

    def request(self, mail: Mail) -> httpx.Request:
        """A form, as Mailgun takes no JSON; see `http.Api`."""
        fields = {
            "from": str(parse_mailbox(mail.sender)),
            "to": str(parse_address(mail.to)),
            "subject": mail.subject,
            "text": mail.text,
            "html": mail.html,
            # Message-Id, as Mailgun writes it itself: with another spelling there could be two.
            **{f"h:{name.title()}": value for name, value in custom_headers(mail).items()},
            **{f"v:{name}": value for name, value in metadata_of(mail).items()},
            **_TRACKING_OFF,
        }
        parts = [(name, (None, value.encode())) for name, value in fields.items()]
        return httpx.Request("POST", self._url, headers=self._headers, files=parts)

    def accepted(self, mail: Mail, answer: Answer) -> Accepted | None:
        """200 with an id: the Message-ID, which webhooks tell without the brackets.

        A wrong address is answered 200 as well, with a greeting.
        """
        provider_id = answer.text_at("id").strip("<>")
        return Accepted(provider_id) if answer.is_success and provider_id else None

    def refused(self, answer: Answer) -> Refusal:
        """A sentence."""
        return Refusal(message=answer.text_at("message"))


def _basic(username: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{username}:{password}'.encode()).decode()}"
