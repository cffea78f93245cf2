"""SNS: whether a message is of one of our topics, and the confirmation that we want to be told more.

Messages: https://docs.aws.amazon.com/sns/latest/dg/http-notification-json.html
Proof: https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html
"""

import logging
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

import httpx
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.x509 import Certificate, load_pem_x509_certificate

from wakeline.clock import to_datetime
from wakeline.collector.refused import RefusedError, try_again
from wakeline.collector.webhooks.fetching import Fetch
from wakeline.collector.webhooks.protocol import forged
from wakeline.collector.webhooks.reading import ms_of_iso, text_at
from wakeline.collector.webhooks.signing import HOUR_MS, base64_bytes, require_fresh

_logger = logging.getLogger(__name__)

NOTIFICATION = "Notification"
CONFIRMATION = "SubscriptionConfirmation"
UNSUBSCRIPTION = "UnsubscribeConfirmation"

_SUBSCRIPTION_FIELDS = ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")
#: Type of message -> what is signed of it, in this order.
_SIGNED = {
    NOTIFICATION: ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    CONFIRMATION: _SUBSCRIPTION_FIELDS,
    UNSUBSCRIPTION: _SUBSCRIPTION_FIELDS,
}
_OPTIONAL = "Subject"
#: SignatureVersion 1 is what a topic has unless it is told otherwise.
_HASHES = {"1": SHA1, "2": SHA256}

# The time is that of publication and retries keep it. No policy may try for longer than an hour, and the last of many
# attempts may be late.
_MAX_AGE_MS = 2 * HOUR_MS
#: SNS has one certificate for each region, and changes it now and then.
_CERTIFICATES_REMEMBERED = 64
_RETRY_SECONDS = 20


class Topics:
    """Some SNS topics, by their ARNs; `fetch` gets what is at an address of SNS."""

    def __init__(self, arns: Iterable[str], fetch: Fetch) -> None:
        self._arns = frozenset(arns)
        self._fetch = fetch
        self._certificates: OrderedDict[str, Certificate] = OrderedDict()

    async def require_genuine(self, envelope: dict[str, Any], now_ms: int) -> dict[str, str]:
        """What is signed of a message; raises RefusedError: 401, or 503 when SNS's certificate is out of reach."""
        signed = _signed_fields(envelope)
        if signed["TopicArn"] not in self._arns:
            raise forged("The topic is not in topic_arns.")
        require_fresh(ms_of_iso(signed["Timestamp"]), now_ms, _MAX_AGE_MS)
        certificate = await self._certificate(text_at(envelope, "SigningCertURL"), signed["TopicArn"])
        _require_signature(envelope, signed, certificate, now_ms)
        return signed

    async def confirm(self, signed: dict[str, str]) -> None:
        """Subscribe to the topic of a SubscriptionConfirmation; raises RefusedError: 503 when SNS does not let us."""
        url, arn = signed["SubscribeURL"], signed["TopicArn"]
        if not _is_of_sns(url, arn):
            raise forged("The SubscribeURL is not an address of SNS.")
        answer = await self._get(url, arn)
        if not answer.is_success:
            _logger.warning("SNS answered %d to the confirmation of %s.", answer.status_code, arn)
            raise _out_of_reach()

    async def _certificate(self, url: str, arn: str) -> Certificate:
        if not _is_of_sns(url, arn) or not httpx.URL(url).path.endswith(".pem"):
            raise forged("The SigningCertURL is not an address of SNS.")
        if url not in self._certificates:
            self._certificates[url] = _parsed(await self._get(url, arn))
            if len(self._certificates) > _CERTIFICATES_REMEMBERED:
                self._certificates.popitem(last=False)
        return self._certificates[url]

    async def _get(self, url: str, arn: str) -> httpx.Response:
        try:
            answer = await self._fetch(url)
        except httpx.HTTPError as error:
            # Neither the address, which may hold a token, nor the message of the error, which may hold the address.
            _logger.warning("SNS cannot be reached for %s: %s.", arn, type(error).__name__)
            raise _out_of_reach() from error
        if answer.is_server_error:
            _logger.warning("SNS answered %d for %s.", answer.status_code, arn)
            raise _out_of_reach()
        return answer


def _out_of_reach() -> RefusedError:
    return try_again(503, "SNS cannot be asked right now.", _RETRY_SECONDS)


def _signed_fields(envelope: dict[str, Any]) -> dict[str, str]:
    if not text_at(envelope, "Signature"):
        raise forged("The message has no signature; switch off raw message delivery of the SNS subscription.")
    names = _SIGNED.get(text_at(envelope, "Type"))
    if names is None:
        raise forged("The Type is none of SNS's.")
    signed = {name: value for name in names if isinstance(value := envelope.get(name), str)}
    missing = [name for name in names if name not in signed and name != _OPTIONAL]
    if missing:
        raise forged(f"The message has no {missing[0]}.")
    return signed


def _require_signature(envelope: dict[str, Any], signed: dict[str, str], certificate: Certificate, now_ms: int) -> None:
    key, used = certificate.public_key(), _HASHES.get(text_at(envelope, "SignatureVersion"))
    if used is None:
        raise forged("The SignatureVersion is neither 1 nor 2.")
    if not isinstance(key, RSAPublicKey):
        raise forged("The certificate of the signature is none of SNS's.")
    if not certificate.not_valid_before_utc <= to_datetime(now_ms) <= certificate.not_valid_after_utc:
        raise forged("The certificate of the signature is not valid now.")
    content = "".join(f"{name}\n{value}\n" for name, value in signed.items())
    try:
        signature = base64_bytes(text_at(envelope, "Signature")) or b""
        key.verify(signature, content.encode(errors="replace"), PKCS1v15(), used())
    except InvalidSignature as error:
        raise forged("The signature is wrong.") from error


def _is_of_sns(url: str, arn: str) -> bool:
    """Whether an address is one of SNS in the topic's region, which nobody but AWS can answer at."""
    _, partition, _, region, *_ = arn.split(":")
    host = f"sns.{region}.amazonaws.com{'.cn' if partition == 'aws-cn' else ''}"
    try:
        parts = httpx.URL(url)
    except httpx.InvalidURL:
        return False
    return parts.scheme == "https" and parts.netloc == host.encode() and not parts.userinfo


def _parsed(answer: httpx.Response) -> Certificate:
    try:
        return load_pem_x509_certificate(answer.content if answer.is_success else b"")
    except ValueError as error:
        raise forged("There is no certificate at the SigningCertURL.") from error
