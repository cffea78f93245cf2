"""Records of Salesforce as messages: people become `identify`, everything else `track`.

Fields: https://developer.salesforce.com/docs/atlas.en-us.object_reference.meta/object_reference/ (Contact, Lead, and
Account, which is a person where person accounts are in use).
"""

from typing import Any

from wakeline.collector.webhooks.crm import Message, identify, is_true, track, unsubscribed

_PEOPLE = frozenset({"Contact", "Lead"})
_ACCOUNT = "Account"
#: Fields that only the account of a person has a value in.
_PERSON_FIELDS = ("Person", "FirstName", "LastName")

#: Field -> the trait of the Segment spec that it is; all others keep their names.
_TRAITS = {
    "Email": "email",
    "PersonEmail": "email",
    "FirstName": "firstName",
    "LastName": "lastName",
    "Phone": "phone",
}
_OPT_OUTS = ("HasOptedOutOfEmail", "PersonHasOptedOutOfEmail")

Fields = dict[str, Any]


def is_person(kind: str, fields: Fields) -> bool:
    """Whether a record of this type is a person's: a contact, a lead, or the account of a person."""
    if kind != _ACCOUNT:
        return kind in _PEOPLE
    filled = (name for name, value in fields.items() if value is not None)
    return is_true(fields.get("IsPersonAccount")) or any(name.startswith(_PERSON_FIELDS) for name in filled)


def person_known(fields: Fields, facts: Fields, **common: Any) -> list[Message]:
    """What a record says of a person, and the opt-out when it says one; a `false` there is no consent."""
    traits = {_TRAITS.get(name, name): value for name, value in fields.items()}
    known = identify(traits, facts, **common)
    return [known, unsubscribed(known)] if any(is_true(fields.get(name)) for name in _OPT_OUTS) else [known]


def record_changed(kind: str, done: str, fields: Fields, facts: Fields, **common: Any) -> list[Message]:
    """What happened to a record, "Opportunity Changed" for one."""
    return [track(f"{kind} {done}", {**fields, **facts}, **common)]


def whose(record: str) -> str:
    """The anonymousId of a record; empty without an id. Ids are unique among all types."""
    return f"salesforce-{record}" if record else ""
