"""Mailgun's webhooks."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from support.clocks import HOUR_MS, MINUTE_MS, NOW_MS
from support.webhooks import (
    ANN,
    CAMPAIGN,
    CHROME,
    KEY,
    MAILGUN_KEY,
    METADATA,
    OPTED_OUT,
    SUPPRESSED,
    THEN_MS,
    Webhooks,
    dump,
    mailgun_body,
    mutated,
)

from wakeline.clock import to_iso

SECTION = {"webhooks": {"mail": {"kind": "mailgun", "signing_key": MAILGUN_KEY}}}
MAIL_ID = "20260205213049.8e3a7bf607f78309@sample.mailgun.com"
COMMON = {
    "id": "q7DMpbLFRKW1QuiLC9XV4Q",
    "timestamp": THEN_MS / 1_000,
    "log-level": "info",
    "recipient": ANN,
    "message": {"headers": {"message-id": MAIL_ID, "to": "Ann <ann@example.com>", "subject": "Hello"}},
    "tags": [],
    "user-variables": METADATA,
}
PERSON = {"ip": "203.0.113.7", "client-info": {"client-type": "browser", "user-agent": CHROME, "bot": None}}
STATUS = {"attempt-no": 1, "code": 550, "message": "5.1.1 unknown user", "description": None}
DIAGNOSTIC = "550 5.1.1 unknown user"
FAILED = {"event": "failed", "severity": "permanent", "reason": "bounce", "delivery-status": STATUS}


def bot(name: str) -> dict[str, Any]:
    return {**PERSON, "client-info": {"user-agent": CHROME, "bot": name}}


def delivered_before(seconds: float) -> dict[str, Any]:
    return {"delivered-at": THEN_MS / 1_000 - seconds, "url": "https://shop.example.com/p/1"}


#: A report, the event that it is, what it says, and what is concluded of it.
CASES: list[tuple[dict[str, Any], str, dict[str, Any], set[str]]] = [
    ({"event": "accepted"}, "Email Sent", {}, set()),
    (
        {"event": "delivered", "delivery-status": {"code": 250, "message": "OK"}},
        "Email Delivered",
        {"diagnostic": "250 OK"},
        set(),
    ),
    (
        {"event": "rejected", "reject": {"reason": "Sandbox", "description": ""}, "recipient": None},
        "Email Dropped",
        {"reason": "Sandbox"},
        set(),
    ),
    ({**FAILED, "severity": "temporary", "reason": "generic"}, "Email Deferred", {"diagnostic": DIAGNOSTIC}, set()),
    (
        FAILED,
        "Email Bounced",
        {"bounce_type": "hard", "diagnostic": DIAGNOSTIC, "bounce_classification": "bounce"},
        {SUPPRESSED},
    ),
    (
        {**FAILED, "delivery-status": {**STATUS, "bounce-type": "hard"}},
        "Email Bounced",
        {"bounce_type": "hard", "diagnostic": DIAGNOSTIC, "bounce_classification": "bounce"},
        {SUPPRESSED},
    ),
    (
        {**FAILED, "delivery-status": {**STATUS, "bounce-type": "soft"}},
        "Email Bounced",
        {"bounce_type": "soft", "diagnostic": DIAGNOSTIC, "bounce_classification": "bounce"},
        set(),
    ),
    *(
        (
            {**FAILED, "reason": reason},
            "Email Bounced",
            {"bounce_type": "soft", "diagnostic": DIAGNOSTIC, "bounce_classification": reason},
            set[str](),
        )
        for reason in ("old", "generic", "espblock")
    ),
    (
        {"event": "failed", "reason": "bounce"},
        "Email Bounced",
        {"bounce_type": "soft", "bounce_classification": "bounce"},
        set(),
    ),
    *(
        (
            {**FAILED, "reason": reason, "delivery-status": {"code": 605, "message": ""}},
            "Email Dropped",
            {"reason": reason, "diagnostic": "605"},
            set[str](),
        )
        for reason in ("suppress-bounce", "suppress-complaint", "suppress-unsubscribe")
    ),
    ({"event": "opened", **PERSON}, "Email Opened", {"automated": False}, set()),
    (
        {"event": "opened", **bot("apple")},
        "Email Opened",
        {"automated": True, "automated_reason": "apple_mail_privacy"},
        set(),
    ),
    ({"event": "opened", **bot("gmail")}, "Email Opened", {"automated": True, "automated_reason": "bot"}, set()),
    (
        {"event": "clicked", **PERSON, **delivered_before(60)},
        "Email Link Clicked",
        {"link_url": "https://shop.example.com/p/1", "automated": False},
        set(),
    ),
    (
        {"event": "clicked", **PERSON, **delivered_before(1)},
        "Email Link Clicked",
        {"link_url": "https://shop.example.com/p/1", "automated": True, "automated_reason": "too_soon"},
        set(),
    ),
    (
        {"event": "clicked", **bot("generic"), **delivered_before(60)},
        "Email Link Clicked",
        {"link_url": "https://shop.example.com/p/1", "automated": True, "automated_reason": "bot"},
        set(),
    ),
    ({"event": "unsubscribed", **PERSON}, "Unsubscribed", {}, {OPTED_OUT}),
    ({"event": "complained"}, "Email Marked as Spam", {}, {SUPPRESSED}),
]


@pytest.fixture
def webhooks(tmp_path: Path) -> Iterator[Webhooks]:
    made = Webhooks(tmp_path, sections=SECTION)
    yield made
    made.stream.close()


@pytest.mark.parametrize(("report", "event", "properties", "conclusions"), CASES)
def test_every_event_becomes_ours_with_what_it_tells(
    webhooks: Webhooks, report: dict[str, Any], event: str, properties: dict[str, Any], conclusions: set[str]
) -> None:
    assert webhooks.tell("mail", mailgun_body({**COMMON, **report})).status_code == 200
    [message] = webhooks.messages()
    assert (message["type"], message["event"], message["timestamp"]) == ("track", event, to_iso(THEN_MS))
    assert message["messageId"] == f"mailgun-{COMMON['id']}-{THEN_MS}"
    assert message["properties"] == {
        "email": ANN,
        "idempotency_key": KEY,
        "campaign": CAMPAIGN,
        "provider": "mailgun",
        "provider_event": report["event"],
        "provider_message_id": MAIL_ID,
        **properties,
    }
    assert message["context"] == ({"ip": "203.0.113.0", "userAgent": CHROME} if "ip" in report else {})
    assert webhooks.told() == [("accepted", event, f"email:{ANN}")]
    assert webhooks.conclusions() == conclusions


def test_an_event_without_a_name_of_ours_is_kept_whole_and_is_no_activity(webhooks: Webhooks) -> None:
    report = {**COMMON, "event": "invented", "ip": "203.0.113.7"}
    assert webhooks.tell("mail", mailgun_body(report)).status_code == 200
    [message] = webhooks.messages()
    assert (message["event"], message["properties"]["automated"]) == ("Email Provider Event", True)
    assert message["properties"]["payload"] == {**report, "ip": "203.0.113.0"}
    assert webhooks.told() == [("accepted", "Email Provider Event", f"email:{ANN}")]


def test_without_metadata_the_key_is_that_of_our_own_message_id(webhooks: Webhooks) -> None:
    message = {"headers": {"message-id": f"{KEY}@shop.example.com"}}
    # Without variables Mailgun writes an empty list.
    report = {**COMMON, "event": "delivered", "message": message, "user-variables": []}
    assert webhooks.tell("mail", mailgun_body(report)).status_code == 200
    assert webhooks.messages()[0]["properties"]["idempotency_key"] == KEY


def test_a_profile_in_the_variables_makes_the_event_that_person_s(webhooks: Webhooks) -> None:
    report = {**COMMON, "event": "unsubscribed", "user-variables": {**METADATA, "wakeline_profile": "user:ann"}}
    assert webhooks.tell("mail", mailgun_body(report)).status_code == 200
    assert webhooks.told() == [("accepted", "Unsubscribed", "user:ann")]
    assert webhooks.conclusions() == {OPTED_OUT}


def test_what_cannot_be_read_is_kept_in_quarantine(webhooks: Webhooks) -> None:
    good = {**COMMON, "event": "delivered"}
    garbage = [None, 7, [], {}, {**good, "timestamp": None}, {**good, "recipient": "", "message": {}}]
    for report in garbage:
        assert webhooks.tell("mail", mailgun_body(report)).status_code == 200
    assert [row.status for row in webhooks.rows()] == ["quarantined"] * len(garbage)
    assert all(row.reason for row in webhooks.rows())


def test_a_request_that_comes_twice_has_the_same_message_id(webhooks: Webhooks) -> None:
    report = {**COMMON, "event": "delivered"}
    for body in (mailgun_body(report), mailgun_body(report), mailgun_body(report, NOW_MS + 1_000, token="another")):
        assert webhooks.tell("mail", body).status_code == 200
    assert len({message["messageId"] for message in webhooks.messages()}) == 1


def test_an_id_that_comes_again_on_another_day_is_another_event(webhooks: Webhooks) -> None:
    for timestamp in (THEN_MS / 1_000, THEN_MS / 1_000 - 86_400):
        webhooks.tell("mail", mailgun_body({**COMMON, "event": "delivered", "timestamp": timestamp}))
    assert len({message["messageId"] for message in webhooks.messages()}) == 2


def test_a_recorded_signature_does_not_fit_another_report(webhooks: Webhooks) -> None:
    report = {**COMMON, "event": "delivered"}
    recorded = json.loads(mailgun_body(report))
    assert webhooks.tell("mail", dump(recorded)).status_code == 200
    forged = {**recorded, "event-data": {**report, "event": "unsubscribed"}}
    assert webhooks.tell("mail", dump(forged)).status_code == 401
    assert webhooks.tell("mail", dump(recorded)).status_code == 200
    assert webhooks.conclusions() == set()


@pytest.mark.parametrize(
    ("at_ms", "status"),
    [
        (NOW_MS - 9 * HOUR_MS, 200),
        (NOW_MS - 9 * HOUR_MS - 1_000, 401),
        (NOW_MS + 5 * MINUTE_MS, 200),
        (NOW_MS + 5 * MINUTE_MS + 1_000, 401),
    ],
)
def test_what_was_signed_too_long_ago_or_in_the_future_is_refused(webhooks: Webhooks, at_ms: int, status: int) -> None:
    body = mailgun_body({**COMMON, "event": "delivered"}, at_ms)
    assert webhooks.tell("mail", body).status_code == status
    assert len(webhooks.records()) == (status == 200)


def test_what_is_not_signed_by_mailgun_is_refused(webhooks: Webhooks) -> None:
    report = {**COMMON, "event": "unsubscribed"}
    good = json.loads(mailgun_body(report))
    signature = good["signature"]
    for wrong in (
        {"event-data": report},
        {**good, "signature": None},
        {**good, "signature": "text"},
        {**good, "signature": {**signature, "signature": "é"}},
        {**good, "signature": {**signature, "signature": ""}},
        {**good, "signature": {**signature, "signature": ["x"]}},
        {**good, "signature": {**signature, "token": "\ud83d"}},
        {**good, "signature": {**signature, "timestamp": f"{NOW_MS // 1_000 + 1}"}},
        {**good, "signature": {**signature, "timestamp": None}},
        json.loads(mailgun_body(report, key="another key")),
    ):
        answer = webhooks.tell("mail", dump(wrong))
        assert answer.status_code == 401
        assert answer.json()["error"].endswith(".")
    assert webhooks.records() == []


def test_a_signature_of_the_parent_account_proves_a_report_of_its_subaccount(webhooks: Webhooks) -> None:
    body = json.loads(mailgun_body({**COMMON, "event": "delivered"}))
    body["signature"] |= {"parent-signature": body["signature"]["signature"], "signature": "of the subaccount"}
    assert webhooks.tell("mail", dump(body)).status_code == 200


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[]", b"7"])
def test_a_body_that_is_no_report_is_refused_as_unreadable(webhooks: Webhooks, body: bytes) -> None:
    assert webhooks.tell("mail", body).status_code == 400
    assert webhooks.records() == []


@given(mutated([{**COMMON, **case[0]} for case in CASES]))
@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
def test_nothing_that_is_signed_is_answered_with_a_fault(webhooks: Webhooks, event: Any) -> None:
    assert webhooks.tell("mail", mailgun_body(event)).status_code == 200


@given(mutated([json.loads(mailgun_body({**COMMON, "event": "delivered"}))]))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_body_at_all_is_answered_with_a_fault(webhooks: Webhooks, body: Any) -> None:
    assert webhooks.tell("mail", dump(body)).status_code in (200, 400, 401)
