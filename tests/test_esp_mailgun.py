"""Mailgun's wire format: https://documentation.mailgun.com/docs/mailgun/api-reference/send/mailgun/messages."""

import base64

import pytest
from support.accounts import ACCOUNTS, JSON_HEADERS, SECRET
from support.providers import ADDRESS, KEY, MAIL

from wakeline.activation.esp.metadata import SendMetadata, read_metadata
from wakeline.activation.esp.protocol import Outcome, Rejected, TryLater, Unknown

MAILGUN = ACCOUNTS["mailgun"]
FORM = "multipart/form-data"


def test_the_request_is_the_documented_one() -> None:
    request = MAILGUN.sent()
    assert request.line == "POST /v3/mg.example.com/messages HTTP/1.1"
    assert request.headers.pop("content-type").startswith(f"{FORM}; boundary=")
    proof = base64.b64encode(f"api:{SECRET}".encode()).decode()
    expected = {**JSON_HEADERS, "authorization": f"Basic {proof}"}
    assert request.headers == {name: value for name, value in expected.items() if name != "content-type"}


def test_the_form_has_all_of_the_mail() -> None:
    assert MAILGUN.sent().form == [
        ("from", "Wakeline Demo Shop <shop@example.com>"),
        ("to", ADDRESS),
        ("subject", MAIL.subject),
        ("text", MAIL.text),
        ("html", MAIL.html),
        ("h:Message-Id", f"<{KEY}@example.com>"),
        ("h:X-Wakeline-Key", KEY),
        ("h:X-Wakeline-Campaign", "category_dwell"),
        ("h:List-Unsubscribe", MAIL.headers["List-Unsubscribe"]),
        ("h:List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
        ("v:wakeline_key", KEY),
        ("v:wakeline_campaign", "category_dwell"),
        ("v:wakeline_profile", "user:ann"),
        ("o:tracking", "no"),
        ("o:tracking-clicks", "no"),
        ("o:tracking-opens", "no"),
    ]


def test_its_webhook_reads_the_metadata_back() -> None:
    variables = {name.removeprefix("v:"): value for name, value in MAILGUN.sent().form if name.startswith("v:")}
    assert read_metadata(variables) == SendMetadata(KEY, "category_dwell", "user:ann")


@pytest.mark.parametrize(
    ("status", "message", "outcome"),
    [
        (400, "to parameter is not a valid address. please check documentation", Rejected),
        (401, "Forbidden", TryLater),
        (403, "Domain mg.example.com is not allowed to send", TryLater),
        (404, "Domain not found: mg.example.com", TryLater),
        (429, "Too many requests", TryLater),
        (500, "Internal Server Error", Unknown),
        (200, "Mailgun Magnificent API", Unknown),
    ],
)
def test_the_documented_errors_are_told(status: int, message: str, outcome: type[Outcome]) -> None:
    found = MAILGUN.outcome_of(status, {"message": message})
    assert isinstance(found, outcome)
    assert f"HTTP {status} {message}" in getattr(found, "reason", "")
