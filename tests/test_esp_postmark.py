"""Postmark's wire format: https://postmarkapp.com/developer/api/email-api#send-a-single-email."""

from dataclasses import replace

import pytest
from support.accounts import ACCOUNTS, JSON_HEADERS, SECRET
from support.providers import ADDRESS, KEY, MAIL

from wakeline.activation.esp.metadata import SendMetadata, read_metadata
from wakeline.activation.esp.protocol import Outcome, Rejected, TryLater, Unknown

POSTMARK = ACCOUNTS["postmark"]


def test_the_request_is_the_documented_one() -> None:
    request = POSTMARK.sent(message_stream="broadcast")
    assert request.line == "POST /email HTTP/1.1"
    assert request.headers == {**JSON_HEADERS, "x-postmark-server-token": SECRET}
    assert request.document == {
        "From": "Wakeline Demo Shop <shop@example.com>",
        "To": ADDRESS,
        "Subject": MAIL.subject,
        "HtmlBody": MAIL.html,
        "TextBody": MAIL.text,
        "MessageStream": "broadcast",
        "Headers": [
            *({"Name": name, "Value": value} for name, value in MAIL.headers.items()),
            {"Name": "X-PM-KeepID", "Value": "true"},
        ],
        "Metadata": {
            "wakeline_key": KEY,
            "wakeline_campaign": "category_dwell",
            "wakeline_profile": "user:ann",
        },
        "TrackOpens": False,
        "TrackLinks": "None",
    }


def test_its_webhook_reads_the_metadata_back() -> None:
    metadata = POSTMARK.sent().document["Metadata"]
    assert read_metadata(metadata) == SendMetadata(KEY, "category_dwell", "user:ann")


def test_a_profile_that_is_too_long_for_postmark_is_left_out() -> None:
    metadata = POSTMARK.sent(replace(MAIL, profile_id="user:" + "x" * 76)).document["Metadata"]
    assert metadata == {"wakeline_key": KEY, "wakeline_campaign": "category_dwell"}


def test_a_name_with_punctuation_is_quoted() -> None:
    document = POSTMARK.sent(replace(MAIL, sender='"Sender, Joe" <shop@example.com>')).document
    assert document["From"] == '"Sender, Joe" <shop@example.com>'


SETTINGS = "look at the settings esp.main and at the account: "
INACTIVE = (
    "You tried to send to a recipient that has been marked as inactive.\nFound inactive addresses: ada@example.com.\n"
    "Inactive recipients are ones that have generated a hard bounce, a spam complaint, or a manual suppression."
)


TOLD = INACTIVE.replace("\n", " ").replace(ADDRESS, "(address)")


@pytest.mark.parametrize(
    ("status", "code", "message", "outcome"),
    [
        (401, 10, "Bad or missing API token.", TryLater(60, f"{SETTINGS}HTTP 401 10: Bad or missing API token.")),
        (503, 100, "Maintenance", TryLater(5, "HTTP 503 100: Maintenance")),
        (
            422,
            300,
            "Invalid 'To' address: 'ada@example.com'.",
            Rejected("HTTP 422 300: Invalid 'To' address: '(address)'."),
        ),
        (422, 400, "Sender Signature not found", TryLater(60, f"{SETTINGS}HTTP 422 400: Sender Signature not found")),
        (422, 405, "Not allowed to send", TryLater(60, f"{SETTINGS}HTTP 422 405: Not allowed to send")),
        (
            422,
            406,
            INACTIVE,
            Rejected(f"HTTP 422 406: {TOLD}"),
        ),
        (422, 413, "Account May Not Send", TryLater(60, f"{SETTINGS}HTTP 422 413: Account May Not Send")),
        (
            422,
            1235,
            "The 'MessageStream' provided does not exist on this server.",
            TryLater(60, f"{SETTINGS}HTTP 422 1235: The 'MessageStream' provided does not exist on this server."),
        ),
        (429, 429, "Rate Limit Exceeded", TryLater(5, "HTTP 429 429: Rate Limit Exceeded")),
        (500, 0, "", Unknown("it is not certain what became of it: HTTP 500 0")),
        (200, 300, "Invalid email request", Rejected("HTTP 200 300: Invalid email request")),
    ],
)
def test_the_documented_errors_are_told(status: int, code: int, message: str, outcome: Outcome) -> None:
    assert POSTMARK.outcome_of(status, {"ErrorCode": code, "Message": message}) == outcome
