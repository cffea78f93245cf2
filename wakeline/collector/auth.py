"""Who may send events: Segment's SDKs send the write key as HTTP basic user name with an empty password."""

import base64
import binascii
import hmac

from wakeline.collector.refused import RefusedError

_HOW = "send the write key as HTTP basic user name with an empty password"
_CHALLENGE = {"WWW-Authenticate": 'Basic realm="write key"'}


def check_write_key(authorization: str | None, write_key: str) -> None:
    """Raises RefusedError (401) unless the Authorization header carries the write key."""
    if authorization is None:
        raise RefusedError(401, f"The Authorization header is missing; {_HOW}.", _CHALLENGE)
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        raise RefusedError(401, f"The Authorization header is not HTTP basic; {_HOW}.", _CHALLENGE)
    if not hmac.compare_digest(_decoded(encoded), f"{write_key}:".encode()):
        raise RefusedError(401, f"The write key is wrong; {_HOW}.", _CHALLENGE)


def _decoded(encoded: str) -> bytes:
    try:
        return base64.b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError):  # ValueError: not ASCII.
        return b""
