from typing import Any

import pytest
from support.clocks import HOUR_MS, NOW_MS
from support.messages import identify, preferences, rows, track, with_consent

from wakeline.activation import consent
from wakeline.activation.consent import Consent, RecordAddress, Suppression
from wakeline.events import address_subject, normalised
from wakeline.pipeline.classify import LandingRow, mark_duplicates

#: The source of the messages here.
TRUSTED = ("default",)


def consents(told: list[LandingRow], trusted: tuple[str, ...] = TRUSTED) -> list[Consent]:
    return consent.consents(told, trusted)


def suppressions(told: list[LandingRow], trusted: tuple[str, ...] = TRUSTED) -> list[Suppression]:
    return consent.suppressions(told, trusted)


def said(subject: str, granted: bool, purpose: str = "marketing", at_ms: int = NOW_MS) -> Consent:
    return Consent(subject, purpose, granted, at_ms, "m1")


def stamped(subject: str, granted: bool, purpose: str = "marketing", at_ms: int = NOW_MS) -> Consent:
    return Consent(subject, purpose, granted, at_ms, "m1", stamp=True)


def test_a_choice_in_the_consent_banner_is_the_word_of_whoever_made_it() -> None:
    by_person = identify("m1", user="ann", device="phone", marketing=True)
    by_device = identify("m1", device="phone", marketing=False)
    assert consents(rows(by_person)) == [stamped("user:ann", True)]
    assert consents(rows(by_device)) == [stamped("anonymous:phone", False)]


def test_a_change_of_preferences_is_stated_and_every_other_event_only_stamped() -> None:
    updated = with_consent(track("Segment Consent Preference Updated", "m1", user="ann"), marketing=True)
    viewed = with_consent(track("Product Viewed", "m1", user="ann"), marketing=True)
    assert consents(rows(updated)) == [said("user:ann", True)]
    assert consents(rows(viewed)) == [stamped("user:ann", True)]


def test_any_kind_of_message_carries_consent_and_each_purpose_counts_for_itself() -> None:
    message = with_consent(track("Product Viewed", "m1", user="ann"), marketing=False, newsletter=True)
    assert consents(rows(message)) == [
        stamped("user:ann", False, "marketing"),
        stamped("user:ann", True, "newsletter"),
    ]


def test_consent_counts_from_when_it_was_given_and_not_from_when_it_arrived() -> None:
    message = identify("m1", user="ann", marketing=True, at_ms=NOW_MS - HOUR_MS)
    assert consents(rows(message)) == [stamped("user:ann", True, at_ms=NOW_MS - HOUR_MS)]


def test_a_purpose_that_no_campaign_could_name_says_nothing() -> None:
    preferences = {"p" * 255: True, "p" * 256: True}
    message = track("Product Viewed", "m1", user="ann")
    said = consents(rows(message | {"context": {"consent": {"categoryPreferences": preferences}}}))
    assert [one.purpose for one in said] == ["p" * 255]


@pytest.mark.parametrize("preferences", ["yes", ["marketing"], {"marketing": "false"}, {"marketing": 1}, None])
def test_what_is_neither_yes_nor_no_says_nothing(preferences: Any) -> None:
    message = track("Product Viewed", "m1", user="ann")
    assert consents(rows(message | {"context": {"consent": {"categoryPreferences": preferences}}})) == []
    assert consents(rows(message | {"context": {"consent": preferences}})) == []


@pytest.mark.parametrize("event", ["Unsubscribed", "Email Unsubscribed"])
def test_unsubscribing_is_a_no_of_the_person_and_of_the_address(event: str) -> None:
    message = track(event, "m1", user="ann", email=" Ann@Example.com ")
    assert consents(rows(message)) == [said("user:ann", False), said("email:ann@example.com", False)]


def test_the_address_is_looked_for_in_the_context_too() -> None:
    message = track("Unsubscribed", "m1", user="ann") | {"context": {"traits": {"email": "ann@example.com"}}}
    assert consents(rows(message))[1] == said("email:ann@example.com", False)


def test_unsubscribing_without_an_address_is_still_the_persons_no() -> None:
    assert consents(rows(track("Unsubscribed", "m1", user="ann"))) == [said("user:ann", False)]


def test_unsubscribing_is_from_the_purpose_it_names() -> None:
    message = track("Unsubscribed", "m1", user="ann", purpose="newsletter")
    assert consents(rows(message)) == [said("user:ann", False, "newsletter")]


@pytest.mark.parametrize(("event", "reason"), [("Email Bounced", "hard_bounce"), ("Email Marked as Spam", "complaint")])
def test_a_hard_bounce_and_a_complaint_suppress_the_address(event: str, reason: str) -> None:
    message = track(event, "m1", user="ann", email="Ann@example.com")
    assert suppressions(rows(message)) == [Suppression("ann@example.com", reason, NOW_MS, "m1")]


def test_a_soft_bounce_and_one_without_an_address_suppress_nothing() -> None:
    soft = track("Email Bounced", "m1", user="ann", email="ann@example.com", bounce_type="soft")
    nowhere = track("Email Bounced", "m2", user="ann")
    assert suppressions(rows(soft, nowhere)) == []


def test_a_complaint_suppresses_whatever_kind_of_bounce_it_mentions() -> None:
    message = track("Email Marked as Spam", "m1", user="ann", email="ann@example.com", bounce_type="hard")
    assert [one.reason for one in suppressions(rows(message))] == ["complaint"]


def test_only_accepted_messages_are_listened_to() -> None:
    no = track("Unsubscribed", "m1", user="ann", email="ann@example.com")
    in_quarantine = no | {"type": "tracked"}
    assert len(consents(mark_duplicates(rows(no, no, in_quarantine), seen=set()))) == 2


def test_one_address_is_written_in_one_way() -> None:
    assert normalised(" Ann@Example.COM\n") == "ann@example.com"
    assert address_subject("Ann@example.com") == address_subject("ann@example.com ") == "email:ann@example.com"


@pytest.mark.parametrize("event", ["Unsubscribed", "Email Bounced", "Email Marked as Spam"])
def test_what_is_said_of_an_address_alone_is_heard(event: str) -> None:
    told = rows(track(event, "m1", email="ann@example.com"))
    assert [*consents(told), *suppressions(told)]


def test_a_public_write_key_cannot_agree_for_an_address() -> None:
    agreed = with_consent(track("Segment Consent Preference Updated", "m1", email="ann@example.com"), marketing=True)
    refused = with_consent(track("Segment Consent Preference Updated", "m2", email="ann@example.com"), marketing=False)
    assert consents(rows(agreed, refused), trusted=()) == [
        Consent("email:ann@example.com", "marketing", False, NOW_MS, "m2")
    ]
    assert [one.granted for one in consents(rows(agreed, refused))] == [True, False]


def test_a_public_write_key_agrees_for_the_ids_of_its_event_and_says_no_for_anybody() -> None:
    agreed = identify("m1", user="ann", marketing=True)
    left = track("Unsubscribed", "m2", email="bob@example.com")
    found = consents(rows(agreed, left), trusted=())
    assert [(one.subject, one.granted) for one in found] == [("user:ann", True), ("email:bob@example.com", False)]


@pytest.mark.parametrize("event", ["Email Bounced", "Email Marked as Spam"])
def test_a_public_write_key_cannot_keep_an_address_from_being_mailed(event: str) -> None:
    assert suppressions(rows(track(event, "m1", email="ann@example.com")), trusted=()) == []


def test_the_address_of_a_record_is_learned_from_what_a_trusted_system_tells_by_itself() -> None:
    record = identify("m1", device="hubspot-7", email="Ann@example.com") | {"properties": {"automated": True}}
    by_person = identify("m2", device="phone", email="ann@example.com")
    told = rows(record, by_person)
    assert consent.record_addresses(told, TRUSTED) == [RecordAddress("anonymous:hubspot-7", "ann@example.com")]
    assert consent.record_addresses(told, ()) == []


# Double opt-in

ASKING = {"shop": ["marketing", "product_news"], "app": ["newsletter"]}


def counting(told: list[LandingRow], trusted: tuple[str, ...] = ()) -> list[tuple[str, bool]]:
    """(purpose, yes or no) of every word that counts where the shop and the app ask for confirmation."""
    return [(one.purpose, one.granted) for one in consent.consents(told, trusted, ASKING)]


def test_a_yes_to_be_confirmed_counts_for_nothing_and_a_no_at_once() -> None:
    told = rows(
        preferences("m1", user="ann", marketing=True, product_news=False),
        preferences("m2", user="ann", marketing=False, product_news=True),
        source="shop",
    )
    assert counting(told) == [("product_news", False), ("marketing", False)]


def test_a_stamp_of_a_yes_to_be_confirmed_counts_for_nothing_either() -> None:
    viewed = with_consent(track("Product Viewed", "m1", user="ann"), marketing=True, product_news=False)
    assert consent.consents(rows(viewed, source="shop"), (), ASKING) == [stamped("user:ann", False, "product_news")]


def test_a_yes_counts_at_once_to_other_purposes_and_from_other_sources() -> None:
    said_all = preferences("m1", user="ann", marketing=True, newsletter=True)
    assert counting(rows(said_all, source="shop")) == [("newsletter", True)]
    assert counting(rows(said_all, source="app")) == [("marketing", True)]
    assert counting(rows(said_all, source="default")) == [("marketing", True), ("newsletter", True)]


def test_a_trusted_source_that_asks_must_be_confirmed_too() -> None:
    said_all = preferences("m1", user="ann", marketing=True, newsletter=True)
    assert counting(rows(said_all, source="shop"), trusted=("shop",)) == [("newsletter", True)]


def test_an_opt_out_from_a_source_that_asks_counts_at_once() -> None:
    told = rows(track("Unsubscribed", "m1", user="ann"), source="shop")
    assert counting(told) == [("marketing", False)]


def test_a_yes_said_on_a_mail_is_one_of_its_address_when_a_trusted_source_tells_it() -> None:
    agreed = preferences("m1", user="ann", marketing=True)
    agreed["properties"]["idempotency_key"] = "k1"
    assert consents(rows(agreed)) == [Consent("user:ann", "marketing", True, NOW_MS, "m1", "k1")]
    assert consents(rows(agreed), trusted=()) == [Consent("user:ann", "marketing", True, NOW_MS, "m1")]


def test_a_stamp_is_never_said_on_a_mail() -> None:
    opened = with_consent(track("Email Opened", "m1", user="ann", idempotency_key="k1"), marketing=True)
    assert consents(rows(opened)) == [stamped("user:ann", True)]
