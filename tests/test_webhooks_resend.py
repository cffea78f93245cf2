"""Resend's webhooks."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from support.clocks import MINUTE_MS, NOW_MS
from support.webhooks import (
    ANN,
    CAMPAIGN,
    CHROME,
    KEY,
    METADATA,
    OPTED_OUT,
    RESEND_SECRET,
    SUPPRESSED,
    THEN_MS,
    Webhooks,
    dump,
    mutated,
    svix_headers,
)

from wakeline.clock import to_iso
from wakeline.errors import ConfigError

MAIL_ID = "56761188-7520-42d8-8898-ff6fc54ce618"
DATA = {
    "email_id": MAIL_ID,
    "from": "Acme <shop@example.com>",
    "to": ["Ann <ann@example.com>"],
    "subject": "Hello",
    "created_at": to_iso(THEN_MS - 60_000),
    "tags": METADATA,
}


def report(kind: str, **data: Any) -> dict[str, Any]:
    return {"type": kind, "created_at": to_iso(THEN_MS), "data": {**DATA, **data}}


def bounce(kind: str, sub_kind: str) -> dict[str, Any]:
    return report("email.bounced", bounce={"message": "550 5.1.1 unknown", "type": kind, "subType": sub_kind})


def click(after_ms: int, agent: str = CHROME) -> dict[str, Any]:
    at = to_iso(THEN_MS - 60_000 + after_ms)
    link = "https://shop.example.com/p/1"
    return report(
        "email.clicked", click={"ipAddress": "203.0.113.7", "link": link, "timestamp": at, "userAgent": agent}
    )


#: A report, the event that it is, what it says, and what is concluded of it.
CASES: list[tuple[dict[str, Any], str, dict[str, Any], set[str]]] = [
    (report("email.sent"), "Email Sent", {}, set()),
    (report("email.delivered"), "Email Delivered", {}, set()),
    (report("email.delivery_delayed"), "Email Deferred", {}, set()),
    (
        bounce("Permanent", "General"),
        "Email Bounced",
        {"bounce_type": "hard", "diagnostic": "550 5.1.1 unknown", "bounce_classification": "Permanent/General"},
        {SUPPRESSED},
    ),
    *(
        (
            bounce(kind, "General"),
            "Email Bounced",
            {"bounce_type": "soft", "diagnostic": "550 5.1.1 unknown", "bounce_classification": f"{kind}/General"},
            set[str](),
        )
        for kind in ("Transient", "Undetermined", "Invented")
    ),
    (report("email.bounced"), "Email Bounced", {"bounce_type": "soft"}, set()),
    (
        bounce("Permanent", "Suppressed"),
        "Email Dropped",
        {"reason": "Suppressed", "diagnostic": "550 5.1.1 unknown"},
        set(),
    ),
    (
        report("email.suppressed", suppressed={"message": "on the list", "type": "OnAccountSuppressionList"}),
        "Email Dropped",
        {"reason": "on the list"},
        set(),
    ),
    (
        report("email.failed", failed={"reason": "reached_daily_quota"}),
        "Email Dropped",
        {"reason": "reached_daily_quota"},
        set(),
    ),
    (report("email.complained"), "Email Marked as Spam", {}, {SUPPRESSED}),
    (report("email.opened"), "Email Opened", {"automated": False}, set()),
    (
        report("email.opened", open={"ipAddress": "203.0.113.7", "userAgent": "Mozilla/5.0"}),
        "Email Opened",
        {"automated": True, "automated_reason": "apple_mail_privacy"},
        set(),
    ),
    (
        click(2_000),
        "Email Link Clicked",
        {"link_url": "https://shop.example.com/p/1", "automated": False},
        set(),
    ),
    (
        click(1_999),
        "Email Link Clicked",
        {"link_url": "https://shop.example.com/p/1", "automated": True, "automated_reason": "too_soon"},
        set(),
    ),
]
CONTACT = {"id": "e169aa45", "email": ANN, "unsubscribed": True}
UNKNOWN = [
    report("email.scheduled"),
    {"type": "contact.updated", "created_at": to_iso(THEN_MS), "data": CONTACT},
    {"type": "suppression.added", "created_at": to_iso(THEN_MS), "data": CONTACT},
]


@pytest.fixture
def webhooks(tmp_path: Path) -> Iterator[Webhooks]:
    made = Webhooks(tmp_path, sections=section(RESEND_SECRET))
    yield made
    made.stream.close()


def section(secret: str) -> dict[str, Any]:
    return {"webhooks": {"mail": {"kind": "resend", "signing_secret": secret}}}


def tell(webhooks: Webhooks, event: Any, at_ms: int = NOW_MS, event_id: str = "msg_1") -> int:
    body = dump(event)
    return webhooks.tell("mail", body, svix_headers(body, at_ms, event_id)).status_code


@pytest.mark.parametrize(("told", "event", "properties", "conclusions"), CASES)
def test_every_event_becomes_ours_with_what_it_tells(
    webhooks: Webhooks, told: dict[str, Any], event: str, properties: dict[str, Any], conclusions: set[str]
) -> None:
    assert tell(webhooks, told) == 200
    [message] = webhooks.messages()
    assert (message["type"], message["event"], message["timestamp"]) == ("track", event, to_iso(THEN_MS))
    assert message["messageId"] == "resend-msg_1"
    assert message["properties"] == {
        "email": ANN,
        "idempotency_key": KEY,
        "campaign": CAMPAIGN,
        "provider": "resend",
        "provider_event": told["type"],
        "provider_message_id": MAIL_ID,
        **properties,
    }
    visited = told["data"].get("click") or told["data"].get("open")
    assert message["context"] == ({"ip": "203.0.113.0", "userAgent": visited["userAgent"]} if visited else {})
    assert webhooks.told() == [("accepted", event, f"email:{ANN}")]
    assert webhooks.conclusions() == conclusions


@pytest.mark.parametrize("told", UNKNOWN)
def test_an_event_without_a_name_of_ours_is_kept_whole_and_no_conclusion_is_drawn(
    webhooks: Webhooks, told: dict[str, Any]
) -> None:
    assert tell(webhooks, told) == 200
    [message] = webhooks.messages()
    assert (message["event"], message["properties"]["automated"]) == ("Email Provider Event", True)
    assert message["properties"]["payload"] == told
    assert webhooks.told() == [("accepted", "Email Provider Event", f"email:{ANN}")]
    assert webhooks.conclusions() == set()


@pytest.mark.parametrize(
    "carried",
    [
        {"tags": [{"name": name, "value": value} for name, value in METADATA.items()]},
        {
            "tags": {},
            "headers": [{"name": "X-Wakeline-Key", "value": KEY}, {"name": "X-Wakeline-Campaign", "value": CAMPAIGN}],
        },
        {"tags": None, "headers": [7, {"name": "Message-ID", "value": f"<{KEY}@shop.example.com>"}]},
    ],
)
def test_the_send_is_found_in_tags_headers_or_message_id(webhooks: Webhooks, carried: dict[str, Any]) -> None:
    assert tell(webhooks, report("email.delivered", **carried)) == 200
    assert webhooks.messages()[0]["properties"]["idempotency_key"] == KEY


def test_a_report_that_may_be_about_several_people_is_kept_in_quarantine(webhooks: Webhooks) -> None:
    several: list[dict[str, Any]] = [
        {"to": [ANN, "bea@example.com"]},
        {"cc": ["bea@example.com"]},
        {"to": []},
        {"to": 7},
    ]
    for number, data in enumerate(several):
        assert tell(webhooks, report("email.complained", **data), event_id=f"{number}") == 200
    assert [row.status for row in webhooks.rows()] == ["quarantined"] * len(several)
    assert webhooks.conclusions() == set()


def test_what_has_no_time_is_kept_in_quarantine(webhooks: Webhooks) -> None:
    for event in ({}, {**report("email.sent"), "created_at": "soon"}, {**report("email.sent"), "data": []}):
        assert tell(webhooks, event) == 200
    assert [row.status for row in webhooks.rows()] == ["quarantined"] * 3


def test_a_report_that_is_sent_again_and_signed_anew_has_the_same_message_id(webhooks: Webhooks) -> None:
    for at_ms in (NOW_MS, NOW_MS, NOW_MS + MINUTE_MS):
        assert tell(webhooks, report("email.delivered"), at_ms) == 200
    assert len({message["messageId"] for message in webhooks.messages()}) == 1


@pytest.mark.parametrize(
    ("at_ms", "status"),
    [
        (NOW_MS - 5 * MINUTE_MS, 200),
        (NOW_MS - 5 * MINUTE_MS - 1_000, 401),
        (NOW_MS + 5 * MINUTE_MS, 200),
        (NOW_MS + 5 * MINUTE_MS + 1_000, 401),
    ],
)
def test_what_was_signed_too_long_ago_or_in_the_future_is_refused(webhooks: Webhooks, at_ms: int, status: int) -> None:
    assert tell(webhooks, report("email.delivered"), at_ms) == status
    assert len(webhooks.records()) == (status == 200)


def test_what_is_not_signed_by_resend_is_refused(webhooks: Webhooks) -> None:
    body = dump(report("email.complained"))
    good = svix_headers(body)
    other = f"whsec_{base64.b64encode(b'another secret').decode()}"
    for headers in (
        {},
        *({name: value for name, value in good.items() if name != missing} for missing in good),
        {**good, "svix-id": "msg_2"},
        {**good, "svix-timestamp": f"{NOW_MS // 1_000 + 1}"},
        {**good, "svix-timestamp": "soon"},
        {**good, "svix-signature": good["svix-signature"].replace("v1,", "v2,")},
        {**good, "svix-signature": "é"},
        svix_headers(body, secret=other),
        svix_headers(body + b" "),
    ):
        encoded = {name: value.encode("latin-1") for name, value in headers.items()}
        answer = webhooks.tell("mail", body, encoded)  # type: ignore[arg-type]
        assert answer.status_code == 401
        assert answer.json()["error"].endswith(".")
    assert webhooks.records() == []


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[]", b"7"])
def test_a_signed_body_that_is_no_report_is_refused_as_unreadable(webhooks: Webhooks, body: bytes) -> None:
    assert webhooks.tell("mail", body, svix_headers(body)).status_code == 400
    assert webhooks.records() == []


def test_a_wrong_secret_is_named_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"webhooks\.mail\.signing_secret is not what Resend shows; copy it"):
        Webhooks(tmp_path, sections=section("whsec_abcdefghi"))


def test_nobody_opts_out_through_resend(webhooks: Webhooks) -> None:
    for number, (told, *_) in enumerate(CASES):
        tell(webhooks, told, event_id=f"{number}")
    assert OPTED_OUT not in webhooks.conclusions()


@given(mutated([case[0] for case in CASES]))
@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
def test_nothing_that_is_signed_is_answered_with_a_fault(webhooks: Webhooks, event: Any) -> None:
    assert tell(webhooks, event) in (200, 400)
