"""Amazon SES through SNS."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import HealthCheck, given, settings
from support.clocks import DAY_MS, HOUR_MS, MINUTE_MS, NOW_MS
from support.webhooks import (
    ANN,
    CAMPAIGN,
    CERTIFICATE_URL,
    CHROME,
    KEY,
    METADATA,
    OPTED_OUT,
    SUBSCRIBE_URL,
    SUPPRESSED,
    THEN_MS,
    TOPIC,
    Webhooks,
    certificate,
    dump,
    mutated,
    notification,
    sendgrid_key,
    subscription,
)

from wakeline.clock import to_iso

SECTION = {"webhooks": {"mail": {"kind": "ses", "topic_arns": [TOPIC]}}}
BEA = "bea@example.com"
MAIL_ID = "EXAMPLE7c191be45-e9aedb9a-02f9-4d12-a87d-dd0099a07f8a-000000"
THEN = to_iso(THEN_MS)
MAIL: dict[str, Any] = {
    "timestamp": to_iso(THEN_MS - MINUTE_MS),
    "source": "Shop <shop@example.com>",
    "messageId": MAIL_ID,
    "destination": [ANN],
    "headersTruncated": False,
    "headers": [{"name": "From", "value": "shop@example.com"}, {"name": "X-Wakeline-Key", "value": "of the header"}],
    "tags": {"ses:source-ip": ["192.0.2.7"], **{name: [value] for name, value in METADATA.items()}},
}
DIAGNOSTIC = "smtp; 550 5.1.1 user unknown"
PERSON = {"ipAddress": "203.0.113.7", "timestamp": THEN, "userAgent": CHROME}


def bounce(kind: str = "Permanent", sub_kind: str = "General") -> dict[str, Any]:
    recipient = {"emailAddress": ANN, "action": "failed", "status": "5.1.1", "diagnosticCode": DIAGNOSTIC}
    return {"bounceType": kind, "bounceSubType": sub_kind, "bouncedRecipients": [recipient], "timestamp": THEN}


def complaint(**changes: Any) -> dict[str, Any]:
    told = {"complainedRecipients": [{"emailAddress": ANN}], "timestamp": THEN, "complaintFeedbackType": "abuse"}
    return {"complaint": {**told, **changes}}


def click(after_ms: int, agent: str = CHROME) -> dict[str, Any]:
    at = to_iso(THEN_MS - MINUTE_MS + after_ms)
    return {"click": {**PERSON, "userAgent": agent, "timestamp": at, "link": "https://shop.example.com/p/1"}}


def subscribed(*topics: str, everything: bool = False) -> dict[str, Any]:
    statuses = [{"topicName": f"topic{number}", "subscriptionStatus": status} for number, status in enumerate(topics)]
    now = {"unsubscribeAll": everything, "topicSubscriptionStatus": statuses}
    return {"subscription": {"contactList": "list", "timestamp": THEN, "newTopicPreferences": now}}


def bounced(bounce_type: str, classification: str) -> dict[str, Any]:
    return {"bounce_type": bounce_type, "diagnostic": DIAGNOSTIC, "bounce_classification": classification}


LINK = {"link_url": "https://shop.example.com/p/1"}
#: A type, its facts, the event that it is, what it says, and what is concluded of it.
CASES: list[tuple[str, dict[str, Any], str, dict[str, Any], set[str]]] = [
    ("Send", {"send": {}}, "Email Sent", {}, set()),
    (
        "Delivery",
        {"delivery": {"timestamp": THEN, "recipients": [ANN], "smtpResponse": "250 2.6.0 OK"}},
        "Email Delivered",
        {"diagnostic": "250 2.6.0 OK"},
        set(),
    ),
    (
        "DeliveryDelay",
        {
            "deliveryDelay": {
                "timestamp": THEN,
                "delayType": "MailboxFull",
                "delayedRecipients": [{"emailAddress": ANN, "status": "4.2.2"}],
            }
        },
        "Email Deferred",
        {"diagnostic": "4.2.2", "delay_type": "MailboxFull"},
        set(),
    ),
    ("Bounce", {"bounce": bounce()}, "Email Bounced", bounced("hard", "Permanent/General"), {SUPPRESSED}),
    ("Bounce", {"bounce": bounce("Transient")}, "Email Bounced", bounced("soft", "Transient/General"), set()),
    ("Bounce", {"bounce": bounce("Undetermined")}, "Email Bounced", bounced("soft", "Undetermined/General"), set()),
    (
        "Bounce",
        {"bounce": bounce(sub_kind="OnAccountSuppressionList")},
        "Email Dropped",
        {"reason": "OnAccountSuppressionList", "diagnostic": DIAGNOSTIC},
        set(),
    ),
    ("Complaint", complaint(), "Email Marked as Spam", {"feedback_type": "abuse"}, {SUPPRESSED}),
    ("Complaint", complaint(complaintFeedbackType=None), "Email Marked as Spam", {}, {SUPPRESSED}),
    (
        "Complaint",
        complaint(complaintSubType="OnAccountSuppressionList"),
        "Email Dropped",
        {"reason": "OnAccountSuppressionList"},
        set(),
    ),
    ("Reject", {"reject": {"reason": "Bad content"}}, "Email Dropped", {"reason": "Bad content"}, set()),
    (
        "Rendering Failure",
        {"failure": {"errorMessage": "Attribute 'name' is not present", "templateName": "Hello"}},
        "Email Dropped",
        {"reason": "Attribute 'name' is not present"},
        set(),
    ),
    ("Open", {"open": PERSON}, "Email Opened", {"automated": False}, set()),
    (
        "Open",
        {"open": {**PERSON, "userAgent": "Mozilla/5.0"}},
        "Email Opened",
        {"automated": True, "automated_reason": "apple_mail_privacy"},
        set(),
    ),
    (
        "Open",
        {"open": {**PERSON, "userAgent": "Mozilla/5.0 (via ggpht.com GoogleImageProxy)"}},
        "Email Opened",
        {"automated": False, "proxy": "gmail"},
        set(),
    ),
    ("Click", click(2_000), "Email Link Clicked", {**LINK, "automated": False}, set()),
    (
        "Click",
        click(1_999),
        "Email Link Clicked",
        {**LINK, "automated": True, "automated_reason": "too_soon"},
        set(),
    ),
    (
        "Click",
        click(MINUTE_MS, "BarracudaCentral"),
        "Email Link Clicked",
        {**LINK, "automated": True, "automated_reason": "bot"},
        set(),
    ),
    (
        "Subscription",
        subscribed("OptOut", "OptIn", "OptOut"),
        "Unsubscribed",
        {"topics": "topic0, topic2"},
        {OPTED_OUT},
    ),
    ("Subscription", subscribed("OptIn", everything=True), "Unsubscribed", {}, {OPTED_OUT}),
]
UNKNOWN = [
    ("Subscription", subscribed("OptIn")),
    ("Complaint", complaint(complaintFeedbackType="not-spam")),
    ("Complaint", complaint(complaintFeedbackType="auth-failure")),
    ("Invented", {"invented": {"ipAddress": "203.0.113.7"}}),
]


@pytest.fixture
def webhooks(tmp_path: Path) -> Iterator[Webhooks]:
    made = Webhooks(tmp_path, sections=SECTION)
    made.pages[CERTIFICATE_URL] = httpx.Response(200, content=certificate())
    yield made
    made.stream.close()


def event_of(kind: str, facts: dict[str, Any], name: str = "eventType", **mail: Any) -> dict[str, Any]:
    return {name: kind, "mail": {**MAIL, **mail}, **facts}


def tell(webhooks: Webhooks, envelope: dict[str, Any]) -> int:
    return webhooks.tell("mail", dump(envelope)).status_code


@pytest.mark.parametrize("name", ["eventType", "notificationType"])
@pytest.mark.parametrize(("kind", "facts", "event", "properties", "conclusions"), CASES)
def test_every_event_becomes_ours_with_what_it_tells(
    webhooks: Webhooks,
    name: str,
    kind: str,
    facts: dict[str, Any],
    event: str,
    properties: dict[str, Any],
    conclusions: set[str],
) -> None:
    assert tell(webhooks, notification(event_of(kind, facts, name))) == 200
    [message] = webhooks.messages()
    assert (message["type"], message["event"]) == ("track", event)
    told = next(iter(facts.values()))
    assert message["timestamp"] == told.get("timestamp", MAIL["timestamp"])
    assert message["properties"] == {
        "email": ANN,
        "idempotency_key": KEY,
        "campaign": CAMPAIGN,
        "provider": "ses",
        "provider_event": kind,
        "provider_message_id": MAIL_ID,
        **properties,
    }
    by_person = kind in ("Open", "Click")
    assert message["context"] == ({"ip": "203.0.113.0", "userAgent": told["userAgent"]} if by_person else {})
    assert webhooks.told() == [("accepted", event, f"email:{ANN}")]
    assert webhooks.conclusions() == conclusions


@pytest.mark.parametrize(("kind", "facts"), UNKNOWN)
def test_what_has_no_name_of_ours_is_kept_whole_and_no_conclusion_is_drawn(
    webhooks: Webhooks, kind: str, facts: dict[str, Any]
) -> None:
    assert tell(webhooks, notification(event_of(kind, facts))) == 200
    [message] = webhooks.messages()
    assert (message["event"], message["properties"]["automated"]) == ("Email Provider Event", True)
    payload = message["properties"]["payload"]
    assert (payload["eventType"], payload["mail"]["tags"]["ses:source-ip"]) == (kind, ["192.0.2.0"])
    assert payload.get("invented", {"ipAddress": "203.0.113.0"}) == {"ipAddress": "203.0.113.0"}
    assert webhooks.told() == [("accepted", "Email Provider Event", f"email:{ANN}")]
    assert webhooks.conclusions() == set()


def test_each_recipient_of_a_bounce_has_a_message_of_its_own(webhooks: Webhooks) -> None:
    several = bounce()
    several["bouncedRecipients"] = [{"emailAddress": ANN}, {"emailAddress": f"Bea <{BEA}>"}]
    for _ in range(2):
        assert tell(webhooks, notification(event_of("Bounce", {"bounce": several}, destination=[ANN, BEA]))) == 200
    assert {row.id for row in webhooks.rows()} == {f"email:{ANN}", f"email:{BEA}"}
    ids = [message["messageId"] for message in webhooks.messages()]
    assert (len(ids), len(set(ids))) == (4, 2)
    assert all(one.startswith("ses-22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324-") for one in ids)


def test_a_recipient_that_cannot_be_read_is_quarantined_beside_its_valid_neighbour(webhooks: Webhooks) -> None:
    several = bounce()
    several["bouncedRecipients"] = [7, {"emailAddress": ANN}, {"emailAddress": None}]
    assert tell(webhooks, notification(event_of("Bounce", {"bounce": several}))) == 200
    assert sorted(row.status for row in webhooks.rows()) == ["accepted", "quarantined"]
    assert webhooks.conclusions() == {SUPPRESSED}


@pytest.mark.parametrize("facts", [{"open": PERSON}, click(MINUTE_MS), subscribed(everything=True)])
def test_what_one_of_several_recipients_did_is_kept_in_quarantine(webhooks: Webhooks, facts: dict[str, Any]) -> None:
    kind = next(iter(facts)).title()
    assert tell(webhooks, notification(event_of(kind, facts, destination=[ANN, BEA]))) == 200
    assert [row.status for row in webhooks.rows()] == ["quarantined"]
    assert b"203.0.113.7" not in webhooks.envelopes()[0].message


@pytest.mark.parametrize(
    "mail",
    [
        {"tags": {}, "headers": [{"name": "X-Wakeline-Key", "value": KEY}]},
        {"tags": None, "headers": [{"name": "Message-ID", "value": f"<{KEY}@shop.example.com>"}]},
        {"tags": {"wakeline_key": []}, "headers": None, "commonHeaders": {"messageId": f"<{KEY}@shop.example.com>"}},
    ],
)
def test_the_send_is_found_in_headers_and_message_id_too(webhooks: Webhooks, mail: dict[str, Any]) -> None:
    assert tell(webhooks, notification(event_of("Send", {}, **mail))) == 200
    assert webhooks.messages()[0]["properties"]["idempotency_key"] == KEY


@pytest.mark.parametrize(
    "message",
    [
        "Successfully validated SNS topic for Amazon SES event publishing.",
        {"notificationType": "AmazonSnsSubscriptionSucceeded", "message": "You have subscribed."},
        {"eventType": "Send"},
        event_of("Send", {}, timestamp="soon"),
        event_of("Bounce", {"bounce": []}),
        "[7]",
        "null",
        "\ud83d",
    ],
)
def test_what_cannot_be_read_is_kept_in_quarantine(webhooks: Webhooks, message: Any) -> None:
    assert tell(webhooks, notification(message)) == 200
    assert [row.status for row in webhooks.rows()] == ["quarantined"]
    assert webhooks.rows()[0].reason


# Proof


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize("subject", [None, "Amazon SES Email Event Notification"])
def test_both_versions_of_the_signature_prove_a_message(webhooks: Webhooks, version: str, subject: str | None) -> None:
    assert tell(webhooks, notification(event_of("Send", {}), version, Subject=subject)) == 200
    assert len(webhooks.records()) == 1


def test_the_certificate_is_asked_for_once(webhooks: Webhooks) -> None:
    for _ in range(3):
        tell(webhooks, notification(event_of("Send", {})))
    assert webhooks.asked == [CERTIFICATE_URL]


SNS_OF_OTHERS = [
    "",
    "https://evil.example/x.pem",
    CERTIFICATE_URL.replace("https", "http"),
    CERTIFICATE_URL.replace(".com/", ".com.evil.example/"),
    CERTIFICATE_URL.replace(".com/", ".com@evil.example/"),
    CERTIFICATE_URL.replace(".com/", ".com:8443/"),
    CERTIFICATE_URL.replace("sns.", "user@sns."),
    CERTIFICATE_URL.replace("eu-central-1", "us-east-1"),
    CERTIFICATE_URL.replace(".com/", ".com\\@evil.example/"),
    CERTIFICATE_URL.replace(".com/", ".com.cn/"),
    CERTIFICATE_URL.replace("sns.eu-central-1", "bucket.s3.eu-central-1"),
    CERTIFICATE_URL.replace(".pem", ".der"),
    CERTIFICATE_URL.replace(".pem", ".html?x=.pem"),
    CERTIFICATE_URL.replace(".pem", "\n.pem"),
    CERTIFICATE_URL.replace(".pem", f"{'x' * 70_000}.pem"),
    "https://[",
]


@pytest.mark.parametrize("url", SNS_OF_OTHERS)
def test_only_sns_in_the_region_of_the_topic_is_asked_for_a_certificate(webhooks: Webhooks, url: str) -> None:
    assert tell(webhooks, notification(event_of("Send", {}), SigningCertURL=url)) == 401
    assert (webhooks.asked, webhooks.records()) == ([], [])


def test_a_message_that_is_not_signed_by_sns_is_refused(webhooks: Webhooks) -> None:
    good = notification(event_of("Complaint", complaint()))
    version_2 = notification(event_of("Complaint", complaint()), "2")
    required = ("Message", "MessageId", "Timestamp", "TopicArn", "Type", "Signature", "SignatureVersion")
    for wrong in (
        {},
        event_of("Send", {}),  # Raw message delivery.
        *({name: value for name, value in good.items() if name != missing} for missing in required),
        *({**good, name: "changed"} for name in (*required, "Subject")),
        {**good, "Message": 7},
        {**good, "Signature": ["x"]},
        {**good, "Signature": "é"},
        {**good, "Signature": "AAAA"},
        {**good, "SignatureVersion": "2"},
        {**version_2, "SignatureVersion": "1"},
        {**good, "TopicArn": f"{TOPIC}x"},
        notification(event_of("Send", {}), TopicArn=TOPIC.replace("123456789012", "210987654321")),
    ):
        answer = webhooks.tell("mail", dump(wrong))
        assert answer.status_code == 401, wrong
        assert answer.json()["error"].endswith(".")
    assert webhooks.records() == []


@pytest.mark.parametrize(
    "page",
    [
        httpx.Response(404),
        httpx.Response(302, headers={"Location": "https://evil.example/x.pem"}),
        httpx.Response(200, content=b"nonsense"),
        httpx.Response(200, content=certificate(NOW_MS - 1_000)),
        httpx.Response(200, content=certificate(NOW_MS + DAY_MS, rsa.generate_private_key(65_537, 2_048).public_key())),
        httpx.Response(200, content=certificate(NOW_MS + DAY_MS, sendgrid_key().public_key())),
    ],
)
def test_a_certificate_that_is_none_or_old_or_another_proves_nothing(webhooks: Webhooks, page: httpx.Response) -> None:
    webhooks.pages[CERTIFICATE_URL] = page
    assert tell(webhooks, notification(event_of("Send", {}))) == 401
    assert webhooks.records() == []


@pytest.mark.parametrize("page", [httpx.ConnectTimeout("no answer"), httpx.Response(500)])
def test_while_the_certificate_is_out_of_reach_sns_is_told_to_try_again(
    webhooks: Webhooks, page: httpx.Response | httpx.HTTPError
) -> None:
    webhooks.pages[CERTIFICATE_URL] = page
    answer = webhooks.tell("mail", dump(notification(event_of("Send", {}))))
    assert (answer.status_code, "Retry-After" in answer.headers) == (503, True)
    webhooks.pages[CERTIFICATE_URL] = httpx.Response(200, content=certificate())
    assert tell(webhooks, notification(event_of("Send", {}))) == 200


@pytest.mark.parametrize(
    ("at_ms", "status"),
    [
        (NOW_MS - 2 * HOUR_MS, 200),
        (NOW_MS - 2 * HOUR_MS - 1, 401),
        (NOW_MS + 5 * MINUTE_MS, 200),
        (NOW_MS + 5 * MINUTE_MS + 1, 401),
    ],
)
def test_what_was_published_too_long_ago_or_in_the_future_is_refused(
    webhooks: Webhooks, at_ms: int, status: int
) -> None:
    assert tell(webhooks, notification(event_of("Send", {}), at_ms=at_ms)) == status
    assert len(webhooks.records()) == (status == 200)


# Subscriptions


def test_a_subscription_is_confirmed_once_the_signature_is_checked(webhooks: Webhooks) -> None:
    webhooks.pages[SUBSCRIBE_URL] = httpx.Response(200)
    assert tell(webhooks, subscription()) == 200
    assert webhooks.asked == [CERTIFICATE_URL, SUBSCRIBE_URL]
    assert webhooks.records() == []


def test_a_forged_or_foreign_confirmation_confirms_nothing(webhooks: Webhooks) -> None:
    for envelope in (
        {**subscription(), "Token": "forged"},
        {**subscription(), "Signature": "AAAA"},
        subscription(TopicArn=f"{TOPIC}-of-others"),
        *(subscription(SubscribeURL=url) for url in SNS_OF_OTHERS[:11]),
    ):
        assert tell(webhooks, envelope) == 401
    assert set(webhooks.asked) == {CERTIFICATE_URL}


@pytest.mark.parametrize(
    "page", [httpx.ConnectTimeout(SUBSCRIBE_URL), httpx.Response(500), httpx.Response(403), httpx.Response(302)]
)
def test_a_confirmation_that_fails_is_tried_again_and_logged_without_its_token(
    webhooks: Webhooks, page: httpx.Response | httpx.HTTPError, caplog: pytest.LogCaptureFixture
) -> None:
    webhooks.pages[SUBSCRIBE_URL] = page
    answer = webhooks.tell("mail", dump(subscription()))
    assert (answer.status_code, "Retry-After" in answer.headers) == (503, True)
    assert TOPIC in caplog.text
    assert "secret" not in caplog.text + answer.text


def test_the_end_of_a_subscription_is_kept_without_its_token(
    webhooks: Webhooks, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    assert tell(webhooks, subscription("UnsubscribeConfirmation")) == 200
    [message] = webhooks.messages()
    assert message["event"] == "Email Provider Event"
    assert message["properties"]["provider_event"] == "UnsubscribeConfirmation"
    assert message["properties"]["payload"]["TopicArn"] == TOPIC
    assert "secret" not in json.dumps(message)
    assert f"is no longer told what {TOPIC} publishes" in caplog.text
    assert webhooks.asked == [CERTIFICATE_URL]


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[]", b"7"])
def test_a_body_that_is_no_message_is_refused_as_unreadable(webhooks: Webhooks, body: bytes) -> None:
    assert webhooks.tell("mail", body).status_code == 400
    assert webhooks.records() == []


def test_no_personal_data_reaches_the_log(webhooks: Webhooks, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="wakeline")
    for kind, facts, *_ in CASES:
        assert tell(webhooks, notification(event_of(kind, facts))) == 200
    assert not [word for word in (ANN, "203.0.113", KEY) if word in caplog.text]


@given(mutated([event_of(case[0], case[1]) for case in CASES]))
@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
def test_nothing_that_is_signed_is_answered_with_a_fault(webhooks: Webhooks, event: Any) -> None:
    assert tell(webhooks, notification(event)) in (200, 400)


@given(mutated([notification(event_of("Send", {})), subscription()]))
@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_body_at_all_is_answered_with_a_fault(webhooks: Webhooks, envelope: Any) -> None:
    webhooks.pages[SUBSCRIBE_URL] = httpx.Response(200)
    assert webhooks.tell("mail", dump(envelope)).status_code in (200, 400, 401)
