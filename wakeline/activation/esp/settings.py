"""The `[esp.NAME]` tables of the settings: an account at an email service provider, and how fast it may be used."""

import base64
import binascii
from typing import Annotated, Literal

import httpx
from pydantic import AfterValidator, Field, StringConstraints

from wakeline.section import Section

#: The name of `activation.esp` that needs no table: mails become files.
OUTBOX = "outbox"

_LOOPBACK = ("127.0.0.1", "::1", "localhost")

_Secret = Annotated[str, StringConstraints(min_length=8, pattern=r"^[\x21-\x7e]+$")]
#: What may stand in the path of an address as it is.
_PathPart = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]+$")]


def _address(text: str) -> str:
    """An address that a key may be sent to: over TLS, or to this machine."""
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL as error:
        raise ValueError("it is no web address") from error
    if url.scheme != "https" and not (url.scheme == "http" and url.host in _LOOPBACK):
        raise ValueError("it must begin with https://, or the key could be read on its way")
    if not url.host or url.userinfo or url.query or url.fragment:
        raise ValueError("it must be an address without user name, query and fragment")
    return text.rstrip("/")


_Address = Annotated[str, AfterValidator(_address)]

#: The Standard Webhooks spec wants 24 to 64 bytes.
_KEY_BYTES = range(24, 65)


def signing_key(secret: str) -> bytes:
    """The key in a secret of the Standard Webhooks spec; raises ValueError when there is none."""
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except binascii.Error as error:
        raise ValueError("what follows whsec_ is not base64") from error
    if not secret.startswith("whsec_") or len(key) not in _KEY_BYTES:
        raise ValueError("it must be whsec_ and the base64 of 24 to 64 bytes")
    return key


def _secret(text: str) -> str:
    signing_key(text)
    return text


class EspSection(Section):
    """What the tables of all kinds have."""

    kind: str
    rate_per_second: float = Field(gt=0, description="Most requests a second.")
    concurrency: int = Field(10, ge=1, description="Most requests at the same time.")
    timeout_seconds: float = Field(
        10.0, gt=0, description="Longest wait for a connection, and then for the whole answer."
    )


class SendgridEsp(EspSection):
    """SendGrid, v3 Mail Send."""

    kind: Literal["sendgrid"] = Field(description="SendGrid.")
    rate_per_second: float = Field(100.0, gt=0, description="Most requests a second.")
    api_key: _Secret = Field(description="API key with the permission Mail Send.")
    endpoint_url: _Address = Field(
        "https://api.sendgrid.com", description="https://api.eu.sendgrid.com for an EU subuser."
    )


class PostmarkEsp(EspSection):
    """Postmark, Send a single email."""

    kind: Literal["postmark"] = Field(description="Postmark.")
    rate_per_second: float = Field(50.0, gt=0, description="Most requests a second.")
    server_token: _Secret = Field(description="Server API token.")
    message_stream: str = Field("outbound", min_length=1, description="Id of the message stream.")
    endpoint_url: _Address = Field("https://api.postmarkapp.com", description="Another address than Postmark's own.")


class MailgunEsp(EspSection):
    """Mailgun, Messages."""

    kind: Literal["mailgun"] = Field(description="Mailgun.")
    rate_per_second: float = Field(50.0, gt=0, description="Most requests a second.")
    api_key: _Secret = Field(description="API key; a sending key of the domain is enough.")
    domain: _PathPart = Field(description="Sending domain.")
    endpoint_url: _Address = Field(
        "https://api.mailgun.net", description="https://api.eu.mailgun.net for a domain in the EU."
    )


class ResendEsp(EspSection):
    """Resend, Send Email."""

    kind: Literal["resend"] = Field(description="Resend.")
    rate_per_second: float = Field(5.0, gt=0, description="Most requests a second.")
    api_key: _Secret = Field(description="API key; sending access is enough.")
    endpoint_url: _Address = Field("https://api.resend.com", description="Another address than Resend's own.")


class BrazeEsp(EspSection):
    """Braze, transactional email campaigns."""

    kind: Literal["braze"] = Field(description="Braze.")
    rate_per_second: float = Field(50.0, gt=0, description="Most requests a second.")
    api_key: _Secret = Field(description="REST API key with the permission transactional.send.")
    campaign_id: _PathPart = Field(description="Id of the transactional email campaign.")
    endpoint_url: _Address = Field(description="REST endpoint of your instance, e.g. https://rest.iad-01.braze.com.")


class CustomerioEsp(EspSection):
    """Customer.io, App API: Send a transactional email."""

    kind: Literal["customerio"] = Field(description="Customer.io.")
    rate_per_second: float = Field(100.0, gt=0, description="Most requests a second.")
    app_api_key: _Secret = Field(description="App API key.")
    transactional_message_id: str = Field(min_length=1, description="Transactional message that sends count under.")
    endpoint_url: _Address = Field(
        "https://api.customer.io", description="https://api-eu.customer.io for an account in the EU."
    )


class WebhookEsp(EspSection):
    """Any other system that takes a mail as JSON, signed after the Standard Webhooks spec."""

    kind: Literal["webhook"] = Field(description="Any other system that takes a mail as JSON.")
    rate_per_second: float = Field(50.0, gt=0, description="Most requests a second.")
    url: _Address = Field(description="Address that mails are posted to.")
    signing_secret: Annotated[str, AfterValidator(_secret)] = Field(
        description="Secret that requests are signed with: whsec_ and the base64 of 24 to 64 random bytes."
    )
    idempotency_key_seconds: float = Field(
        0.0,
        ge=0,
        description="For how long two requests with the same webhook-id are certain to become one mail; 0: never.",
    )


EspSettings = Annotated[
    SendgridEsp | PostmarkEsp | MailgunEsp | ResendEsp | BrazeEsp | CustomerioEsp | WebhookEsp,
    Field(discriminator="kind"),
]
