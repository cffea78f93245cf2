"""SendGrid's signed event webhook."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.clocks import HOUR_MS, MINUTE_MS, NOW_MS
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
    public_key,
    sendgrid_headers,
    sendgrid_key,
    sns_key,
)

from wakeline.clock import to_iso
from wakeline.errors import ConfigError

COMMON = {
    "email": ANN,
    "timestamp": THEN_MS // 1_000,
    "smtp-id": "<14c5d75ce93.dfd.64b469@ismtpd-555>",
    "category": ["cat facts"],
    "sg_event_id": "ZGVsaXZlcmVkLTA",
    "sg_message_id": "14c5d75ce93.dfd.64b469.filter0001.16648.5515E0B88.0",
    **METADATA,
}
PERSON = {"useragent": CHROME, "ip": "203.0.113.7"}
MACHINE = {"automated": True, "automated_reason": "apple_mail_privacy"}

#: A report, the event that it is, what it says, and what is concluded of it.
CASES: list[tuple[dict[str, Any], str, dict[str, Any], set[str]]] = [
    ({"event": "processed"}, "Email Sent", {}, set()),
    (
        {"event": "deferred", "response": "400 try again later", "attempt": "5"},
        "Email Deferred",
        {"diagnostic": "400 try again later"},
        set(),
    ),
    ({"event": "delivered", "response": "250 OK"}, "Email Delivered", {"diagnostic": "250 OK"}, set()),
    (
        {
            "event": "bounce",
            "type": "bounce",
            "reason": "550 5.1.1 unknown",
            "bounce_classification": "Invalid Address",
        },
        "Email Bounced",
        {"bounce_type": "hard", "diagnostic": "550 5.1.1 unknown", "bounce_classification": "Invalid Address"},
        {SUPPRESSED},
    ),
    (
        {"event": "bounce", "type": "blocked", "reason": "421 4.7.0 too much mail"},
        "Email Bounced",
        {"bounce_type": "soft", "diagnostic": "421 4.7.0 too much mail"},
        set(),
    ),
    ({"event": "bounce", "reason": "?"}, "Email Bounced", {"bounce_type": "soft", "diagnostic": "?"}, set()),
    ({"event": "dropped", "reason": "Bounced Address"}, "Email Dropped", {"reason": "Bounced Address"}, set()),
    ({"event": "open", "sg_machine_open": False, **PERSON}, "Email Opened", {"automated": False}, set()),
    ({"event": "open", "sg_machine_open": True, **PERSON}, "Email Opened", MACHINE, set()),
    ({"event": "open", **PERSON, "useragent": "Mozilla/5.0"}, "Email Opened", MACHINE, set()),
    (
        {"event": "click", "url": "https://shop.example.com/p/1?size=9", **PERSON},
        "Email Link Clicked",
        {"link_url": "https://shop.example.com/p/1?size=9", "automated": False},
        set(),
    ),
    (
        {"event": "click", "url": "https://events.example.com/v1/click?t=token", **PERSON, "useragent": "curl/8"},
        "Email Link Clicked",
        {"link_url": "https://events.example.com/v1/click", "automated": True, "automated_reason": "bot"},
        set(),
    ),
    ({"event": "spamreport"}, "Email Marked as Spam", {}, {SUPPRESSED}),
    ({"event": "unsubscribe"}, "Unsubscribed", {}, {OPTED_OUT}),
    ({"event": "group_unsubscribe", "asm_group_id": 10}, "Unsubscribed", {"group": "10"}, {OPTED_OUT}),
]
UNKNOWN = [{"event": "group_resubscribe", "asm_group_id": 10}, {"event": "invented", "ip": "203.0.113.7"}]


@pytest.fixture
def webhooks(tmp_path: Path) -> Iterator[Webhooks]:
    made = Webhooks(tmp_path, sections=section(public_key(sendgrid_key())))
    yield made
    made.stream.close()


def section(key: str) -> dict[str, Any]:
    return {"webhooks": {"mail": {"kind": "sendgrid", "public_key": key}}}


def tell(webhooks: Webhooks, events: Any, at_ms: int = NOW_MS) -> int:
    body = dump(events)
    return webhooks.tell("mail", body, sendgrid_headers(body, at_ms)).status_code


@pytest.mark.parametrize(("report", "event", "properties", "conclusions"), CASES)
def test_every_event_becomes_ours_with_what_it_tells(
    webhooks: Webhooks, report: dict[str, Any], event: str, properties: dict[str, Any], conclusions: set[str]
) -> None:
    assert tell(webhooks, [{**COMMON, **report}]) == 200
    by_person = report["event"] in ("open", "click")
    agent = report.get("useragent")
    assert webhooks.messages() == [
        {
            "type": "track",
            "event": event,
            "messageId": "sendgrid-ZGVsaXZlcmVkLTA",
            "timestamp": to_iso(THEN_MS),
            "properties": {
                "email": ANN,
                "idempotency_key": KEY,
                "campaign": CAMPAIGN,
                "provider": "sendgrid",
                "provider_event": report["event"],
                "provider_message_id": COMMON["sg_message_id"],
                **properties,
            },
            "context": {"ip": "203.0.113.0", "userAgent": agent} if by_person else {},
        }
    ]
    assert webhooks.told() == [("accepted", event, f"email:{ANN}")]
    assert webhooks.conclusions() == conclusions


@pytest.mark.parametrize("report", UNKNOWN)
def test_an_event_without_a_name_of_ours_is_kept_whole_and_is_no_activity(
    webhooks: Webhooks, report: dict[str, Any]
) -> None:
    assert tell(webhooks, [{**COMMON, **report}]) == 200
    [message] = webhooks.messages()
    assert (message["event"], message["properties"]["automated"]) == ("Email Provider Event", True)
    truncated = {"ip": "203.0.113.0"} if "ip" in report else {}
    assert message["properties"]["payload"] == {**COMMON, **report, **truncated}
    assert webhooks.told() == [("accepted", "Email Provider Event", f"email:{ANN}")]
    assert webhooks.conclusions() == set()


def test_a_profile_in_the_metadata_makes_the_event_that_person_s(webhooks: Webhooks) -> None:
    for number, profile in enumerate(("user:ann", "anonymous:a:1", "email:b@example.com", "nonsense", 7)):
        event = {**COMMON, "event": "unsubscribe", "wakeline_profile": profile, "sg_event_id": f"{number}"}
        assert tell(webhooks, [event]) == 200
    assert {row.id for row in webhooks.rows()} == {"user:ann", "anonymous:a:1", f"email:{ANN}"}
    assert {row.status for row in webhooks.rows()} == {"accepted"}


def test_without_metadata_the_key_is_that_of_our_own_message_id(webhooks: Webhooks) -> None:
    bare = {name: value for name, value in COMMON.items() if name not in METADATA}
    for number, smtp_id in enumerate((f"<{KEY}@shop.example.com>", "<other@shop.example.com>", f"<{KEY}>", 7)):
        event = {**bare, "event": "delivered", "smtp-id": smtp_id, "sg_event_id": f"{number}"}
        assert tell(webhooks, [event]) == 200
    assert sorted(message["properties"].get("idempotency_key", "") for message in webhooks.messages()) == [
        "",
        "",
        "",
        KEY,
    ]


def test_what_cannot_be_read_is_quarantined_beside_its_valid_neighbours(webhooks: Webhooks) -> None:
    good = {**COMMON, "event": "delivered"}
    garbage = [7, None, "text", [], {}, {**good, "email": 7}, {**good, "timestamp": "soon"}, {"event": "delivered"}]
    assert tell(webhooks, [*garbage, good, {**good, "event": "spamreport", "sg_event_id": "2"}]) == 200
    accepted = [row.event for row in webhooks.rows() if row.status == "accepted"]
    assert sorted(accepted) == ["Email Delivered", "Email Marked as Spam"]
    quarantined = [row for row in webhooks.rows() if row.status == "quarantined"]
    assert len(quarantined) == len(garbage)
    assert all(row.reason for row in quarantined)


def test_events_without_an_id_of_their_own_are_known_by_what_they_tell(webhooks: Webhooks) -> None:
    event = {name: value for name, value in COMMON.items() if name != "sg_event_id"} | {"event": "delivered"}
    for one in (event, dict(reversed(event.items())), {**event, "email": "bea@example.com"}):
        assert tell(webhooks, [one]) == 200
    ids = [message["messageId"] for message in webhooks.messages()]
    assert (len(ids), len(set(ids))) == (3, 2)
    assert tell(webhooks, [{**event, "sg_event_id": "x" * 400}]) == 200
    assert {row.status for row in webhooks.rows()} == {"accepted"}


def test_a_request_that_comes_twice_has_the_same_message_ids(webhooks: Webhooks) -> None:
    body = dump([{**COMMON, "event": "delivered"}])
    headers = sendgrid_headers(body)
    assert [webhooks.tell("mail", body, headers).status_code for _ in range(2)] == [200, 200]
    first, second = webhooks.messages()
    assert first == second


@pytest.mark.parametrize(
    ("at_ms", "status"),
    [
        (NOW_MS - 25 * HOUR_MS, 200),
        (NOW_MS - 25 * HOUR_MS - 1_000, 401),
        (NOW_MS + 5 * MINUTE_MS, 200),
        (NOW_MS + 5 * MINUTE_MS + 1_000, 401),
    ],
)
def test_what_was_signed_too_long_ago_or_in_the_future_is_refused(webhooks: Webhooks, at_ms: int, status: int) -> None:
    assert tell(webhooks, [{**COMMON, "event": "delivered"}], at_ms) == status
    assert len(webhooks.records()) == (status == 200)


def test_what_is_not_signed_by_sendgrid_is_refused(webhooks: Webhooks) -> None:
    body = dump([{**COMMON, "event": "unsubscribe"}])
    good, other = sendgrid_headers(body), sendgrid_headers(body, key=ec.generate_private_key(ec.SECP256R1()))
    signature, signed_at = good
    for headers in (
        {},
        {signed_at: good[signed_at]},
        {signature: good[signature]},
        other,
        {**good, signed_at: f"{NOW_MS // 1_000 + 1}"},
        {**good, signature: "é"},
        {**good, signature: "AAAA"},
        sendgrid_headers(body + b" "),
    ):
        encoded = {name: value.encode("latin-1") for name, value in headers.items()}
        answer = webhooks.tell("mail", body, encoded)  # type: ignore[arg-type]
        assert answer.status_code == 401
        assert answer.json()["error"].endswith(".")
    assert webhooks.records() == []


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"{}", b"7", b"[" * 200 + b"]" * 200, b"[" * 100_000])
def test_a_signed_body_that_is_no_list_of_events_is_refused_as_unreadable(webhooks: Webhooks, body: bytes) -> None:
    assert webhooks.tell("mail", body, sendgrid_headers(body)).status_code == 400
    assert webhooks.records() == []


@pytest.mark.parametrize(
    "key",
    [
        "",
        "nonsense",
        "é",
        base64.b64encode(b"nonsense").decode(),
        public_key(ec.generate_private_key(ec.SECP384R1())),
        public_key(sns_key()),
    ],
)
def test_a_wrong_public_key_is_named_at_the_start(tmp_path: Path, key: str) -> None:
    with pytest.raises(ConfigError, match=r"webhooks\.mail\.public_key is not .* copy the verification key"):
        Webhooks(tmp_path, sections=section(key))


def test_a_public_key_may_stand_in_pem_lines(tmp_path: Path) -> None:
    written = f"-----BEGIN PUBLIC KEY-----\n{public_key(sendgrid_key())}\n-----END PUBLIC KEY-----\n"
    webhooks = Webhooks(tmp_path, sections=section(written))
    assert tell(webhooks, [{**COMMON, "event": "delivered"}]) == 200
    webhooks.stream.close()


@given(st.lists(mutated([{**COMMON, **case[0]} for case in CASES]), max_size=3) | mutated([[COMMON]]))
@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
def test_nothing_that_is_signed_is_answered_with_a_fault(webhooks: Webhooks, events: Any) -> None:
    assert tell(webhooks, events) in (200, 400)


def test_all_that_any_of_it_left_can_be_landed_and_no_ip_address_is_whole(webhooks: Webhooks) -> None:
    events = [{**COMMON, **report, "ip": "203.0.113.7", "more": ["2001:db8:1:2::3"]} for report, *_ in CASES]
    assert (
        tell(webhooks, [*events, *({**COMMON, **one, "ip": "203.0.113.7"} for one in UNKNOWN), {"ip": "203.0.113.7"}])
        == 200
    )
    assert len(webhooks.rows()) == len(CASES) + len(UNKNOWN) + 1
    kept = b"".join(envelope.message for envelope in webhooks.envelopes())
    assert not [one for one in (b"203.0.113.7", b"2001:db8:1:2::3") if one in kept]
