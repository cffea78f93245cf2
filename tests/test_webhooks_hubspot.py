"""What HubSpot tells by its webhooks."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.clocks import MINUTE_MS, NOW_MS, SECOND_MS
from support.collecting import Collector
from support.webhooks_crm import HUBSPOT_SECRET, JSON_VALUES, PUBLIC_URL, accepted, hubspot, refusals, row_of

from wakeline.collector.webhooks.hubspot import MAX_AGE_MS, UNKNOWN, HubspotAdapter, signed_address
from wakeline.collector.webhooks.protocol import WebhookRequest
from wakeline.collector.webhooks.settings import HubspotWebhook

#: HubSpot's own example, with the secret and the signature of the page on request validation.
DOCUMENTED_URL = "https://webhook.site/335453f5-94b3-49d9-b684-a55354d4b8df"
DOCUMENTED_SECRET = "cfc68c0b-4b4e-4ef8-b764-95350e4ea479"
DOCUMENTED_SIGNATURE = "gbj1XPRvUt0noT7i7fXfTzOD4sLzQmf0VT28ZYq0EYg="
DOCUMENTED_AT_MS = 1752613922216
DOCUMENTED_BODY = (
    b'[{"eventId":531833541,"subscriptionId":3923621,"portalId":48807704,"appId":16111050,"occurredAt":1752613920733,'
    b'"subscriptionType":"contact.creation","attemptNumber":0,"objectId":138017612137,"changeFlag":"CREATED",'
    b'"changeSource":"CRM_UI","sourceId":"userId:76023669"}]'
)


def event(kind: str, **facts: Any) -> dict[str, Any]:
    """An event as the documentation shows it."""
    return {
        "eventId": 1,
        "subscriptionId": 12345,
        "portalId": 62515,
        "appId": 54321,
        "occurredAt": NOW_MS - SECOND_MS,
        "subscriptionType": kind,
        "attemptNumber": 0,
        "objectId": 123,
        "changeSource": "CRM",
        **facts,
    }


def changed(name: str, value: Any, kind: str = "contact.propertyChange", **facts: Any) -> dict[str, Any]:
    return event(kind, propertyName=name, propertyValue=value, **facts)


def body(*events: Any) -> bytes:
    return json.dumps(list(events)).encode()


SECTIONS = {
    "webhooks": {"crm": {"kind": "hubspot", "client_secret": HUBSPOT_SECRET}},
    "activation": {"public_url": PUBLIC_URL},
}


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[Collector]:
    made = Collector(tmp_path, sections=SECTIONS)
    yield made
    made.stream.close()


def test_a_changed_property_is_a_trait_of_the_contact(collector: Collector) -> None:
    first = changed("email", "ann@example.com")
    assert hubspot(collector, body(first, changed("firstname", "Ann"))).status_code == 200
    email, name = accepted(collector)
    assert (email["type"], email["anonymousId"], email["traits"]) == (
        "identify",
        "hubspot-123",
        {"email": "ann@example.com"},
    )
    assert name["traits"] == {"firstName": "Ann"}
    assert email["properties"] == {**first, "automated": True}
    row = collector.rows()[0]
    assert (row.id, row.source, row.occurred_at_ms) == ("anonymous:hubspot-123", "crm", NOW_MS - SECOND_MS)


@pytest.mark.parametrize(
    ("kind", "facts", "name", "whose"),
    [
        ("contact.creation", {}, "Contact Created", "hubspot-123"),
        ("contact.deletion", {}, "Contact Deleted", "hubspot-123"),
        ("contact.privacyDeletion", {}, "Contact Privacy Deleted", "hubspot-123"),
        ("contact.restore", {}, "Contact Restored", "hubspot-123"),
        ("contact.merge", {"mergedObjectIds": [7], "newObjectId": 8}, "Contact Merged", "hubspot-123"),
        (
            "contact.associationChange",
            {"objectId": None, "fromObjectId": 5, "toObjectId": 6},
            "Contact Association Changed",
            "hubspot-5",
        ),
        ("company.propertyChange", {"propertyName": "name"}, "Company Updated", "hubspot-company-123"),
        ("deal.propertyChange", {"propertyName": "amount"}, "Deal Updated", "hubspot-deal-123"),
        ("line_item.creation", {}, "Line Item Created", "hubspot-line_item-123"),
        ("object.creation", {"objectTypeId": "0-1"}, "Contact Created", "hubspot-123"),
        ("object.deletion", {"objectTypeId": "0-3"}, "Deal Deleted", "hubspot-deal-123"),
        ("object.propertyChange", {"objectTypeId": "2-77"}, "Object Updated", "hubspot-object-123"),
        ("conversation.newMessage", {}, "Conversation Message Added", "hubspot-conversation-123"),
    ],
)
def test_everything_else_is_an_event_with_all_its_facts(
    collector: Collector, kind: str, facts: dict[str, Any], name: str, whose: str
) -> None:
    sent = event(kind, **facts)
    hubspot(collector, body(sent))
    [message] = accepted(collector)
    assert (message["type"], message["event"], message["anonymousId"]) == ("track", name, whose)
    assert message["properties"] == {**sent, "automated": True}


def test_a_property_of_a_contact_is_known_by_the_newer_subscriptions_too(collector: Collector) -> None:
    hubspot(collector, body(changed("phone", "1", "object.propertyChange", objectTypeId="0-1")))
    [message] = accepted(collector)
    assert (message["type"], message["anonymousId"], message["traits"]) == ("identify", "hubspot-123", {"phone": "1"})


@pytest.mark.parametrize("name", ["hs_email_optout", "hs_email_optout_6125111"])
@pytest.mark.parametrize("value", ["true", "True", True])
def test_an_opt_out_is_heard(collector: Collector, name: str, value: Any) -> None:
    hubspot(collector, body(changed(name, value)))
    assert refusals(collector) == [("anonymous:hubspot-123", "marketing", False)]
    row = row_of(collector, "Unsubscribed")
    assert row.occurred_at_ms == NOW_MS - SECOND_MS
    assert json.loads(row.message)["properties"]["automated"] is True


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hs_email_optout", "false"),
        ("hs_email_optout", ""),
        ("hs_email_optout", None),
        ("hs_email_optout_survey_reason", "true"),
        ("email", "true"),
    ],
)
def test_nothing_else_is_a_word_on_consent(collector: Collector, name: str, value: Any) -> None:
    hubspot(collector, body(changed(name, value)))
    assert [message["type"] for message in accepted(collector)] == ["identify"]
    assert refusals(collector) == []


def test_a_company_cannot_opt_out(collector: Collector) -> None:
    hubspot(collector, body(changed("hs_email_optout", "true", "company.propertyChange")))
    assert refusals(collector) == []


def test_hubspots_own_example_is_proven() -> None:
    # The example was sent to another path than ours, so the adapter is asked by itself.
    adapter = HubspotAdapter("crm", HubspotWebhook(kind="hubspot", client_secret=DOCUMENTED_SECRET))
    headers = {
        "x-hubspot-signature-v3": DOCUMENTED_SIGNATURE,
        "x-hubspot-request-timestamp": str(DOCUMENTED_AT_MS),
    }
    request = WebhookRequest(headers, DOCUMENTED_BODY, DOCUMENTED_URL, DOCUMENTED_AT_MS + SECOND_MS)
    answer = asyncio.run(adapter.receive(request))
    assert [message["event"] for message in answer.messages] == ["Contact Created"]


def test_the_address_is_signed_with_some_characters_decoded(collector: Collector) -> None:
    assert signed_address("https://a/b?c=%3a%2F%3F%40%21%24%27%28%29%2A%2C%3B%20%26") == (
        "https://a/b?c=:/?@!$'()*,;%20%26"
    )
    assert hubspot(collector, body(), query="?from=portal:1").status_code == 200


@pytest.mark.parametrize("left_out", ["X-HubSpot-Signature-v3", "X-HubSpot-Request-Timestamp"])
def test_a_request_that_is_not_signed_is_refused(collector: Collector, left_out: str) -> None:
    answer = hubspot(collector, body(event("contact.creation")), left_out=left_out)
    assert (answer.status_code, answer.json()) == (401, {"error": f"The header {left_out} is missing."})
    assert collector.records() == []


def test_a_wrong_signature_is_refused_before_the_body_is_read(collector: Collector) -> None:
    answer = hubspot(collector, b"not JSON", secret="another-secret")
    assert answer.status_code == 401
    assert answer.json()["error"].startswith("The signature is wrong")
    assert hubspot(collector, b"not JSON").status_code == 400


def test_the_older_signatures_are_not_taken(collector: Collector) -> None:
    headers = {"X-HubSpot-Signature": "0" * 64, "X-HubSpot-Signature-Version": "v1"}
    assert collector.call("POST", "/v1/webhooks/crm", content=body(), headers=headers).status_code == 401


@pytest.mark.parametrize("age_ms", [MAX_AGE_MS + 1, -MAX_AGE_MS - MINUTE_MS])
def test_a_request_of_another_time_is_refused(collector: Collector, age_ms: int) -> None:
    assert hubspot(collector, body(event("contact.creation")), signed_at_ms=NOW_MS - age_ms).status_code == 401
    assert collector.records() == []
    assert hubspot(collector, body(), signed_at_ms=NOW_MS - MAX_AGE_MS).status_code == 200


def test_another_attempt_gives_the_same_message_id(collector: Collector) -> None:
    first = changed("hs_email_optout", "true")
    again = {**first, "attemptNumber": 3}
    hubspot(collector, body(first))
    hubspot(collector, body(again))
    ids = [message["messageId"] for message in accepted(collector)]
    assert ids[:2] == ids[2:]
    assert len(set(ids)) == 2


def test_events_with_the_same_event_id_are_different_events(collector: Collector) -> None:
    hubspot(collector, body(changed("email", "a@example.com"), changed("email", "b@example.com")))
    assert len({message["messageId"] for message in accepted(collector)}) == 2


@pytest.mark.parametrize("sent", [{"subscriptionType": "thing.happened", "x": 1}, {}, {"subscriptionType": [7]}])
def test_an_unknown_event_is_kept_whole(collector: Collector, sent: dict[str, Any]) -> None:
    hubspot(collector, body(sent))
    [message] = accepted(collector)
    assert (message["event"], message["anonymousId"]) == (UNKNOWN, "webhook-crm")
    assert message["properties"] == {**sent, "automated": True}


def test_garbage_is_quarantined_beside_its_valid_neighbours(collector: Collector) -> None:
    late = event("contact.deletion", occurredAt="yesterday")
    answer = hubspot(collector, body(7, event("contact.creation"), None, late, changed("email", "a@example.com")))
    assert answer.status_code == 200
    assert [message["type"] for message in accepted(collector)] == ["track", "identify"]
    assert sorted(row.reason for row in collector.rows() if row.status == "quarantined") == [
        "the message is not an object",
        "the message is not an object",
        "timestamp is not an ISO 8601 time",
    ]


@pytest.mark.parametrize(
    "sent", [b"", b"{", b"7", b'"text"', b"null", b"\xff", b"[" * 100_000, b"[" * 150 + b"]" * 150]
)
def test_an_unreadable_body_is_refused(collector: Collector, sent: bytes) -> None:
    answer = hubspot(collector, sent)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("The body is")


def test_no_full_ip_address_is_kept(collector: Collector) -> None:
    hubspot(collector, body(changed("last_ip", "203.0.113.7")))
    assert accepted(collector)[0]["traits"] == {"last_ip": "203.0.113.0"}


def test_a_query_that_is_no_text_is_refused(collector: Collector) -> None:
    answers: list[Any] = []
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/webhooks/crm",
        "query_string": b"\xff",
        "headers": [(b"x-hubspot-signature-v3", b"\xff"), (b"x-hubspot-request-timestamp", b"\xff")],
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body()}

    async def send(answer: Any) -> None:
        answers.append(answer)

    asyncio.run(collector.app(scope, receive, send))
    assert answers[0]["status"] == 401


def test_half_an_emoji_costs_nothing(collector: Collector) -> None:
    assert hubspot(collector, body(changed("firstname", "\ud83d"))).status_code == 200
    assert accepted(collector)[0]["traits"] == {"firstName": "?"}


_FACTS = st.fixed_dictionaries(
    {},
    optional={
        "subscriptionType": st.sampled_from(["contact.propertyChange", "object.propertyChange", "deal.x"])
        | JSON_VALUES,
        "objectId": st.integers() | JSON_VALUES,
        "objectTypeId": st.sampled_from(["0-1", "0-3"]) | JSON_VALUES,
        "propertyName": st.sampled_from(["hs_email_optout", "email"]) | JSON_VALUES,
        "propertyValue": JSON_VALUES,
        "occurredAt": st.integers() | JSON_VALUES,
    },
)


@given(st.lists(_FACTS | JSON_VALUES, max_size=4) | JSON_VALUES)
@settings(max_examples=60, deadline=None)
def test_no_signed_body_is_answered_with_a_fault(tmp_path_factory: pytest.TempPathFactory, sent: Any) -> None:
    collector = Collector(tmp_path_factory.mktemp("fuzz"), sections=SECTIONS)
    try:
        neighbour = event("contact.creation", objectId=999_999)
        whole = [*sent, neighbour] if isinstance(sent, list) else sent
        answer = hubspot(collector, json.dumps(whole).encode())
        assert answer.status_code in (200, 400)
        if isinstance(sent, list):
            assert "hubspot-999999" in [message.get("anonymousId") for message in accepted(collector)]
        assert all(len(row.message_id) <= 255 for row in collector.rows())
    finally:
        collector.stream.close()
