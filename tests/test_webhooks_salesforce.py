"""What Salesforce tells by outbound messages and change events."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree
from support.clocks import NOW_MS, SECOND_MS
from support.collecting import Collector
from support.webhooks_crm import JSON_VALUES, ORGANIZATION, accepted, refusals, row_of, salesforce

from wakeline.clock import to_iso
from wakeline.collector.webhooks.salesforce import same_id
from wakeline.collector.webhooks.salesforce_changes import UNKNOWN
from wakeline.errors import StreamError

SECTIONS = {
    "webhooks": {
        "crm": {
            "kind": "salesforce",
            "organization_id": ORGANIZATION,
            "username": "sf",
            "password": "sf-password",
        }
    }
}
RECORD = "0035g00000XyZabAAF"
AT = "2027-01-15T07:59:00.000Z"


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[Collector]:
    made = Collector(tmp_path, sections=SECTIONS)
    yield made
    made.stream.close()


def notification(kind: str = "sf:Contact", number: int = 1, **fields: str) -> str:
    """A notification as the documentation shows it."""
    given_fields = {"Id": RECORD, "LastModifiedDate": AT, **fields}
    inner = "".join(f"<sf:{name}>{value}</sf:{name}>" for name, value in given_fields.items())
    return (
        f"<Notification><Id>04l5g00000NtfId{number:03}</Id>"
        f'<sObject xsi:type="{kind}" xmlns:sf="urn:sobject.enterprise.soap.sforce.com">{inner}</sObject></Notification>'
    )


def outbound(*notifications: str, organization: str = ORGANIZATION, before: str = "") -> bytes:
    """An outbound message as Salesforce posts it."""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>{before}'
        '<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" '
        'xmlns:xsd="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">'
        '<soapenv:Body><notifications xmlns="http://soap.sforce.com/2005/09/outbound">'
        f"<OrganizationId>{organization}</OrganizationId><ActionId>04k5g000000ActnAAC</ActionId>"
        "<SessionId>00D5g!a-session-id</SessionId>"
        "<EnterpriseUrl>https://example.my.salesforce.com/services/Soap/c/59.0/00D5g</EnterpriseUrl>"
        "<PartnerUrl>https://example.my.salesforce.com/services/Soap/u/59.0/00D5g</PartnerUrl>"
        f"{''.join(notifications)}</notifications></soapenv:Body></soapenv:Envelope>"
    ).encode()


def change(entity: str = "Contact", kind: str = "UPDATE", records: Any = (RECORD,), **fields: Any) -> dict[str, Any]:
    """A change event as the documentation shows it."""
    header = {
        "entityName": entity,
        "recordIds": list(records),
        "changeType": kind,
        "changeOrigin": "com/salesforce/api/soap/60.0;client=SfdcInternalAPI/",
        "transactionKey": "00006bec-ce66-0611-9018-30a98446c9f2",
        "sequenceNumber": 1,
        "commitTimestamp": NOW_MS - SECOND_MS,
        "commitNumber": 1100670838951,
        "commitUser": "0055f000005mc66AAA",
        "nulledFields": [],
        "diffFields": [],
        "changedFields": list(fields),
    }
    return {"schema": "Jx8Hz9ElkIUaBf", "payload": {"ChangeEventHeader": header, **fields}, "event": {"replayId": 7}}


def dumped(content: Any) -> bytes:
    return json.dumps(content).encode()


# Proof


@pytest.mark.parametrize("auth", [None, ("sf", "another-password"), ("another", "sf-password"), ("", "")])
def test_a_wrong_password_is_refused_before_the_body_is_read(collector: Collector, auth: Any) -> None:
    for body in (outbound(notification()), b"not readable"):
        assert salesforce(collector, body, auth).status_code == 401
    assert collector.records() == []
    assert salesforce(collector, b"not readable").status_code == 400


def test_a_message_of_another_organization_is_refused(collector: Collector) -> None:
    for other in ("00D5g000000ABCXEAZ", "00d5g000000abcdeaz", "", "00D"):
        answer = salesforce(collector, outbound(notification(), organization=other))
        assert (answer.status_code, answer.json()["error"]) == (
            401,
            "The message is not of the Salesforce organization in the settings.",
        )
    assert collector.records() == []


def test_both_forms_of_an_id_are_the_same() -> None:
    assert same_id(ORGANIZATION, ORGANIZATION[:15])
    assert same_id(ORGANIZATION[:15], ORGANIZATION)
    assert not same_id(ORGANIZATION[:15].swapcase(), ORGANIZATION)
    assert not same_id(ORGANIZATION[:16], ORGANIZATION)


def test_the_shorter_form_of_the_organization_is_taken(collector: Collector) -> None:
    assert salesforce(collector, outbound(notification(), organization=ORGANIZATION[:15])).status_code == 200


# Outbound messages


def test_an_outbound_message_is_acknowledged_once_it_is_kept(collector: Collector) -> None:
    answer = salesforce(collector, outbound(notification(Email="ann@example.com")))
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/xml")
    root = etree.fromstring(answer.content)
    assert root.findtext(".//{http://soap.sforce.com/2005/09/outbound}Ack") == "true"
    assert len(collector.records()) == 1


def test_an_outbound_message_that_cannot_be_kept_is_not_acknowledged(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_events: Any) -> None:
        raise StreamError("The disk is full.")

    monkeypatch.setattr(collector.stream, "append", full)
    answer = salesforce(collector, outbound(notification()))
    assert answer.status_code == 503
    assert b"Ack" not in answer.content


@pytest.mark.parametrize("kind", ["sf:Contact", "sf:Lead"])
def test_a_person_of_salesforce_is_identified(collector: Collector, kind: str) -> None:
    fields = {
        "Email": "ann@example.com",
        "FirstName": "Ann",
        "LastName": "L&amp;ee",
        "Phone": "+1 555",
        "Tier__c": "gold",
    }
    salesforce(collector, outbound(notification(kind, **fields)))
    [message] = accepted(collector)
    assert (message["type"], message["anonymousId"]) == ("identify", f"salesforce-{RECORD}")
    assert (message["messageId"], message["timestamp"]) == ("04l5g00000NtfId001", AT)
    assert message["traits"] == {
        "email": "ann@example.com",
        "firstName": "Ann",
        "lastName": "L&ee",
        "phone": "+1 555",
        "Tier__c": "gold",
        "LastModifiedDate": AT,
    }
    assert message["properties"] == {"Id": RECORD, "sObject": kind.removeprefix("sf:"), "automated": True}


def test_an_account_is_a_person_when_it_says_so(collector: Collector) -> None:
    person = notification("sf:Account", 1, PersonEmail="ann@example.com", FirstName="Ann")
    company = notification("sf:Account", 2, Name="Acme", Phone="+1 555")
    salesforce(collector, outbound(person, company))
    known, changed = sorted(accepted(collector), key=lambda message: message["messageId"])
    assert (known["type"], known["traits"]["email"], known["traits"]["firstName"]) == (
        "identify",
        "ann@example.com",
        "Ann",
    )
    assert (changed["type"], changed["event"]) == ("track", "Account Changed")
    assert changed["properties"]["Name"] == "Acme"


def test_any_other_record_is_an_event(collector: Collector) -> None:
    salesforce(collector, outbound(notification("sf:Opportunity", StageName="Closed Won", Amount="12.5")))
    [message] = accepted(collector)
    assert (message["type"], message["event"]) == ("track", "Opportunity Changed")
    assert message["properties"] == {
        "StageName": "Closed Won",
        "Amount": "12.5",
        "LastModifiedDate": AT,
        "Id": RECORD,
        "sObject": "Opportunity",
        "automated": True,
    }


def test_a_hundred_notifications_are_a_hundred_messages(collector: Collector) -> None:
    salesforce(collector, outbound(*(notification(number=number) for number in range(100))))
    assert len({message["messageId"] for message in accepted(collector)}) == 100


@pytest.mark.parametrize("field", ["HasOptedOutOfEmail", "PersonHasOptedOutOfEmail"])
@pytest.mark.parametrize("value", ["true", "1"])
def test_an_opt_out_is_heard_for_the_record_and_its_address(collector: Collector, field: str, value: str) -> None:
    kind = "sf:Account" if field.startswith("Person") else "sf:Contact"
    salesforce(collector, outbound(notification(kind, Email="Ann@example.com", **{field: value})))
    assert sorted(refusals(collector)) == [
        (f"anonymous:salesforce-{RECORD}", "marketing", False),
        ("email:ann@example.com", "marketing", False),
    ]
    assert row_of(collector, "Unsubscribed").message_id == "04l5g00000NtfId001-unsubscribed"


@pytest.mark.parametrize("value", ["false", "0", ""])
def test_no_opt_out_is_no_consent(collector: Collector, value: str) -> None:
    salesforce(collector, outbound(notification(Email="ann@example.com", HasOptedOutOfEmail=value)))
    assert len(accepted(collector)) == 1
    assert refusals(collector) == []


def test_a_repeated_notification_has_the_same_message_id(collector: Collector) -> None:
    for _ in range(2):
        salesforce(collector, outbound(notification(HasOptedOutOfEmail="true")))
    ids = [message["messageId"] for message in accepted(collector)]
    assert (len(ids), len(set(ids))) == (4, 2)


def test_the_session_id_is_not_kept(collector: Collector) -> None:
    salesforce(collector, outbound(notification(), "<Notification><Id>1</Id></Notification>"))
    assert all(b"a-session-id" not in envelope.message for envelope in collector.envelopes())


def test_a_notification_without_a_record_is_quarantined_beside_its_neighbours(collector: Collector) -> None:
    broken = "<Notification><Id>1</Id><sObject/></Notification>"
    answer = salesforce(collector, outbound(broken, notification(), "<Notification/>"))
    assert b"<Ack>true</Ack>" in answer.content
    assert len(accepted(collector)) == 1
    assert [row.reason for row in collector.rows() if row.status == "quarantined"] == ["type is missing"] * 2


def test_nil_is_nothing_and_nested_fields_are_kept(collector: Collector) -> None:
    odd = notification(Address="<sf:city>Oslo</sf:city>").replace("<sf:Id>", '<sf:Fax xsi:nil="true"/><sf:Id>')
    salesforce(collector, outbound(odd))
    [message] = accepted(collector)
    assert message["traits"]["Fax"] is None
    assert message["traits"]["Address"] == {"city": "Oslo"}


LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10 if n else "lol"}">' for n in range(10))


@pytest.mark.parametrize(
    "before",
    [
        f"<!DOCTYPE x [{LAUGHS}]>",
        '<!DOCTYPE x [<!ENTITY l9 SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE x [<!ENTITY l9 SYSTEM "http://127.0.0.1:9/">]>',
        '<!DOCTYPE x SYSTEM "http://127.0.0.1:9/x.dtd">',
        '<!DOCTYPE x [<!ENTITY % p SYSTEM "file:///etc/passwd">%p;]>',
        "<!DOCTYPE x>",
    ],
    ids=["billion laughs", "a file", "an address", "a dtd", "a parameter entity", "a bare type"],
)
@pytest.mark.parametrize("value", ["&l9;", "plain"])
def test_document_types_and_their_entities_are_refused(collector: Collector, before: str, value: str) -> None:
    answer = salesforce(collector, outbound(notification(LastName=value), before=before))
    assert answer.status_code == 400
    assert answer.json()["error"] in ("The XML has a document type, which SOAP forbids.", "The body is not valid XML.")
    assert collector.records() == []


def test_entities_in_attributes_are_refused(collector: Collector) -> None:
    laughing = notification().replace("<Id>", '<Id a="&l9;">', 1)
    assert salesforce(collector, outbound(laughing, before=f"<!DOCTYPE x [{LAUGHS}]>")).status_code == 400


@pytest.mark.parametrize(
    "body",
    [
        b"<",
        b"<a/>",
        b"<a" * 10_000,
        b"<a>" * 5_000,
        outbound(),
        outbound(notification())[:-20],
        b'<?xml version="1.0" encoding="nonsense"?><a/>',
        outbound(notification(LastName="\x01")),
        outbound(notification(LastName="<a>" * 200 + "</a>" * 200)),
    ],
    ids=range(9),
)
def test_other_xml_is_refused(collector: Collector, body: bytes) -> None:
    assert salesforce(collector, body).status_code == 400
    assert collector.records() == []


# Change events


def test_a_change_of_a_contact_says_what_is_known_of_it(collector: Collector) -> None:
    name = {"Salutation": "Ms.", "FirstName": "Ann", "LastName": "Lee"}
    answer = salesforce(collector, dumped(change(Email="ann@example.com", Name=name, Fax=None)))
    assert (answer.status_code, answer.text) == (200, "")
    [message] = accepted(collector)
    assert (message["type"], message["anonymousId"]) == ("identify", f"salesforce-{RECORD}")
    assert message["timestamp"] == to_iso(NOW_MS - SECOND_MS)
    assert message["traits"] == {
        "email": "ann@example.com",
        "firstName": "Ann",
        "lastName": "Lee",
        "Salutation": "Ms.",
    }
    assert message["properties"]["automated"] is True
    assert message["properties"]["ChangeEventHeader"]["changeType"] == "UPDATE"


def test_a_field_that_lost_its_value_is_told(collector: Collector) -> None:
    sent = change(Phone=None, Fax=None)
    sent["payload"]["ChangeEventHeader"]["nulledFields"] = ["Phone"]
    salesforce(collector, dumped(sent))
    assert accepted(collector)[0]["traits"] == {"phone": None}


@pytest.mark.parametrize("kind", ["CREATE", "UPDATE", "UNDELETE"])
def test_each_record_of_a_change_is_a_person(collector: Collector, kind: str) -> None:
    salesforce(collector, dumped(change("Lead", kind, ["00Q1", "00Q2"], Email="ann@example.com")))
    found = accepted(collector)
    assert sorted(message["anonymousId"] for message in found) == ["salesforce-00Q1", "salesforce-00Q2"]
    assert {message["type"] for message in found} == {"identify"}
    assert len({message["messageId"] for message in found}) == 2
    for message in found:
        assert message["properties"]["ChangeEventHeader"]["recordIds"] == [
            message["anonymousId"].removeprefix("salesforce-")
        ]


@pytest.mark.parametrize(
    ("entity", "kind", "records", "name"),
    [
        ("Contact", "DELETE", [RECORD], "Contact Deleted"),
        ("Opportunity", "CREATE", [RECORD], "Opportunity Created"),
        ("Opportunity", "UPDATE", [RECORD], "Opportunity Updated"),
        ("Thing__c", "UNDELETE", [RECORD], "Thing__c Restored"),
        ("Contact", "GAP_UPDATE", [RECORD], "Contact Changed"),
        ("Contact", "GAP_OVERFLOW", [RECORD], "Contact Changed"),
        ("Contact", "UPDATE", ["003*"], "Contact Updated"),
        ("Account", "UPDATE", [RECORD], "Account Updated"),
    ],
)
def test_every_other_change_is_an_event(
    collector: Collector, entity: str, kind: str, records: list[str], name: str
) -> None:
    salesforce(collector, dumped(change(entity, kind, records, Amount=5)))
    [message] = accepted(collector)
    assert (message["type"], message["event"]) == ("track", name)
    assert (message["properties"]["Amount"], message["properties"]["automated"]) == (5, True)


@pytest.mark.parametrize("wrapped", ["bare", "payload", "data", "data payload", "detail"])
def test_a_change_is_found_in_whatever_a_relay_wraps_it(collector: Collector, wrapped: str) -> None:
    sent = change(Email="ann@example.com")
    forms = {
        "bare": sent["payload"],
        "payload": sent,
        "data": {"specversion": "1.0", "type": "com.salesforce", "data": sent},
        "data payload": {"channel": "/data/ChangeEvents", "data": sent["payload"]},
        "detail": {"source": f"aws.partner/salesforce.com/{ORGANIZATION}/0YL5g", "detail": sent},
    }
    assert salesforce(collector, dumped([forms[wrapped]])).status_code == 200
    assert accepted(collector)[0]["traits"] == {"email": "ann@example.com"}


@pytest.mark.parametrize(
    "named", [{"organizationId": "00D5g000000XXXXEAZ"}, {"source": "aws.partner/salesforce.com/00D5g000000XXXXEAZ/1"}]
)
def test_a_change_that_names_another_organization_is_refused(collector: Collector, named: dict[str, str]) -> None:
    assert salesforce(collector, dumped([change(), {**change(), **named}])).status_code == 401
    assert collector.records() == []


def test_an_opt_out_in_a_change_is_heard(collector: Collector) -> None:
    salesforce(collector, dumped(change(HasOptedOutOfEmail=True)))
    assert refusals(collector) == [(f"anonymous:salesforce-{RECORD}", "marketing", False)]
    salesforce(collector, dumped(change("Account", PersonHasOptedOutOfEmail=True, PersonEmail="ann@example.com")))
    assert ("email:ann@example.com", "marketing", False) in refusals(collector)


@pytest.mark.parametrize("value", [False, None, "", 0])
def test_a_change_without_an_opt_out_is_no_consent(collector: Collector, value: Any) -> None:
    salesforce(collector, dumped(change(HasOptedOutOfEmail=value)))
    assert len(accepted(collector)) == 1
    assert refusals(collector) == []


def test_a_repeated_change_has_the_same_message_id_and_the_next_another(collector: Collector) -> None:
    following = change(Phone="1")
    following["payload"]["ChangeEventHeader"]["sequenceNumber"] = 2
    for sent in (change(Phone="1"), [change(Phone="1")], following):
        salesforce(collector, dumped(sent))
    ids = [message["messageId"] for message in accepted(collector)]
    assert (len(ids), len(set(ids))) == (3, 2)


@pytest.mark.parametrize(
    "sent",
    [
        {"something": "else"},
        {"payload": {"ChangeEventHeader": "none"}},
        {"payload": {"ChangeEventHeader": {"entityName": "Contact"}}},
        {"payload": {"ChangeEventHeader": {"entityName": "Contact", "recordIds": [7, None]}}},
    ],
)
def test_an_unknown_event_is_kept_whole(collector: Collector, sent: dict[str, Any]) -> None:
    salesforce(collector, dumped(sent))
    [message] = accepted(collector)
    assert (message["event"], message["anonymousId"]) == (UNKNOWN, "webhook-crm")
    assert message["properties"] == {**sent, "automated": True}


def test_garbage_is_quarantined_beside_valid_changes(collector: Collector) -> None:
    assert salesforce(collector, dumped([7, change(), None, "text"])).status_code == 200
    assert len(accepted(collector)) == 1
    assert [row.reason for row in collector.rows() if row.status == "quarantined"] == [
        "the message is not an object"
    ] * 3


def test_a_change_of_too_many_records_is_refused(collector: Collector) -> None:
    assert salesforce(collector, dumped(change(records=[f"003{n}" for n in range(2_501)]))).status_code == 413


@pytest.mark.parametrize("body", [b"", b"{", b"7", b"null", b"\xff\xfe<", b"[" * 5_000, b"{}" * 2])
def test_an_unreadable_body_is_refused(collector: Collector, body: bytes) -> None:
    assert salesforce(collector, body).status_code == 400


_HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "entityName": st.sampled_from(["Contact", "Account", "Case"]) | JSON_VALUES,
        "recordIds": st.lists(st.text(max_size=300) | JSON_VALUES, max_size=3) | JSON_VALUES,
        "changeType": st.sampled_from(["UPDATE", "DELETE"]) | JSON_VALUES,
        "nulledFields": JSON_VALUES,
        "commitTimestamp": st.integers() | JSON_VALUES,
        "transactionKey": JSON_VALUES,
        "sequenceNumber": JSON_VALUES,
    },
)
_PAYLOADS = st.fixed_dictionaries(
    {"ChangeEventHeader": _HEADERS | JSON_VALUES},
    optional={"Name": JSON_VALUES, "Email": JSON_VALUES, "HasOptedOutOfEmail": JSON_VALUES},
)


@given(st.lists(st.builds(lambda payload: {"payload": payload}, _PAYLOADS) | JSON_VALUES, max_size=3) | JSON_VALUES)
@settings(max_examples=60, deadline=None)
def test_no_change_that_is_proven_is_answered_with_a_fault(tmp_path_factory: pytest.TempPathFactory, sent: Any) -> None:
    collector = Collector(tmp_path_factory.mktemp("fuzz"), sections=SECTIONS)
    try:
        whole = [*sent, change(records=["neighbour"])] if isinstance(sent, list) else sent
        answer = salesforce(collector, dumped(whole))
        assert answer.status_code in (200, 400)
        if isinstance(sent, list):
            assert "salesforce-neighbour" in [message.get("anonymousId") for message in accepted(collector)]
        assert all(len(row.message_id) <= 255 for row in collector.rows())
    finally:
        collector.stream.close()


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_no_xml_that_is_proven_is_answered_with_a_fault(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    collector = Collector(tmp_path_factory.mktemp("fuzz"), sections=SECTIONS)
    try:
        body = bytearray(outbound(notification(Email="ann@example.com"), notification("sf:Case", 2)))
        for _ in range(data.draw(st.integers(1, 6))):
            place = data.draw(st.integers(0, len(body) - 1))
            body[place : place + data.draw(st.integers(0, 30))] = data.draw(st.binary(max_size=5))
        assert salesforce(collector, bytes(body)).status_code in (200, 400, 401)
        assert all(len(row.message_id) <= 255 for row in collector.rows())
    finally:
        collector.stream.close()
