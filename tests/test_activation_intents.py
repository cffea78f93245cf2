from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.clocks import DAY_MS, HOUR_MS, MINUTE_MS, NOW_MS
from support.messages import rows, track

from wakeline.activation.campaigns import Campaign, load_campaigns
from wakeline.activation.claims import Intended, Stages, idempotency_key
from wakeline.activation.gates import Cap
from wakeline.activation.intents import Cause, intended_sends
from wakeline.activation.rules import rules_of
from wakeline.pipeline.triggers import Occurrence
from wakeline.settings import ActivationSettings

CAMPAIGNS_DIR = Path(__file__).parents[1] / "campaigns"
CART = Occurrence("abandoned_cart", "trigger-1", "user:ann", "cart/1", NOW_MS, NOW_MS + DAY_MS, {"total": 12.5})
ORDER = replace(CART, trigger="order_confirmation", occurrence_key="order/1")
CONTACT = {"email": "ann@example.com", "first_name": "Ann"}
WOKEN = Cause(("user:ann", "anonymous:phone"), [], NOW_MS + 1, NOW_MS + 2, NOW_MS + 3)


@pytest.fixture(scope="module")
def campaigns() -> dict[str, Campaign]:
    return load_campaigns(CAMPAIGNS_DIR)


def intended(
    campaigns: dict[str, Campaign],
    *occurrences: Occurrence,
    contacts: dict[str, dict[str, Any]] | None = None,
    cause: Cause = WOKEN,
) -> list[Intended]:
    profiles = {one.profile_id for one in occurrences}
    known = {"user:ann": CONTACT} if contacts is None else contacts
    rules = {name: rules_of(campaign, ActivationSettings()) for name, campaign in campaigns.items()}
    return intended_sends(occurrences, campaigns, rules, known, dict.fromkeys(profiles, cause))


def test_an_occurrence_becomes_a_send_of_the_campaign_that_listens_to_its_trigger(
    campaigns: dict[str, Campaign],
) -> None:
    [one] = intended(campaigns, CART)
    campaign = campaigns["abandoned_cart"]
    assert (one.campaign, one.campaign_class, one.purpose) == ("abandoned_cart", "marketing", "marketing")
    assert (one.campaign_hash, one.trigger_hash) == (campaign.definition_hash, "trigger-1")
    assert one.rules.cap == Cap(sends=1, window_ms=48 * HOUR_MS)
    assert (one.occurrence_key, one.occurred_at_ms, one.expires_at_ms) == ("cart/1", NOW_MS, NOW_MS + DAY_MS)
    assert (one.profile_id, one.person.ids) == ("user:ann", ("user:ann", "anonymous:phone"))
    assert one.context == {"total": 12.5}


def test_every_campaign_of_a_trigger_gets_a_send_of_its_own(campaigns: dict[str, Campaign]) -> None:
    both = campaigns | {"receipt": campaigns["order_confirmation"].model_copy(update={"name": "receipt"})}
    sends = intended(both, ORDER)
    assert {one.campaign for one in sends} == {"order_confirmation", "receipt"}
    assert len({one.key for one in sends}) == 2


def test_a_trigger_that_no_campaign_listens_to_sends_nothing(campaigns: dict[str, Campaign]) -> None:
    assert intended(campaigns, replace(CART, trigger="nobody_listens")) == []


def test_sends_are_decided_from_the_oldest_occurrence_to_the_latest(campaigns: dict[str, Campaign]) -> None:
    latest, oldest, middle = (
        replace(CART, occurrence_key=key, occurred_at_ms=NOW_MS + age_ms)
        for key, age_ms in (("cart/a", 2), ("cart/b", 0), ("cart/c", 1))
    )
    sends = intended(campaigns, latest, oldest, middle)
    assert [one.occurrence_key for one in sends] == ["cart/b", "cart/c", "cart/a"]


def test_the_order_of_simultaneous_occurrences_does_not_depend_on_how_they_came(
    campaigns: dict[str, Campaign],
) -> None:
    others = [replace(CART, occurrence_key=f"cart/{number}") for number in (3, 1, 2)]
    assert intended(campaigns, *others) == intended(campaigns, *reversed(others))


def test_the_mail_knows_the_person_and_all_ids(campaigns: dict[str, Campaign]) -> None:
    [one] = intended(campaigns, CART)
    assert one.person.address == "ann@example.com"
    stored = one.person.stored(one.profile_id)
    assert stored == {**CONTACT, "profile_id": "user:ann", "ids": ["user:ann", "anonymous:phone"]}


def test_a_person_without_contact_has_no_address(campaigns: dict[str, Campaign]) -> None:
    [one] = intended(campaigns, CART, contacts={})
    assert (one.person.address, one.person.time_zone) == ("", "")


def test_a_send_names_its_latest_events_and_when_the_newest_passed_each_stage(campaigns: dict[str, Campaign]) -> None:
    events = rows(
        *(track("Product Viewed", f"m{age}", user="ann", at_ms=NOW_MS - age * MINUTE_MS) for age in range(25))
    )
    cause = Cause(("user:ann",), events, NOW_MS + 1, NOW_MS + 2, NOW_MS + 3)
    [one] = intended(campaigns, CART, cause=cause)
    assert one.message_ids == tuple(f"m{age}" for age in range(20))
    assert one.stages == Stages(NOW_MS, NOW_MS, NOW_MS + 1, NOW_MS + 2, NOW_MS + 3)


def test_a_send_that_a_wake_up_caused_names_no_event(campaigns: dict[str, Campaign]) -> None:
    [one] = intended(campaigns, CART)
    assert one.message_ids == ()
    assert one.stages == Stages(None, None, None, None, NOW_MS + 3)


def test_the_key_of_a_send_comes_from_business_facts_alone(campaigns: dict[str, Campaign]) -> None:
    [one] = intended(campaigns, CART)
    later = replace(CART, occurred_at_ms=NOW_MS + 1, trigger_hash="trigger-2", context={})
    assert intended(campaigns, later, contacts={}, cause=replace(WOKEN, ids=("user:ann",)))[0].key == one.key
    assert one.key == idempotency_key("abandoned_cart", "user:ann", "cart/1")
    assert len(one.key) == 32


def test_no_two_sends_share_a_key_however_their_parts_are_cut() -> None:
    keys = {
        idempotency_key(*parts)
        for parts in (("a", "b", "c"), ("ab", "", "c"), ("a", "bc", ""), ("b", "a", "c"), ("a", "b", "d"))
    }
    assert len(keys) == 5
