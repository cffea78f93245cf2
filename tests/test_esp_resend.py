"""Resend's wire format: https://resend.com/docs/api-reference/emails/send-email."""

from dataclasses import replace

import pytest
from support.accounts import ACCOUNTS, JSON_HEADERS, SECRET
from support.providers import ADDRESS, KEY, MAIL

from wakeline.activation.esp.metadata import SendMetadata, read_metadata
from wakeline.activation.esp.protocol import Accepted, Outcome, Rejected, TryLater, Unknown

RESEND = ACCOUNTS["resend"]


def test_the_request_is_the_documented_one() -> None:
    request = RESEND.sent()
    assert request.line == "POST /emails HTTP/1.1"
    assert request.headers == {**JSON_HEADERS, "authorization": f"Bearer {SECRET}", "idempotency-key": KEY}
    assert request.document == {
        "from": "Wakeline Demo Shop <shop@example.com>",
        "to": [ADDRESS],
        "subject": MAIL.subject,
        "html": MAIL.html,
        "text": MAIL.text,
        "headers": dict(MAIL.headers),
        "tags": [
            {"name": "wakeline_key", "value": KEY},
            {"name": "wakeline_campaign", "value": "category_dwell"},
        ],
    }


def test_its_webhook_reads_the_metadata_back() -> None:
    document = RESEND.sent(replace(MAIL, campaign="back in stock")).document
    tags = {tag["name"]: tag["value"] for tag in document["tags"]}
    headers = {name.lower(): value for name, value in document["headers"].items()}
    assert tags == {"wakeline_key": KEY}
    assert read_metadata(tags, headers) == SendMetadata(KEY, "category_dwell", "")


@pytest.mark.parametrize(
    ("status", "name", "message", "outcome"),
    [
        (400, "validation_error", "We found an error with one or more fields.", Rejected),
        (422, "invalid_from_address", "Invalid `from` field.", Rejected),
        (401, "missing_api_key", "Missing API Key", TryLater),
        (403, "validation_error", "The example.com domain is not verified.", TryLater),
        (409, "concurrent_idempotent_requests", "There is another request in progress.", TryLater),
        (429, "rate_limit_exceeded", "Too many requests.", TryLater),
        (429, "daily_quota_exceeded", "You have reached your daily email quota.", TryLater),
        (500, "application_error", "An unexpected error occurred.", Unknown),
    ],
)
def test_the_documented_errors_are_told(status: int, name: str, message: str, outcome: type[Outcome]) -> None:
    found = RESEND.outcome_of(status, {"statusCode": status, "name": name, "message": message})
    assert isinstance(found, outcome)
    assert f"HTTP {status} {name}: {message}" in getattr(found, "reason", "")


def test_a_key_that_was_used_for_the_mail_of_an_earlier_try_says_that_it_is_out() -> None:
    message = (
        "This idempotency key has been used with this HTTP method and endpoint within the last 24 hours, but the"
        " request body was modified and doesn't match the original request."
    )
    document = {"statusCode": 409, "name": "invalid_idempotent_request", "message": message}
    assert RESEND.outcome_of(409, document) == Accepted("")
