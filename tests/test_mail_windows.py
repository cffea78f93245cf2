"""The campaigns as a browser lays them out on a phone and on a desktop."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser
from support.browser import open_browser
from support.mailing import ANN, CAMPAIGNS, HOSTS, KEY, PUBLIC_URL, SENDER
from support.pictures import WINDOWS, open_mail

from wakeline.activation.rendering import Renderer

pytestmark = pytest.mark.stack

#: The campaigns that show products; every one of them has five in its preview at least.
WITH_PRODUCTS = sorted(name for name, campaign in CAMPAIGNS.items() if "products" in campaign.preview)
LONG_NAME = "An unreasonably long name of a Product-that-nobody-has-thought-of " * 2


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


def html(campaign: str, product_name: str = "") -> str:
    context = CAMPAIGNS[campaign].preview
    renamed = {
        lines: [{**product, "name": product_name or product["name"]} for product in context[lines]]
        for lines in ("products", "recommendations")
        if lines in context
    }
    renderer = Renderer(CAMPAIGNS, SENDER, PUBLIC_URL, lambda _: "token", HOSTS)
    return renderer.render(campaign, KEY, ANN, {**context, **renamed}).html


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("name", sorted(CAMPAIGNS))
@pytest.mark.parametrize("product_name", ["", LONG_NAME])
def test_a_mail_fits_the_window(browser: Browser, name: str, window: str, product_name: str) -> None:
    with open_mail(browser, html(name, product_name), window) as page:
        assert page.evaluate("document.documentElement.scrollWidth") == WINDOWS[window][0]


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("name", WITH_PRODUCTS)
def test_every_picture_of_a_product_is_shown_and_no_button_stands_lower_than_its_neighbours(
    browser: Browser, name: str, window: str
) -> None:
    with open_mail(browser, html(name), window) as page:
        widths = page.locator("img[src*='/shop/images/']").evaluate_all("pictures => pictures.map(p => p.naturalWidth)")
        assert len(widths) >= 5
        assert all(widths)
        tops = page.get_by_text("View", exact=True).evaluate_all(
            "buttons => buttons.map(b => Math.round(b.getBoundingClientRect().top))"
        )
        assert len(tops) == 3
        assert len(set(tops)) == 1
