"""Braze, transactional email campaigns.

Request: https://www.braze.com/docs/api/endpoints/messaging/send_messages/post_send_transactional_message
Errors: https://www.braze.com/docs/api/errors
"""

from typing import Any

import httpx

from wakeline.activation.addresses import parse_address, parse_mailbox
from wakeline.activation.esp.http import REQUEST_HEADERS, Answer, Meaning, Refusal, custom_headers
from wakeline.activation.esp.metadata import metadata_of
from wakeline.activation.esp.protocol import Accepted, Mail
from wakeline.activation.esp.settings import BrazeEsp
from wakeline.clock import Clock
from wakeline.events import subject_fields

#: 202 with it is what Braze answers during maintenance: received, and sent afterwards.
_QUEUED = "queued"
#: Beginnings of Braze's sentences about other things than the mail.
_MEANINGS = {
    "The external reference has been queued": Meaning.LATER,
    "The campaign is": Meaning.SETTINGS,
    "Campaign does not exist": Meaning.SETTINGS,
    "campaign_id must be": Meaning.SETTINGS,
    "Error authenticating credentials": Meaning.SETTINGS,
    "Invalid whitelisted IPs": Meaning.SETTINGS,
    "You do not have permission": Meaning.SETTINGS,
}


class BrazeApi:
    """One transactional campaign at Braze; `external_send_id` is its idempotency key and lives for 24 hours."""

    idempotency_key_seconds: float = 86_400

    def __init__(self, section: BrazeEsp, clock: Clock) -> None:
        self._url = f"{section.endpoint_url}/transactional/v1/campaigns/{section.campaign_id}/send"
        self._headers = {**REQUEST_HEADERS, "Authorization": f"Bearer {section.api_key}"}

    def request(self, mail: Mail) -> httpx.Request:
        """The mail as properties that the campaign's template shows; see `http.Api`."""
        body = {
            "external_send_id": mail.key,
            "trigger_properties": {
                "sender": str(parse_mailbox(mail.sender)),
                "subject": mail.subject,
                "html": mail.html,
                "text": mail.text,
                "headers": custom_headers(mail),
                **metadata_of(mail),
            },
            "recipient": _recipient(mail),
        }
        return httpx.Request("POST", self._url, headers=self._headers, json=body)

    def accepted(self, mail: Mail, answer: Answer) -> Accepted | None:
        """A dispatch id, or that the request waits for the end of a maintenance."""
        provider_id = answer.text_at("dispatch_id")
        if answer.is_success and (provider_id or answer.text_at("message") == _QUEUED):
            return Accepted(provider_id)
        return None

    def refused(self, answer: Answer) -> Refusal:
        """A sentence."""
        message = answer.text_at("message")
        meanings = [meaning for beginning, meaning in _MEANINGS.items() if message.startswith(beginning)]
        return Refusal(message=message, meaning=meanings[0] if meanings else None)


def _recipient(mail: Mail) -> dict[str, Any]:
    """The user of that id, to whom Braze sends at the address that it is told here."""
    address = parse_address(mail.to).addr_spec
    user_id = subject_fields(mail.profile_id)[0].get("userId", "")
    if not user_id:
        raise ValueError("Braze sends to people with a user id only, and nobody has logged in on this profile")
    return {"external_user_id": user_id, "attributes": {"email": address}}
