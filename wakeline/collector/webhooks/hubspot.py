"""HubSpot's webhooks: what happens to contacts, companies, deals and other objects.

Events: https://developers.hubspot.com/docs/api/webhooks
Proof: https://developers.hubspot.com/docs/apps/developer-platform/build-apps/authentication/request-validation
Object types: https://developers.hubspot.com/docs/guides/crm/understanding-the-crm#object-type-ids
"""

import base64
import hashlib
import hmac
import re
from typing import Any

from wakeline.collector.refused import RefusedError
from wakeline.collector.webhooks.crm import (
    Message,
    identify,
    is_true,
    nobody,
    parse_body,
    time_text,
    track,
    unsubscribed,
)
from wakeline.collector.webhooks.protocol import WebhookAnswer, WebhookRequest, forged
from wakeline.collector.webhooks.reading import digest, text_at
from wakeline.collector.webhooks.settings import HubspotWebhook
from wakeline.collector.webhooks.signing import MINUTE_MS, require_fresh, require_header, same

#: HubSpot's own word.
MAX_AGE_MS = 5 * MINUTE_MS

#: The encoded characters of an address that HubSpot signs as they are.
_SIGNED_DECODED = {f"%{ord(character):02X}": character for character in ":/?@!$'()*,;"}
_ENCODED = re.compile("|".join(_SIGNED_DECODED), re.IGNORECASE)

_CONTACT = "contact"
#: objectTypeId of `object.*` events -> the name that older subscriptions begin with.
_OBJECTS = {
    "0-1": _CONTACT,
    "0-2": "company",
    "0-3": "deal",
    "0-5": "ticket",
    "0-7": "product",
    "0-8": "line_item",
    "0-14": "quote",
    "0-27": "task",
    "0-46": "note",
    "0-47": "meeting",
    "0-48": "call",
    "0-49": "email",
    "0-53": "invoice",
    "0-69": "subscription",
    "0-123": "order",
    "0-136": "lead",
    "0-142": "cart",
}
_DONE = {
    "creation": "Created",
    "deletion": "Deleted",
    "privacyDeletion": "Privacy Deleted",
    "propertyChange": "Updated",
    "merge": "Merged",
    "restore": "Restored",
    "associationChange": "Association Changed",
    "newMessage": "Message Added",
}
UNKNOWN = "HubSpot Event"
#: What an event is about: the object, one end of an association, or what a merge has left.
_RECORD_IDS = ("objectId", "fromObjectId", "primaryObjectId")

#: Contact property -> the trait of the Segment spec that it is; all others keep their names.
_TRAITS = {"firstname": "firstName", "lastname": "lastName"}
#: All mail, or one subscription type by its id.
_OPT_OUT = re.compile(r"hs_email_optout(_\d+)?")


class HubspotAdapter:
    """Takes signature v3 only: v1 and v2 sign no time, so that a recorded request could be played back for ever."""

    def __init__(self, name: str, settings: HubspotWebhook) -> None:
        self._name = name
        self._secret = settings.client_secret.encode()

    async def receive(self, request: WebhookRequest) -> WebhookAnswer:
        """The messages of a batch; see `protocol.Webhook`."""
        self._require_genuine(request)
        content = parse_body(request.body)
        events = [content] if isinstance(content, dict) else content
        if not isinstance(events, list):
            raise RefusedError(400, "The body is not a list of HubSpot's events.")
        return WebhookAnswer([message for event in events for message in to_messages(event, self._name)])

    def _require_genuine(self, request: WebhookRequest) -> None:
        signature = require_header(request.headers, "X-HubSpot-Signature-v3")
        signed_time = require_header(request.headers, "X-HubSpot-Request-Timestamp")
        signed = b"".join((b"POST", signed_address(request.url).encode(), request.body, signed_time.encode()))
        expected = base64.b64encode(hmac.digest(self._secret, signed, hashlib.sha256))
        if not same(signature, expected):
            raise forged("The signature is wrong; check client_secret and activation.public_url.")
        require_fresh(signed_time, request.now_ms, MAX_AGE_MS)


def signed_address(url: str) -> str:
    """The address as HubSpot signs it: a few encoded characters are decoded, all others stay."""
    return _ENCODED.sub(lambda found: _SIGNED_DECODED[found[0].upper()], url)


def to_messages(event: Any, webhook: str) -> list[Any]:
    """The messages of one event; what is not an object stays as it is and is quarantined later."""
    if not isinstance(event, dict):
        return [event]
    kind, action = _subscription(event)
    record = next(filter(None, (text_at(event, name) for name in _RECORD_IDS)), "")
    common = {
        "anonymousId": _whose(kind, record) or nobody(webhook),
        # eventId is documented as not unique; a repeated delivery differs in nothing but the number of the attempt.
        "messageId": digest("hubspot", {name: value for name, value in event.items() if name != "attemptNumber"}),
        "timestamp": time_text(event.get("occurredAt")),
    }
    if record and (kind, action) == (_CONTACT, "propertyChange") and isinstance(event.get("propertyName"), str):
        return _contact_changed(event, common)
    return [track(_event_name(kind, action), event, **common)]


def _contact_changed(event: dict[str, Any], common: dict[str, Any]) -> list[Message]:
    name, value = event["propertyName"], event.get("propertyValue")
    known = identify({_TRAITS.get(name, name): value}, event, **common)
    opted_out = _OPT_OUT.fullmatch(name) is not None and is_true(value)
    return [known, unsubscribed(known)] if opted_out else [known]


def _subscription(event: dict[str, Any]) -> tuple[str, str]:
    """('contact', 'creation') for `contact.creation`, and for `object.creation` of a contact."""
    kind, _, action = str(event.get("subscriptionType", "")).partition(".")
    if kind == "object":
        kind = _OBJECTS.get(str(event.get("objectTypeId") or event.get("fromObjectTypeId")), kind)
    return kind, action


def _whose(kind: str, record: str) -> str:
    """A contact is a person; the ids of other objects may be those of contacts as well."""
    if not record:
        return ""
    return f"hubspot-{record}" if kind == _CONTACT else f"hubspot-{kind}-{record}"


def _event_name(kind: str, action: str) -> str:
    return f"{kind.replace('_', ' ').title()} {_DONE[action]}" if kind and action in _DONE else UNKNOWN
