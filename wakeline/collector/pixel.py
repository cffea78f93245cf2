"""The open pixel: a signed token in the image's address, and the event that a view of it becomes."""

import base64
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from itsdangerous import BadData, URLSafeSerializer

from wakeline.clock import to_iso

PIXEL_PATH = "/v1/pixel.gif"
TOKEN_PARAMETER = "t"  # noqa: S105  # A parameter's name.

# One transparent pixel.
GIF = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")

_SALT = "open-pixel"
_PROFILE_FIELDS = {"user": "userId", "anonymous": "anonymousId"}


@dataclass(frozen=True, slots=True)
class Open:
    """Which mail was opened, by whom: `id_field` is userId or anonymousId."""

    idempotency_key: str
    campaign: str
    id_field: str
    id_value: str


def sign_open(secret: str, key: str, campaign: str, profile_id: str) -> str:
    """The token of one mail: `key` is its idempotency key, `profile_id` is user:<id> or anonymous:<id>."""
    if profile_id.partition(":")[0] not in _PROFILE_FIELDS:
        raise ValueError("A profile id starts with user: or anonymous:.")
    return _serializer(secret).dumps({"k": key, "c": campaign, "p": profile_id})


def pixel_url(public_url: str, token: str) -> str:
    """The address of the image that goes into the mail."""
    return f"{public_url.rstrip('/')}{PIXEL_PATH}?{urlencode({TOKEN_PARAMETER: token})}"


def read_open(secret: str, token: str) -> Open | None:
    """What the token says; None when it is not one of ours."""
    try:
        payload = _serializer(secret).loads(token)
        kind, _, id_value = payload["p"].partition(":")
        return Open(payload["k"], payload["c"], _PROFILE_FIELDS[kind], id_value)
    except (BadData, KeyError):
        return None


def opened_message(opened: Open, user_agent: str | None, at_ms: int, message_id: str) -> dict[str, Any]:
    """The Segment event of a view (https://segment.com/docs/connections/spec/email/#email-opened)."""
    return {
        "type": "track",
        "event": "Email Opened",
        "messageId": message_id,
        "timestamp": to_iso(at_ms),
        opened.id_field: opened.id_value,
        "properties": {"idempotency_key": opened.idempotency_key, "campaign": opened.campaign},
        "context": {} if user_agent is None else {"userAgent": user_agent},
    }


def _serializer(secret: str) -> URLSafeSerializer:
    return URLSafeSerializer(secret, salt=_SALT)
