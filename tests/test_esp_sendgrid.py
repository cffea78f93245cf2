"""SendGrid's wire format: https://www.twilio.com/docs/sendgrid/api-reference/mail-send/mail-send."""

from dataclasses import replace

import pytest
from support.accounts import ACCOUNTS, JSON_HEADERS, SECRET
from support.providers import ADDRESS, KEY, MAIL

from wakeline.activation.esp.metadata import SendMetadata, read_metadata
from wakeline.activation.esp.protocol import Accepted, Outcome, Rejected, TryLater, Unknown

SENDGRID = ACCOUNTS["sendgrid"]


def test_the_request_is_the_documented_one() -> None:
    request = SENDGRID.sent()
    assert request.line == "POST /v3/mail/send HTTP/1.1"
    assert request.headers == {**JSON_HEADERS, "authorization": f"Bearer {SECRET}"}
    assert request.document == {
        "personalizations": [{"to": [{"email": ADDRESS}]}],
        "from": {"email": "shop@example.com", "name": "Wakeline Demo Shop"},
        "subject": MAIL.subject,
        "content": [{"type": "text/plain", "value": MAIL.text}, {"type": "text/html", "value": MAIL.html}],
        "headers": dict(MAIL.headers),
        "custom_args": {
            "wakeline_key": KEY,
            "wakeline_campaign": "category_dwell",
            "wakeline_profile": "user:ann",
        },
        "tracking_settings": {
            "click_tracking": {"enable": False, "enable_text": False},
            "open_tracking": {"enable": False},
            "subscription_tracking": {"enable": False},
            "ganalytics": {"enable": False},
        },
    }


def test_its_webhook_reads_the_metadata_back() -> None:
    custom_args = SENDGRID.sent().document["custom_args"]
    assert read_metadata(custom_args) == SendMetadata(KEY, "category_dwell", "user:ann")


def test_what_is_empty_is_left_out() -> None:
    document = SENDGRID.sent(replace(MAIL, text="", sender="shop@example.com", profile_id="")).document
    assert document["content"] == [{"type": "text/html", "value": MAIL.html}]
    assert document["from"] == {"email": "shop@example.com"}
    assert "wakeline_profile" not in document["custom_args"]


@pytest.mark.parametrize(
    ("status", "document", "outcome"),
    [
        (
            400,
            {
                "errors": [
                    {
                        "message": "The subject is required.",
                        "field": "subject",
                        "help": "http://sendgrid.com/docs/API_Reference/Web_API_v3/Mail/errors.html#message.subject",
                    }
                ]
            },
            Rejected("HTTP 400 subject: The subject is required."),
        ),
        (
            413,
            {"errors": [{"message": "Payload too large.", "field": None, "help": None}]},
            Rejected("HTTP 413 Payload too large."),
        ),
        (
            401,
            {"errors": [{"message": "authorization required", "field": None, "help": None}]},
            TryLater(60, "look at the settings esp.main and at the account: HTTP 401 authorization required"),
        ),
        (
            403,
            {"errors": [{"message": "The from address does not match a verified Sender Identity.", "field": "from"}]},
            TryLater(
                60,
                "look at the settings esp.main and at the account: HTTP 403 from: The from address does not match a"
                " verified Sender Identity.",
            ),
        ),
        (
            429,
            {"errors": [{"field": None, "message": "too many requests"}]},
            TryLater(5, "HTTP 429 too many requests"),
        ),
        (
            500,
            {"errors": [{"message": "internal"}]},
            Unknown("it is not certain what became of it: HTTP 500 internal"),
        ),
    ],
)
def test_the_documented_errors_are_told(status: int, document: object, outcome: Outcome) -> None:
    assert SENDGRID.outcome_of(status, document) == outcome


def test_the_sandbox_answers_200() -> None:
    assert SENDGRID.outcome_of(200, None, **{"X-Message-Id": "14c5d75ce93"}) == Accepted("14c5d75ce93")
