"""The wire format of Standard Webhooks: https://github.com/standard-webhooks/standard-webhooks."""

import asyncio
import base64
import hashlib
import hmac
from math import inf

import pytest
from support.accounts import ACCOUNTS, JSON_HEADERS, SIGNING_SECRET
from support.clocks import NOW_MS
from support.providers import ADDRESS, KEY, MAIL

from wakeline.activation.esp.protocol import Accepted, Outcome, Rejected, TryLater, Unknown
from wakeline.collector.webhooks.protocol import WebhookRequest
from wakeline.collector.webhooks.resend import ResendAdapter
from wakeline.collector.webhooks.settings import ResendWebhook

WEBHOOK = ACCOUNTS["webhook"]


def test_the_request_is_signed_after_the_spec() -> None:
    request = WEBHOOK.sent()
    signed = f"{KEY}.{NOW_MS // 1000}.".encode() + request.body
    key = base64.b64decode(SIGNING_SECRET.removeprefix("whsec_"))
    signature = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert request.line == "POST / HTTP/1.1"
    assert request.headers == {
        **JSON_HEADERS,
        "webhook-id": KEY,
        "webhook-timestamp": "1800000000",
        "webhook-signature": f"v1,{signature}",
    }


def test_the_document_has_all_of_the_mail() -> None:
    assert WEBHOOK.sent().document == {
        "type": "mail.send",
        "timestamp": "2027-01-15T08:00:00.000Z",
        "data": {
            "key": KEY,
            "campaign": "category_dwell",
            "profile_id": "user:ann",
            "from": "Wakeline Demo Shop <shop@example.com>",
            "to": ADDRESS,
            "subject": MAIL.subject,
            "html": MAIL.html,
            "text": MAIL.text,
            "headers": dict(MAIL.headers),
        },
    }


async def received(body: bytes, headers: dict[str, str]) -> None:
    """Check as our own reader of such signatures does, which was tested with those of Svix."""
    adapter = ResendAdapter("resend", ResendWebhook(kind="resend", signing_secret=SIGNING_SECRET), 0)
    renamed = {name.replace("webhook-", "svix-"): value for name, value in headers.items()}
    await adapter.receive(WebhookRequest(renamed, body, "", NOW_MS))


def test_a_reader_of_such_signatures_takes_it() -> None:
    request = WEBHOOK.sent()
    asyncio.run(received(request.body, request.headers))


@pytest.mark.parametrize(
    ("status", "document", "outcome"),
    [
        (200, {"id": "mail-7"}, Accepted("mail-7")),
        (202, None, Accepted(KEY)),
        (400, {"error": "no such template"}, Rejected("HTTP 400 no such template")),
        (
            401,
            {"message": "bad signature"},
            TryLater(60, "look at the settings esp.main and at the account: HTTP 401 bad signature"),
        ),
        (
            410,
            None,
            TryLater(60, "look at the settings esp.main and at the account: HTTP 410 without a readable body"),
        ),
        (502, None, Unknown("it is not certain what became of it: HTTP 502 without a readable body")),
    ],
)
def test_the_answers_of_the_spec_are_understood(status: int, document: object, outcome: Outcome) -> None:
    assert WEBHOOK.outcome_of(status, document) == outcome


def test_a_receiver_says_how_long_it_knows_the_key() -> None:
    account = ACCOUNTS["webhook"]
    with account.opened("http://127.0.0.1:1", idempotency_key_seconds=inf) as esp:
        assert esp.idempotency_key_seconds == inf
