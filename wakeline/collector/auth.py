"""Where clients put the write key.

Segment and RudderStack: HTTP basic user name with an empty password. Jitsu: `X-Write-Key: KEY:SECRET`. Segment's
browser SDK and everything that uses `sendBeacon`, which cannot set headers: `writeKey` in the body, or in the query.
"""

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request

WRITE_KEY_HEADER = "X-Write-Key"
WRITE_KEY_FIELD = "writeKey"


def key_of_request(request: Request) -> str | None:
    """The write key in headers or query, None when there is none; an unreadable header gives an empty key."""
    authorization = request.headers.get("authorization")
    if authorization is not None:
        return _basic_user(authorization)
    header = request.headers.get(WRITE_KEY_HEADER)
    if header is not None:
        return header.partition(":")[0].strip()
    return request.query_params.get(WRITE_KEY_FIELD)


def key_of_body(content: Mapping[str, Any]) -> str | None:
    """The write key in the body, None when there is none."""
    key = content.get(WRITE_KEY_FIELD)
    return key.partition(":")[0] if isinstance(key, str) else None


def _basic_user(authorization: str) -> str:
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(encoded.strip(), validate=True).decode().partition(":")[0]
    except (binascii.Error, ValueError):  # ValueError: neither ASCII nor UTF-8.
        return ""
