"""Braze's wire format, as on its page about sending transactional emails using API-triggered delivery."""

from dataclasses import replace

import pytest
from support.accounts import ACCOUNTS, JSON_HEADERS, SECRET
from support.providers import ADDRESS, KEY, MAIL, providing

from wakeline.activation.esp.protocol import Accepted, Outcome, Rejected, TryLater, Unknown

BRAZE = ACCOUNTS["braze"]


def test_the_request_is_the_documented_one() -> None:
    request = BRAZE.sent()
    assert request.line == "POST /transactional/v1/campaigns/417220e4-5a2a-b634-7f7d-9ec891532368/send HTTP/1.1"
    assert request.headers == {**JSON_HEADERS, "authorization": f"Bearer {SECRET}"}
    assert request.document == {
        "external_send_id": KEY,
        "trigger_properties": {
            "sender": "Wakeline Demo Shop <shop@example.com>",
            "subject": MAIL.subject,
            "html": MAIL.html,
            "text": MAIL.text,
            "headers": dict(MAIL.headers),
            "wakeline_key": KEY,
            "wakeline_campaign": "category_dwell",
            "wakeline_profile": "user:ann",
        },
        "recipient": {"external_user_id": "ann", "attributes": {"email": ADDRESS}},
    }


@pytest.mark.parametrize("profile_id", ["anonymous:device-1", "email:ada@example.com", ""])
def test_somebody_without_a_user_id_cannot_be_sent_to(profile_id: str) -> None:
    with providing() as provider, BRAZE.opened(provider) as esp:
        assert isinstance(esp.send(replace(MAIL, profile_id=profile_id)), Rejected)
    assert provider.requests == []


SETTINGS = "look at the settings esp.main and at the account: "


@pytest.mark.parametrize(
    ("status", "message", "outcome"),
    [
        (400, "Bad syntax", Rejected("HTTP 400 Bad syntax")),
        (
            400,
            "The external reference has been queued.  Please retry to obtain send_id.",
            TryLater(5, "HTTP 400 The external reference has been queued.  Please retry to obtain send_id."),
        ),
        (400, "Campaign does not exist", TryLater(60, f"{SETTINGS}HTTP 400 Campaign does not exist")),
        (
            400,
            "The campaign is paused. Resume the campaign in order for trigger requests to take effect.",
            TryLater(
                60,
                f"{SETTINGS}HTTP 400 The campaign is paused. Resume the campaign in order for trigger requests to take"
                " effect.",
            ),
        ),
        (
            401,
            "Error authenticating credentials",
            TryLater(60, f"{SETTINGS}HTTP 401 Error authenticating credentials"),
        ),
        (429, "Over rate limit", TryLater(5, "HTTP 429 Over rate limit")),
        (500, "Internal", Unknown("it is not certain what became of it: HTTP 500 Internal")),
    ],
)
def test_the_documented_errors_are_told(status: int, message: str, outcome: Outcome) -> None:
    assert BRAZE.outcome_of(status, {"message": message}) == outcome


def test_a_request_that_waits_for_the_end_of_a_maintenance_is_accepted() -> None:
    assert BRAZE.outcome_of(202, {"message": "queued"}) == Accepted("")
