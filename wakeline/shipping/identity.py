"""Who made a request, as far as an access log can tell, and which message its line becomes."""

import hashlib
import hmac
import uuid

from wakeline.clock import to_datetime
from wakeline.shipping.request import Request

COOKIE_PREFIX = "cookie:"
_NAMESPACE = uuid.UUID("2c1b5a3e-8f0d-4f5b-9a63-0c7d3f7e9b41")
_ID_CHARACTERS = 32


def field_value(request: Request, field: str) -> str:
    """The value of a field of the line, or of a cookie when the field is `cookie:NAME`; empty when it has none."""
    if not field.startswith(COOKIE_PREFIX):
        return request.fields.get(field, "")
    return _cookie(request.cookie, field.removeprefix(COOKIE_PREFIX))


def _cookie(header: str, wanted: str) -> str:
    """The value of a cookie (RFC 6265, 4.2.1).

    Not by http.cookies: it takes minutes for a value of 100 kB of quotes, and stops at the first broken pair.
    """
    for pair in header.split(";"):
        name, _, value = pair.partition("=")
        if name.strip() == wanted:
            return value.strip().strip('"')
    return ""


def visitor_id(request: Request, signing_key: str) -> str:
    """The same for the same address and browser on the same day (UTC), and for nobody else to work out.

    HMAC-SHA256 (RFC 2104) keyed by the deployment, because all IPv4 addresses are soon tried.
    """
    day = to_datetime(request.at_ms).date().isoformat()
    told = "\n".join(("access log", day, request.ip, request.user_agent))
    return hmac.new(signing_key.encode(), told.encode(), hashlib.sha256).hexdigest()[:_ID_CHARACTERS]


def line_id(fingerprint: str, offset: int, text: bytes) -> str:
    """The message id of a line: the same however often, and under whatever name, its file is read."""
    content = hashlib.sha256(text).hexdigest()
    return str(uuid.uuid5(_NAMESPACE, f"{fingerprint}/{offset}/{content}"))
