"""How a request proves that it is the provider's; every failure is a RefusedError (401)."""

import base64
import binascii
import hmac
from collections.abc import Mapping

from wakeline.collector.webhooks.protocol import forged

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS

#: How far the clock of a provider, or ours, may be ahead.
_CLOCK_DRIFT_MS = 5 * MINUTE_MS
#: As many digits as the year 2299 has in milliseconds.
_MAX_DIGITS = 14


def require_header(headers: Mapping[str, str], name: str) -> str:
    """The value of a header that every request of the provider has; names of `headers` are in lower case."""
    value = headers.get(name.lower(), "")
    if not value:
        raise forged(f"The header {name} is missing.")
    return value


def require_fresh(signed_at_ms: str | int | None, now_ms: int, max_age_ms: int) -> None:
    """Refuse what was signed longer ago than `max_age_ms`, or at a time that has not come; text must be digits."""
    if isinstance(signed_at_ms, str):
        is_number = signed_at_ms.isascii() and signed_at_ms.isdigit() and len(signed_at_ms) <= _MAX_DIGITS
        signed_at_ms = int(signed_at_ms) if is_number else None
    if signed_at_ms is None:
        raise forged("The signed time is not a time.")
    if signed_at_ms < now_ms - max_age_ms:
        raise forged("The request was signed too long ago.")
    if signed_at_ms > now_ms + _CLOCK_DRIFT_MS:
        raise forged("The request was signed at a time that has not come.")


def same(given: str, expected: bytes) -> bool:
    """Whether a text is what it should be, in a time that does not tell where it differs."""
    return hmac.compare_digest(given.encode(errors="replace"), expected)


def hmac_sha256(key: bytes, content: bytes) -> bytes:
    """The HMAC of a content with SHA-256."""
    return hmac.digest(key, content, "sha256")


def base64_bytes(encoded: str) -> bytes | None:
    """The bytes that a base64 text stands for; None when it is none."""
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):  # ValueError: not ASCII.
        return None


def require_basic_auth(headers: Mapping[str, str], username: str, password: str) -> None:
    """Refuse a request without this user name and password (HTTP basic auth, RFC 7617)."""
    scheme, _, encoded = require_header(headers, "Authorization").partition(" ")
    given = base64_bytes(encoded.strip()) if scheme.lower() == "basic" else None
    if not hmac.compare_digest(given or b"", f"{username}:{password}".encode()):
        raise forged("The user name or the password is wrong.")
