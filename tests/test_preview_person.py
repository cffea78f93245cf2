"""The mail of a real person, from a real warehouse."""

from pathlib import Path

import pytest
from support.clocks import HOUR_MS, MINUTE_MS
from support.messages import Message, identify, rows, track
from support.warehouse import Site

from wakeline.activation.campaigns import Campaign
from wakeline.errors import ConfigError, WakelineError
from wakeline.preview.mails import Material, chosen_campaign, material, render
from wakeline.preview.person import find_person
from wakeline.warehouse.landing import Landing

pytestmark = pytest.mark.stack

SEEN_MS = 2 * HOUR_MS


def added(message_id: str, at_ms: int, **ids: str) -> Message:
    product = {"product_id": "bag-1", "name": "Saddle Bag", "price": 129, "currency": "EUR", "cart_id": "c1"}
    return track("Product Added", message_id, at_ms=at_ms, **ids, **product)


@pytest.fixture
def shop(site: Site) -> Site:
    """Ann left a cart two hours ago, on a device; Bob and Cy share an address; Dee is one."""
    then = site.clock() - SEEN_MS
    found = rows(
        added("m1", then, device="phone"),
        identify("m2", user="ann", device="phone", at_ms=then + MINUTE_MS, email="Ann@Example.com", firstName="Ann"),
        identify("m3", user="bob", at_ms=then, email="us@example.com"),
        identify("m4", user="cy", at_ms=then, email="us@example.com"),
        identify("m5", at_ms=then, email="dee@example.com"),
    )
    Landing(site.client, "events").insert(found, {0: (0, len(found))})
    return site


def cart(site: Site) -> Campaign:
    return chosen_campaign(site.settings, "abandoned_cart")


def made(site: Site, who: str, *, sample: bool = False) -> Material:
    return material(site.settings, cart(site), who, sample, site.clock)


@pytest.mark.parametrize("who", ["user:ann", "anonymous:phone", "ann@example.com", "ANN@example.com"])
def test_a_person_is_found_by_any_id_and_by_address(shop: Site, who: str) -> None:
    one = made(shop, who)
    assert (one.profile_id, one.contact["email"], one.contact["first_name"]) == ("user:ann", "Ann@Example.com", "Ann")
    assert [product["name"] for product in one.context["products"]] == ["Saddle Bag"]


def test_the_mail_of_a_person_is_rendered_from_what_the_trigger_says(shop: Site) -> None:
    mail = render(shop.settings, cart(shop), made(shop, "user:ann"), "", "0", shop.clock)
    assert (mail.to, mail.subject) == ("Ann@Example.com", "Ann, your cart is still here")
    assert "Saddle Bag" in mail.text
    assert "Pace Runner Coral" not in mail.text


def test_looking_leaves_the_ledger_and_the_outbox_alone(shop: Site) -> None:
    before = shop.sends(), shop.outbox()
    render(shop.settings, cart(shop), made(shop, "user:ann"), "", "0", shop.clock)
    assert (shop.sends(), shop.outbox()) == before


def test_where_the_trigger_has_nothing_the_preview_is_used_only_when_asked_for(shop: Site) -> None:
    with pytest.raises(WakelineError, match="abandoned_cart has nothing about user:bob now; add --sample"):
        made(shop, "user:bob")
    one = made(shop, "user:bob", sample=True)
    assert (one.contact["email"], one.context) == ("us@example.com", cart(shop).preview)


def test_the_trigger_is_asked_as_of_now(shop: Site) -> None:
    shop.clock.now_ms += 72 * HOUR_MS
    with pytest.raises(WakelineError, match="has nothing about user:ann now"):
        made(shop, "user:ann")


def test_an_address_that_several_have_names_them(shop: Site) -> None:
    with pytest.raises(
        WakelineError, match=r"Several profiles have the address us@example\.com; name one: user:bob, user:"
    ):
        made(shop, "us@example.com")


def test_an_address_without_an_id_is_somebody_too(shop: Site) -> None:
    assert made(shop, "dee@example.com", sample=True).profile_id == "email:dee@example.com"


@pytest.mark.parametrize(
    ("who", "expected"),
    [
        ("user:nobody", "Nobody is known as user:nobody"),
        ("nobody@example.com", "Nobody has the address nobody@example.com"),
        ("nobody", "is neither an id nor an address"),
    ],
)
def test_whoever_is_not_known_is_named(shop: Site, who: str, expected: str) -> None:
    with pytest.raises(WakelineError, match=expected):
        made(shop, who)


def test_a_trigger_that_is_not_deployed_is_named(shop: Site) -> None:
    with pytest.raises(ConfigError, match="The trigger 'winback' is not deployed"):
        find_person(shop.settings, "winback", "user:ann", shop.clock())


def test_without_a_deployment_the_error_says_what_to_do(site: Site, tmp_path: Path) -> None:
    bare = site.settings.model_copy(update={"data_dir": tmp_path / "bare"})
    with pytest.raises(ConfigError, match="run 'wakeline deploy'"):
        find_person(bare, "abandoned_cart", "user:ann", 0)
