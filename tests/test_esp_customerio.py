"""Customer.io's wire format: https://docs.customer.io/integrations/api/app/tag/send-messages/sendEmail/."""

from dataclasses import replace

import pytest
from liquid import Environment
from support.accounts import ACCOUNTS, JSON_HEADERS, SECRET
from support.providers import ADDRESS, KEY, MAIL

from wakeline.activation.esp.protocol import Outcome, Rejected, TryLater, Unknown

CUSTOMERIO = ACCOUNTS["customerio"]


def test_the_request_is_the_documented_one() -> None:
    request = CUSTOMERIO.sent()
    assert request.line == "POST /v1/send/email HTTP/1.1"
    assert request.headers == {**JSON_HEADERS, "authorization": f"Bearer {SECRET}"}
    assert request.document == {
        "transactional_message_id": "wakeline",
        "to": ADDRESS,
        "from": "Wakeline Demo Shop <shop@example.com>",
        "identifiers": {"email": ADDRESS},
        "subject": MAIL.subject,
        "body": MAIL.html,
        "body_plain": MAIL.text,
        "headers": dict(MAIL.headers),
        "message_data": {
            "wakeline_key": KEY,
            "wakeline_campaign": "category_dwell",
            "wakeline_profile": "user:ann",
        },
        "tracked": False,
        "disable_css_preprocessing": True,
    }


@pytest.mark.parametrize(
    "typed", ["{{ customer.email }}", "{% raw %}", "{{{%{{", "{", "{ {", "}}{{", "{%- if a -%}b", "a{b}c", "{{ '{' }}"]
)
def test_what_a_person_typed_is_no_template(typed: str) -> None:
    document = CUSTOMERIO.sent(replace(MAIL, subject=typed, html=typed, text=typed)).document
    rendered = [Environment().from_string(document[name]).render() for name in ("subject", "body", "body_plain")]
    assert rendered == [typed, typed, typed]


@pytest.mark.parametrize(
    ("status", "meta", "outcome"),
    [
        (400, {"error": "to: invalid address"}, Rejected("HTTP 400 to: invalid address")),
        (422, {"errors": ["subject is required", "body is required"]}, Rejected("HTTP 422 subject is required")),
        (
            401,
            {"error": "Unauthorized request"},
            TryLater(60, "look at the settings esp.main and at the account: HTTP 401 Unauthorized request"),
        ),
        (429, {"error": "too many requests"}, TryLater(5, "HTTP 429 too many requests")),
        (500, {"error": "internal"}, Unknown("it is not certain what became of it: HTTP 500 internal")),
    ],
)
def test_the_documented_errors_are_told(status: int, meta: object, outcome: Outcome) -> None:
    assert CUSTOMERIO.outcome_of(status, {"meta": meta}) == outcome
