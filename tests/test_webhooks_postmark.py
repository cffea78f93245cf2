"""Postmark's webhooks."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from support.webhooks import (
    ANN,
    CAMPAIGN,
    CHROME,
    KEY,
    METADATA,
    OPTED_OUT,
    SUPPRESSED,
    THEN_MS,
    Webhooks,
    dump,
    mutated,
)

from wakeline.clock import to_iso

SECTION = {"webhooks": {"mail": {"kind": "postmark", "username": "postmark", "password": "päss:word"}}}
MAIL_ID = "00000000-0000-0000-0000-000000000000"
THEN = to_iso(THEN_MS).replace("Z", "0000Z")  # Postmark writes seven digits.
COMMON = {"MessageID": MAIL_ID, "MessageStream": "outbound", "ServerID": 23, "Tag": "welcome", "Metadata": METADATA}
BOUNCE = {
    **COMMON,
    "RecordType": "Bounce",
    "ID": 42,
    "Type": "HardBounce",
    "TypeCode": 1,
    "Name": "Hard bounce",
    "Description": "The server was unable to deliver your message.",
    "Details": "smtp;550 5.1.1 unknown user",
    "Email": ANN,
    "From": "shop@example.com",
    "BouncedAt": THEN,
    "Inactive": True,
}
PERSON = {
    "Recipient": ANN,
    "ReceivedAt": THEN,
    "UserAgent": CHROME,
    "Platform": "Desktop",
    "Geo": {"IP": "203.0.113.7", "City": "Novi Sad"},
}
CHANGE = {
    **COMMON,
    "RecordType": "SubscriptionChange",
    "Recipient": ANN,
    "ChangedAt": THEN,
    "Origin": "Recipient",
    "SuppressSending": True,
    "SuppressionReason": "ManualSuppression",
}
SOFT = {"bounce_type": "soft", "diagnostic": BOUNCE["Details"]}

#: A report, the event that it is, what it says, and what is concluded of it.
CASES: list[tuple[dict[str, Any], str, dict[str, Any], set[str]]] = [
    (
        {**COMMON, "RecordType": "Delivery", "Recipient": ANN, "DeliveredAt": THEN, "Details": "250 OK"},
        "Email Delivered",
        {"diagnostic": "250 OK"},
        set(),
    ),
    (
        BOUNCE,
        "Email Bounced",
        {"bounce_type": "hard", "diagnostic": BOUNCE["Details"], "bounce_classification": "HardBounce"},
        {SUPPRESSED},
    ),
    (
        {**BOUNCE, "Type": "BadEmailAddress"},
        "Email Bounced",
        {"bounce_type": "hard", "diagnostic": BOUNCE["Details"], "bounce_classification": "BadEmailAddress"},
        {SUPPRESSED},
    ),
    *(
        ({**BOUNCE, "Type": kind}, "Email Bounced", {**SOFT, "bounce_classification": kind}, set[str]())
        for kind in ("SoftBounce", "DnsError", "SpamNotification", "Blocked", "DMARCPolicy", "Unknown", "Invented")
    ),
    ({**BOUNCE, "Type": "Transient"}, "Email Deferred", {"diagnostic": BOUNCE["Details"]}, set()),
    (
        {**BOUNCE, "Type": "ManuallyDeactivated"},
        "Email Dropped",
        {"reason": "ManuallyDeactivated", "diagnostic": BOUNCE["Details"]},
        set(),
    ),
    ({**BOUNCE, "Type": "Unsubscribe"}, "Unsubscribed", {}, {OPTED_OUT}),
    ({**BOUNCE, "Type": "SpamComplaint"}, "Email Marked as Spam", {}, {SUPPRESSED}),
    (
        {**BOUNCE, "RecordType": "SpamComplaint", "Type": "SpamComplaint", "TypeCode": 100_001},
        "Email Marked as Spam",
        {},
        {SUPPRESSED},
    ),
    ({**COMMON, **PERSON, "RecordType": "Open", "FirstOpen": True}, "Email Opened", {"automated": False}, set()),
    (
        {**COMMON, **PERSON, "RecordType": "Open", "UserAgent": ""},
        "Email Opened",
        {"automated": True, "automated_reason": "bot"},
        set(),
    ),
    (
        {**COMMON, **PERSON, "RecordType": "Click", "OriginalLink": "https://shop.example.com/p/1"},
        "Email Link Clicked",
        {"link_url": "https://shop.example.com/p/1", "automated": False},
        set(),
    ),
    (CHANGE, "Unsubscribed", {}, {OPTED_OUT}),
]
UNKNOWN = [
    {**CHANGE, "SuppressSending": False, "SuppressionReason": None},
    {**CHANGE, "Origin": "Customer"},
    {**CHANGE, "Origin": "Admin"},
    {**CHANGE, "SuppressionReason": "HardBounce"},
    {**CHANGE, "SuppressionReason": "SpamComplaint"},
    *({**BOUNCE, "Type": kind} for kind in ("Subscribe", "AutoResponder", "AddressChange", "ChallengeVerification")),
    {**BOUNCE, "RecordType": "Invented"},
]


@pytest.fixture
def webhooks(tmp_path: Path) -> Iterator[Webhooks]:
    made = Webhooks(tmp_path, sections=SECTION)
    yield made
    made.stream.close()


def basic(credentials: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(credentials.encode()).decode()}"}


def tell(webhooks: Webhooks, event: Any) -> int:
    return webhooks.tell("mail", dump(event), basic("postmark:päss:word")).status_code


@pytest.mark.parametrize(("report", "event", "properties", "conclusions"), CASES)
def test_every_event_becomes_ours_with_what_it_tells(
    webhooks: Webhooks, report: dict[str, Any], event: str, properties: dict[str, Any], conclusions: set[str]
) -> None:
    assert tell(webhooks, report) == 200
    [message] = webhooks.messages()
    assert (message["type"], message["event"], message["timestamp"]) == ("track", event, to_iso(THEN_MS))
    assert message["properties"] == {
        "email": ANN,
        "idempotency_key": KEY,
        "campaign": CAMPAIGN,
        "provider": "postmark",
        "provider_event": report["RecordType"],
        "provider_message_id": MAIL_ID,
        **properties,
    }
    agent = {"userAgent": report["UserAgent"]} if report.get("UserAgent") else {}
    assert message["context"] == ({"ip": "203.0.113.0", **agent} if "Geo" in report else {})
    assert webhooks.told() == [("accepted", event, f"email:{ANN}")]
    assert webhooks.conclusions() == conclusions


@pytest.mark.parametrize("report", UNKNOWN)
def test_what_is_no_word_of_the_person_is_kept_whole_and_no_conclusion_is_drawn(
    webhooks: Webhooks, report: dict[str, Any]
) -> None:
    assert tell(webhooks, report) == 200
    [message] = webhooks.messages()
    assert (message["event"], message["properties"]["automated"]) == ("Email Provider Event", True)
    assert message["properties"]["payload"] == report
    assert webhooks.told() == [("accepted", "Email Provider Event", f"email:{ANN}")]
    assert webhooks.conclusions() == set()


def test_each_report_has_an_id_of_its_own_and_the_same_when_it_comes_again(webhooks: Webhooks) -> None:
    click = {**COMMON, **PERSON, "RecordType": "Click", "OriginalLink": "https://shop.example.com/1"}
    told = [
        BOUNCE,
        {**BOUNCE, "RecordType": "SpamComplaint"},
        {**BOUNCE, "ID": 43},
        click,
        {**click, "RecordType": "Open"},
        {**click, "OriginalLink": "https://shop.example.com/2"},
        {**click, "Recipient": "bea@example.com"},
        {**click, "ReceivedAt": to_iso(THEN_MS + 1)},
        CHANGE,
        {**CHANGE, "SuppressSending": False},
    ]
    for report in (*told, *told):
        assert tell(webhooks, report) == 200
    ids = [message["messageId"] for message in webhooks.messages()]
    assert (len(ids), len(set(ids))) == (2 * len(told), len(told))


def test_a_suppression_without_a_mail_is_the_address_s(webhooks: Webhooks) -> None:
    assert tell(webhooks, {**CHANGE, "MessageID": None, "Metadata": {}}) == 200
    [message] = webhooks.messages()
    assert message["properties"] == {"email": ANN, "provider": "postmark", "provider_event": "SubscriptionChange"}
    assert webhooks.conclusions() == {OPTED_OUT}


def test_what_has_no_time_or_no_address_is_kept_in_quarantine(webhooks: Webhooks) -> None:
    inbound = {"FromFull": {"Email": ANN}, "Subject": "Hello"}
    for report in (inbound, {**BOUNCE, "Email": ""}, {**BOUNCE, "BouncedAt": "soon"}, {**BOUNCE, "BouncedAt": None}):
        assert tell(webhooks, report) == 200
    assert [row.status for row in webhooks.rows()] == ["quarantined"] * 4
    assert all(row.reason for row in webhooks.rows())


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Basic"},
        {"Authorization": "Basic !"},
        {"Authorization": "Basic /w=="},
        {"Authorization": basic("postmark:päss:word")["Authorization"].replace("Basic", "Bearer")},
        basic("postmark:päss:wor"),
        basic("postmark"),
        basic(":päss:word"),
        basic("postmark:päss:word "),
    ],
)
def test_a_request_without_the_password_is_refused(webhooks: Webhooks, headers: dict[str, str]) -> None:
    answer = webhooks.tell("mail", dump(BOUNCE), headers)
    assert answer.status_code == 401
    assert answer.json()["error"].endswith(".")
    assert webhooks.tell("mail", b"unreadable", headers).status_code == 401
    assert webhooks.records() == []


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[]", b"7", b'{"a":' * 200 + b"1" + b"}" * 200])
def test_a_body_that_is_no_report_is_refused_as_unreadable(webhooks: Webhooks, body: bytes) -> None:
    assert webhooks.tell("mail", body, basic("postmark:päss:word")).status_code == 400
    assert webhooks.records() == []


@given(mutated([case[0] for case in CASES]))
@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
def test_nothing_with_the_password_is_answered_with_a_fault(webhooks: Webhooks, event: Any) -> None:
    assert tell(webhooks, event) in (200, 400)
