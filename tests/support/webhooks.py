"""Requests as mail providers sign them, and a collector that they reach."""

import base64
import copy
import hashlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from typing import Any

import httpx
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID
from hypothesis import strategies as st

from support.clocks import NOW_MS
from support.collecting import Collector
from wakeline.activation.consent import consents, suppressions
from wakeline.clock import to_datetime, to_iso
from wakeline.collector.app import create_app

KEY = "a1" * 16
CAMPAIGN = "abandoned_cart"
METADATA = {"wakeline_key": KEY, "wakeline_campaign": CAMPAIGN}
ANN = "ann@example.com"
#: A second before the clock of the tests.
THEN_MS = NOW_MS - 1_000
CHROME = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36"
)
SUPPRESSED = "suppressed"
OPTED_OUT = "opted out"

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from([ANN, to_iso(THEN_MS), "203.0.113.7", THEN_MS // 1_000, 10**30, "\ud83d", "user:ann", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@dataclass
class Webhooks(Collector):
    """A collector with webhooks, and with what is at some addresses of the network."""

    pages: dict[str, httpx.Response | httpx.HTTPError] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__post_init__()
        ids = iter(range(1_000_000))
        self.app = create_app(
            self.settings, self.stream, self.clock, lambda: 0, lambda: f"new-{next(ids)}", self._fetch
        )

    async def _fetch(self, url: str) -> httpx.Response:
        self.asked.append(url)
        found = self.pages.get(url, httpx.Response(404))
        if isinstance(found, httpx.HTTPError):
            raise found
        return found

    def tell(self, name: str, body: bytes, headers: dict[str, str] | None = None) -> httpx.Response:
        """The answer to a provider's request."""
        return self.call("POST", f"/v1/webhooks/{name}", content=body, headers=headers or {})

    def told(self) -> list[tuple[str, str, str]]:
        """Status, event and id of what landing makes of each message."""
        return [(row.status, row.event, row.id) for row in self.rows()]

    def conclusions(self) -> set[str]:
        """What the accepted rows say about consent and about addresses that must not be mailed."""
        rows, trusted = self.rows(), self.settings.trusted_sources
        refused = {OPTED_OUT for one in consents(rows, trusted) if not one.granted}
        assert not [one for one in consents(rows, trusted) if one.granted]
        return refused | {SUPPRESSED for _ in suppressions(rows, trusted)}


def dump(value: Any) -> bytes:
    """A value as JSON, lone surrogates and all."""
    return json.dumps(value).encode()


def mutated(documents: Sequence[Any]) -> st.SearchStrategy[Any]:
    """The documents with some of their values replaced or gone, or something else altogether."""

    @st.composite
    def mutate(draw: st.DrawFn) -> Any:
        document = copy.deepcopy(draw(st.sampled_from(documents)))
        for _ in range(draw(st.integers(0, 3))):
            _mutate(document, draw)
        return document

    return mutate() | json_values


def _mutate(container: Any, draw: st.DrawFn) -> None:
    names = list(container) if isinstance(container, dict) else list(range(len(container)))
    if not names:
        return
    name = draw(st.sampled_from(names))
    if isinstance(container[name], dict | list) and draw(st.booleans()):
        _mutate(container[name], draw)
    elif draw(st.booleans()):
        container[name] = draw(json_values)
    else:
        del container[name]


# SendGrid


@cache
def sendgrid_key() -> ec.EllipticCurvePrivateKey:
    """The private key of SendGrid."""
    return ec.generate_private_key(ec.SECP256R1())


def public_key(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> str:
    """A public key as SendGrid's console shows it."""
    return base64.b64encode(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()


def sendgrid_headers(body: bytes, at_ms: int = NOW_MS, key: ec.EllipticCurvePrivateKey | None = None) -> dict[str, str]:
    """The headers that prove a body to be SendGrid's."""
    signed_at = f"{at_ms // 1_000}"
    signature = (key or sendgrid_key()).sign(signed_at.encode() + body, ec.ECDSA(SHA256()))
    return {
        "X-Twilio-Email-Event-Webhook-Signature": base64.b64encode(signature).decode(),
        "X-Twilio-Email-Event-Webhook-Timestamp": signed_at,
    }


# Mailgun

MAILGUN_KEY = "key-of-mailgun"


def mailgun_body(event: Any, at_ms: int = NOW_MS, token: str = "", key: str = MAILGUN_KEY) -> bytes:
    """A report of Mailgun with its signature; its token is made of the report unless one is given."""
    signed_at = f"{at_ms // 1_000}"
    token = token or hashlib.sha256(dump(event)).hexdigest()[:50]
    signature = hmac.new(key.encode(), f"{signed_at}{token}".encode(), hashlib.sha256).hexdigest()
    return dump({"signature": {"token": token, "timestamp": signed_at, "signature": signature}, "event-data": event})


# Resend

RESEND_SECRET = f"whsec_{base64.b64encode(b'secret of the webhook').decode()}"


def svix_headers(
    body: bytes, at_ms: int = NOW_MS, event_id: str = "msg_1", secret: str = RESEND_SECRET
) -> dict[str, str]:
    """The headers that prove a body to be Resend's, with the signature of an older secret beside the right one."""
    signed_at = f"{at_ms // 1_000}"
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signature = hmac.new(key, f"{event_id}.{signed_at}.".encode() + body, hashlib.sha256).digest()
    return {
        "svix-id": event_id,
        "svix-timestamp": signed_at,
        "svix-signature": f"v1,{base64.b64encode(b'older').decode()} v1,{base64.b64encode(signature).decode()}",
    }


# SNS

TOPIC = "arn:aws:sns:eu-central-1:123456789012:ses-events"
CERTIFICATE_URL = "https://sns.eu-central-1.amazonaws.com/SimpleNotificationService-0123456789abcdef.pem"
SUBSCRIBE_URL = f"https://sns.eu-central-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token=secret"
_SIGNED = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
}


@cache
def sns_key() -> rsa.RSAPrivateKey:
    """The private key of SNS."""
    return rsa.generate_private_key(public_exponent=65_537, key_size=2_048)


def certificate(until_ms: int = NOW_MS + 86_400_000, public: Any = None) -> bytes:
    """The certificate of SNS's key as PEM, valid for a day before the tests' clock and until a time."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public or sns_key().public_key())
        .serial_number(1)
        .not_valid_before(to_datetime(NOW_MS) - timedelta(days=1))
        .not_valid_after(to_datetime(until_ms))
        .sign(sns_key(), SHA256())
    )
    return made.public_bytes(Encoding.PEM)


def notification(message: Any, version: str = "1", at_ms: int = NOW_MS, **changes: Any) -> dict[str, Any]:
    """A signed message of SNS; a change that is None takes the field away before the signature is made."""
    text = message if isinstance(message, str) else json.dumps(message)
    envelope = {
        "Type": "Notification",
        "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
        "TopicArn": TOPIC,
        "Subject": "Amazon SES Email Event Notification",
        "Message": text,
        "Timestamp": to_iso(at_ms),
        "SignatureVersion": version,
        "SigningCertURL": CERTIFICATE_URL,
        "UnsubscribeURL": "https://sns.eu-central-1.amazonaws.com/?Action=Unsubscribe",
        **changes,
    }
    envelope = {name: value for name, value in envelope.items() if value is not None}
    return {**envelope, "Signature": _sns_signature(envelope)}


def subscription(kind: str = "SubscriptionConfirmation", **changes: Any) -> dict[str, Any]:
    """The signed message with which SNS asks whether it may tell more, or says that it will not."""
    changes = {"Type": kind, "Subject": None, "Token": "secret", "SubscribeURL": SUBSCRIBE_URL, **changes}
    return notification("You have chosen to subscribe to the topic.", **changes)


def _sns_signature(envelope: dict[str, Any]) -> str:
    names = _SIGNED["Notification" if envelope.get("Type") == "Notification" else "SubscriptionConfirmation"]
    content = "".join(f"{name}\n{envelope[name]}\n" for name in names if name in envelope)
    used = SHA256() if envelope.get("SignatureVersion") == "2" else SHA1()  # noqa: S303  # Version 1 is SHA-1.
    return base64.b64encode(sns_key().sign(content.encode(errors="replace"), PKCS1v15(), used)).decode()
