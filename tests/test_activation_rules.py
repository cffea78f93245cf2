from pathlib import Path

import pytest
from support.clocks import DAY_MS, HOUR_MS, MINUTE_MS

from wakeline.activation.campaigns import Campaign, load_campaigns
from wakeline.activation.gates import Cap, Holdout
from wakeline.activation.quiet_hours import QuietHours
from wakeline.activation.rules import rules_of
from wakeline.settings import ActivationSettings

CAMPAIGNS_DIR = Path(__file__).parents[1] / "campaigns"
NIGHT = {"from": "21:00", "to": "08:00"}


@pytest.fixture(scope="module")
def campaigns() -> dict[str, Campaign]:
    return load_campaigns(CAMPAIGNS_DIR)


def with_keys(campaign: Campaign, **keys: object) -> Campaign:
    """The campaign as if these keys stood in its file."""
    kept = {name: getattr(campaign, name) for name in campaign.model_fields_set if name != "kind"}
    return Campaign.model_validate({**kept, "class": campaign.kind, **keys})


def test_a_marketing_campaign_has_its_own_cap_and_the_one_of_all(campaigns: dict[str, Campaign]) -> None:
    rules = rules_of(campaigns["abandoned_cart"], ActivationSettings(marketing_cap_sends=5, marketing_cap_hours=24))
    assert (rules.cap, rules.marketing_cap) == (Cap(1, 48 * HOUR_MS), Cap(5, DAY_MS))


def test_the_holdout_of_all_comes_before_the_campaigns_own(campaigns: dict[str, Campaign]) -> None:
    cart = with_keys(campaigns["abandoned_cart"], holdout={"percent": 10})
    assert rules_of(cart, ActivationSettings()).holdouts == (Holdout("abandoned_cart", "abandoned_cart", 10),)
    settings = ActivationSettings(holdout_percent=2, holdout_salt="2027")
    assert rules_of(cart, settings).holdouts == (
        Holdout("all", "2027", 2),
        Holdout("abandoned_cart", "abandoned_cart", 10),
    )
    salted = with_keys(cart, holdout={"percent": 10, "salt": "spring"})
    assert rules_of(salted, ActivationSettings()).holdouts == (Holdout("abandoned_cart", "spring", 10),)


def test_transactional_mail_has_none_of_the_rules_of_marketing(campaigns: dict[str, Campaign]) -> None:
    settings = ActivationSettings.model_validate({"holdout_percent": 50, "quiet_hours": NIGHT})
    rules = rules_of(campaigns["order_confirmation"], settings)
    assert (rules.cap, rules.marketing_cap, rules.holdouts, rules.quiet_hours) == (None, None, (), None)


def test_a_campaigns_quiet_hours_stand_for_those_of_the_deployment(campaigns: dict[str, Campaign]) -> None:
    settings = ActivationSettings.model_validate({"quiet_hours": NIGHT})
    cart, receipt = campaigns["abandoned_cart"], campaigns["order_confirmation"]
    assert rules_of(cart, settings).quiet_hours == QuietHours(21 * 60, 8 * 60)
    assert rules_of(cart, ActivationSettings()).quiet_hours is None
    assert rules_of(with_keys(cart, quiet_hours=False), settings).quiet_hours is None
    own = {"from": "12:00", "to": "13:30"}
    assert rules_of(with_keys(cart, quiet_hours=own), settings).quiet_hours == QuietHours(720, 810)
    assert rules_of(with_keys(receipt, quiet_hours=own), settings).quiet_hours == QuietHours(720, 810)


def test_priority_and_its_times_are_the_campaigns_and_the_deployments(campaigns: dict[str, Campaign]) -> None:
    cart = with_keys(campaigns["abandoned_cart"], priority=7, wait_minutes=30)
    rules = rules_of(cart, ActivationSettings(priority_window_hours=2))
    assert (rules.priority, rules.priority_window_ms, rules.priority_wait_ms) == (7, 2 * HOUR_MS, 30 * MINUTE_MS)
