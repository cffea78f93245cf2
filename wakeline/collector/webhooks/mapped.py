"""Any other system that posts JSON: its proof and the meaning of its bodies stand in the settings."""

import base64
import hmac

from wakeline.collector.webhooks.crm import parse_body
from wakeline.collector.webhooks.mapping import Mapping
from wakeline.collector.webhooks.protocol import WebhookAnswer, WebhookRequest, forged
from wakeline.collector.webhooks.settings import MappedSecret, MappedSignature, MappedWebhook
from wakeline.collector.webhooks.signing import require_fresh, require_header, same

#: In seconds, what has so many digits or more would be after the year 5138.
_MILLISECOND_DIGITS = 12


class MappedAdapter:
    """A webhook with rules; raises ConfigError for a rule that is wrong."""

    def __init__(self, name: str, settings: MappedWebhook) -> None:
        self._settings = settings
        self._mapping = Mapping(name, settings.rules)

    async def receive(self, request: WebhookRequest) -> WebhookAnswer:
        """The messages that the rules make of a body; see `protocol.Webhook`."""
        if self._settings.signature is not None:
            _require_signed(self._settings.signature, request)
        if self._settings.shared_secret is not None:
            _require_secret(self._settings.shared_secret, request)
        return WebhookAnswer(self._mapping.messages(parse_body(request.body), request.body))


def _require_signed(settings: MappedSignature, request: WebhookRequest) -> None:
    given, signed = require_header(request.headers, settings.header), request.body
    if settings.timestamp_header:
        signed = require_header(request.headers, settings.timestamp_header).encode() + b"." + signed
    if not same(given, settings.prefix.encode() + _signature(settings, signed)):
        raise forged(f"The signature in the header {settings.header} is wrong.")
    if settings.timestamp_header:
        signed_at_ms = _milliseconds(require_header(request.headers, settings.timestamp_header))
        require_fresh(signed_at_ms, request.now_ms, round(settings.tolerance_seconds * 1000))


def _require_secret(settings: MappedSecret, request: WebhookRequest) -> None:
    if not same(require_header(request.headers, settings.header), settings.value.encode()):
        raise forged(f"The secret in the header {settings.header} is wrong.")


def _signature(settings: MappedSignature, signed: bytes) -> bytes:
    found = hmac.digest(settings.secret.encode(), signed, settings.algorithm)
    return base64.b64encode(found) if settings.encoding == "base64" else found.hex().encode()


def _milliseconds(digits: str) -> str:
    return digits if len(digits) >= _MILLISECOND_DIGITS else f"{digits}000"
