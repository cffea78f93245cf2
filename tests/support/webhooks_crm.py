"""Requests of CRMs and of mapped systems, signed by the published rules and not by our code."""

import base64
import hashlib
import hmac
import json
from typing import Any

import httpx
from hypothesis import strategies as st

from support.clocks import NOW_MS
from support.collecting import Collector
from wakeline.activation.consent import consents
from wakeline.pipeline.classify import LandingRow

PUBLIC_URL = "https://events.example.com"
HUBSPOT_SECRET = "hubspot-client-secret"
ORGANIZATION = "00D5g000000ABCDEAZ"

#: JSON values as no provider would send them, small enough for many examples.
JSON_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)


def hubspot(
    collector: Collector,
    body: bytes,
    *,
    secret: str = HUBSPOT_SECRET,
    signed_at_ms: int = NOW_MS,
    query: str = "",
    left_out: str = "",
) -> httpx.Response:
    """HubSpot's request with a v3 signature; `query` is signed as it stands, `left_out` is a header that it lacks."""
    path = f"/v1/webhooks/crm{query}"
    signed = f"POST{PUBLIC_URL}{path}".encode() + body + str(signed_at_ms).encode()
    headers = {
        "X-HubSpot-Signature-v3": hmac_base64(secret, signed),
        "X-HubSpot-Request-Timestamp": str(signed_at_ms),
    }
    headers.pop(left_out, None)
    return collector.call("POST", path, content=body, headers=headers)


def salesforce(
    collector: Collector, body: bytes, auth: tuple[str, str] | None = ("sf", "sf-password")
) -> httpx.Response:
    """A request to the webhook `crm` with a user name and a password."""
    return collector.call("POST", "/v1/webhooks/crm", content=body, auth=auth)


def hmac_base64(secret: str, signed: bytes, algorithm: str = "sha256") -> str:
    """The base64 of an HMAC."""
    return base64.b64encode(hmac.new(secret.encode(), signed, algorithm).digest()).decode()


def hmac_hex(secret: str, signed: bytes, algorithm: str = "sha256") -> str:
    """The hexadecimal digits of an HMAC."""
    return hmac.new(secret.encode(), signed, getattr(hashlib, algorithm)).hexdigest()


def accepted(collector: Collector) -> list[dict[str, Any]]:
    """The messages that landing accepts, in the order of the stream; the rest is checked to be quarantined."""
    rows = collector.rows()
    assert all(row.reason for row in rows if row.status != "accepted")
    return [json.loads(row.message) for row in rows if row.status == "accepted"]


def refusals(collector: Collector) -> list[tuple[str, str, bool]]:
    """What the stream says about consent: subject, purpose, granted."""
    return [
        (one.subject, one.purpose, one.granted)
        for one in consents(collector.rows(), collector.settings.trusted_sources)
    ]


def row_of(collector: Collector, event: str) -> LandingRow:
    """The one landing row with this event name."""
    [found] = [row for row in collector.rows() if row.event == event]
    return found
