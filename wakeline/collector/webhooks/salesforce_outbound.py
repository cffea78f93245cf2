"""Salesforce's outbound messages: SOAP 1.1, with one to a hundred notifications each.

https://developer.salesforce.com/docs/atlas.en-us.api.meta/api/sforce_api_om_outboundmessaging_understanding.htm
The SessionId in a message gives access to Salesforce; it is not kept.
"""

# lxml comes without types.
# mypy: disable-error-code="import-untyped"

from typing import Any

from lxml import etree

from wakeline.collector.refused import RefusedError
from wakeline.collector.webhooks.reading import digest, text_at, truncate_ips
from wakeline.collector.webhooks.salesforce_records import is_person, person_known, record_changed, whose

_SOAP = "{http://schemas.xmlsoap.org/soap/envelope/}"
_OUTBOUND = "{http://soap.sforce.com/2005/09/outbound}"
_INSTANCE = "{http://www.w3.org/2001/XMLSchema-instance}"

#: Longer than any Salesforce id, and short enough for a message id with something added.
_MAX_ID_LENGTH = 100

#: Without exactly this answer Salesforce sends the message again, for up to 24 hours.
ACKNOWLEDGED = (
    '<?xml version="1.0" encoding="UTF-8"?>'
    '<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"><soapenv:Body>'
    '<notificationsResponse xmlns="http://soap.sforce.com/2005/09/outbound"><Ack>true</Ack></notificationsResponse>'
    "</soapenv:Body></soapenv:Envelope>"
)


def parse_outbound(body: bytes) -> tuple[str, list[Any]]:
    """The id of the organization and the messages; raises RefusedError (400) for what is no outbound message."""
    notifications = _root(body).find(f"{_SOAP}Body/{_OUTBOUND}notifications")
    found = [] if notifications is None else notifications.findall(f"{_OUTBOUND}Notification")
    if not found:
        raise RefusedError(400, "The body is not an outbound message of Salesforce.")
    organization = notifications.findtext(f"{_OUTBOUND}OrganizationId", "").strip()
    messages = [message for one in found for message in _messages(one)]
    truncate_ips(messages)
    return organization, messages


def _root(body: bytes) -> Any:
    """The root of the XML; SOAP 1.1 forbids document types, and with them goes every attack by entities."""
    parser = etree.XMLParser(
        resolve_entities=False,
        load_dtd=False,
        no_network=True,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )
    try:
        root = etree.fromstring(body, parser)
    except etree.XMLSyntaxError as error:
        raise RefusedError(400, "The body is not valid XML.") from error
    if root.getroottree().docinfo.internalDTD is not None:
        raise RefusedError(400, "The XML has a document type, which SOAP forbids.")
    return root


def _messages(notification: Any) -> list[Any]:
    """The messages of one notification; without a typed record it stays as it is and is quarantined later."""
    record = notification.find(f"{_OUTBOUND}sObject")
    kind = "" if record is None else record.get(f"{_INSTANCE}type", "").rpartition(":")[2]
    fields = {} if record is None else _value(record)
    if not kind or not isinstance(fields, dict):
        return [{"Notification": _value(notification)}]
    return _of_record(kind, fields, _message_id(notification))


def _of_record(kind: str, fields: dict[str, Any], message_id: str) -> list[Any]:
    record = text_at(fields, "Id")
    fields = {name: value for name, value in fields.items() if name != "Id"}
    facts = {"Id": record, "sObject": kind}
    common = {
        "anonymousId": whose(record),
        "messageId": message_id,
        # The record is sent as it is now, not as it was when the notification was made.
        "timestamp": fields.get("LastModifiedDate"),
    }
    if is_person(kind, fields):
        return person_known(fields, facts, **common)
    return record_changed(kind, "Changed", fields, facts, **common)


def _message_id(notification: Any) -> str:
    given = notification.findtext(f"{_OUTBOUND}Id", "").strip()
    return given if 0 < len(given) <= _MAX_ID_LENGTH else digest("salesforce", _value(notification))


def _value(element: Any) -> Any:
    """An element's text, its children by name, or None where it says that it is nil."""
    if len(element):
        return {etree.QName(child).localname: _value(child) for child in element}
    nil = element.get(f"{_INSTANCE}nil") in ("true", "1")
    return None if nil else element.text or ""
