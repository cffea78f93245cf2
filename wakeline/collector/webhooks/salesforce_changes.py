"""Salesforce's change data capture, as relays post it: one event or a list of them, in whatever they are wrapped.

https://developer.salesforce.com/docs/atlas.en-us.change_data_capture.meta/change_data_capture/cdc_message_structure.htm
"""

import re
from typing import Any

from wakeline.collector.envelope import messages_of
from wakeline.collector.refused import RefusedError
from wakeline.collector.webhooks.crm import nobody, parse_body, time_text, track
from wakeline.collector.webhooks.reading import digest, list_at, object_at, text_at
from wakeline.collector.webhooks.salesforce_records import Fields, is_person, person_known, record_changed, whose

_HEADER = "ChangeEventHeader"
#: What the streaming API and CloudEvents (data), and Amazon EventBridge (detail), wrap an event in.
_WRAPPERS = ("data", "detail", "payload")
#: Amazon EventBridge names the organization in the event's source.
_EVENTBRIDGE_SOURCE = re.compile(r"aws\.partner/salesforce\.com/([A-Za-z0-9]+)/")

_DONE = {"CREATE": "Created", "UPDATE": "Updated", "DELETE": "Deleted", "UNDELETE": "Restored"}
_KNOWING = frozenset({"CREATE", "UPDATE", "UNDELETE"})
UNKNOWN = "Salesforce Event"


def parse_changes(body: bytes, webhook: str) -> tuple[set[str], list[Any]]:
    """The organizations that the events name, and their messages; raises RefusedError (400, 413)."""
    content = parse_body(body)
    events = [content] if isinstance(content, dict) else content
    if not isinstance(events, list):
        raise RefusedError(400, "The body is neither a change event of Salesforce nor a list of them.")
    organizations = {found for event in events if (found := _organization(event))}
    return organizations, messages_of([message for event in events for message in to_messages(event, webhook)])


def to_messages(event: Any, webhook: str) -> list[Any]:
    """The messages of one event, for each of its records; what is not an object stays as it is."""
    if not isinstance(event, dict):
        return [event]
    payload = _payload(event)
    header = object_at(payload, _HEADER)
    kind, records = _about(header)
    if not kind or not records:
        return [track(UNKNOWN, event, anonymousId=nobody(webhook), messageId=digest("salesforce", event))]
    fields = _fields(payload, header)
    return [message for record in records for message in _of_record(kind, record, fields, header)]


def _of_record(kind: str, record: str, fields: Fields, header: dict[str, Any]) -> list[Any]:
    change = text_at(header, "changeType")
    facts = {_HEADER: {**header, "recordIds": [record]}}
    common = {
        "anonymousId": whose(record),
        "messageId": _message_id(kind, record, fields, header),
        "timestamp": time_text(header.get("commitTimestamp")),
    }
    # Where a field's type is changed, one event is about all records: its id ends in a star.
    if change in _KNOWING and is_person(kind, fields) and not record.endswith("*"):
        return person_known(fields, facts, **common)
    return record_changed(kind, _DONE.get(change, "Changed"), fields, facts, **common)


def _message_id(kind: str, record: str, fields: Fields, header: dict[str, Any]) -> str:
    """A transaction numbers its events; without that an event is known by all it says."""
    numbered = header.get("transactionKey"), header.get("sequenceNumber")
    event = numbered if all(numbered) else (header, fields)
    return digest("salesforce", kind, record, header.get("changeType"), event)


def _about(header: dict[str, Any]) -> tuple[str, list[str]]:
    """The type and the ids of the changed records; empty where the header does not say."""
    ids = [record for record in list_at(header, "recordIds") if isinstance(record, str) and record]
    return text_at(header, "entityName"), ids


def _fields(payload: dict[str, Any], header: dict[str, Any]) -> Fields:
    """The fields that have a value or lost it; the name of a person is taken apart.

    The Pub/Sub API fills in all fields, and a field that did not change is null there as well.
    """
    given = {name: value for name, value in payload.items() if name != _HEADER}
    name = given.get("Name")
    if isinstance(name, dict):
        given = {**{field: value for field, value in given.items() if field != "Name"}, **name}
    lost = {str(field).rpartition(".")[2] for field in list_at(header, "nulledFields")}
    return {field: value for field, value in given.items() if value is not None or field in lost}


def _payload(event: dict[str, Any]) -> dict[str, Any]:
    """The part that has the header, whatever it is wrapped in; empty when there is none."""
    found: Any = event
    while isinstance(found, dict) and _HEADER not in found:
        found = next((found[name] for name in _WRAPPERS if name in found), None)
    return found if isinstance(found, dict) else {}


def _organization(event: Any) -> str:
    """The id of the organization that an event names; few do."""
    found = _EVENTBRIDGE_SOURCE.match(text_at(event, "source"))
    return found[1] if found else text_at(event, "organizationId")
