"""From the button in the mail to a confirmed consent, in a real browser that runs no script."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page
from support.browser import open_browser, open_context
from support.clocks import DAY_MS
from support.mailing import ANN, CAMPAIGNS, HOSTS, KEY, SENDER, Postbox
from support.serving import serving

from wakeline.activation.consent import consents
from wakeline.activation.rendering import Renderer

pytestmark = pytest.mark.stack

PHONE = {"width": 360, "height": 740}
DESKTOP = {"width": 1280, "height": 900}
#: The least size of something to press: WCAG 2.2, success criterion 2.5.8.
TARGET_PIXELS = 24


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


@pytest.fixture
def postbox(tmp_path: Path) -> Postbox:
    return Postbox(tmp_path)


def the_mail(context: BrowserContext, postbox: Postbox, address: str) -> Page:
    """The mail that asks, made now, as a mail client shows it."""
    renderer = Renderer(CAMPAIGNS, SENDER, address, postbox.sign, HOSTS)
    page = context.new_page()
    page.set_content(renderer.render("confirm_opt_in", KEY, ANN, CAMPAIGNS["confirm_opt_in"].preview).html)
    return page


def opened(context: BrowserContext, mail: Page) -> Page:
    """The page that the mail's button leads to."""
    with context.expect_page() as found:
        mail.get_by_role("link", name="Yes, I want them").click()
    found.value.wait_for_load_state()
    return found.value


def fits(page: Page) -> bool:
    """Whether nothing is wider than the window."""
    return bool(page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"))


@pytest.mark.parametrize("viewport", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_the_button_in_the_mail_leads_to_a_page_whose_button_confirms(
    browser: Browser, postbox: Postbox, viewport: dict[str, Any]
) -> None:
    options = {"viewport": viewport, "java_script_enabled": False}
    with serving(postbox.app) as address, open_context(browser, **options) as context:
        mail = the_mail(context, postbox, address)
        page = opened(context, mail)
        assert fits(mail)
        assert fits(page)
        assert page.title() == page.get_by_role("heading").inner_text() == "Do you want our emails?"
        button = page.get_by_role("button")
        box = button.bounding_box()
        assert box is not None
        assert box["height"] >= TARGET_PIXELS
        assert box["y"] + box["height"] <= viewport["height"]
        assert "Segment Consent Preference Updated" not in [one["event"] for one in postbox.messages()]

        page.keyboard.press("Tab")
        assert button.evaluate("one => one === document.activeElement")
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="It is confirmed").wait_for()
        assert fits(page)
        assert page.get_by_role("button").count() == 0
        page.reload()  # The browser posts once more.
        [said] = [one for one in consents(postbox.rows(), postbox.settings.trusted_sources) if one.granted][:1]
        assert (said.subject, said.purpose, said.key) == ("user:ann", "marketing", KEY)
        assert len({one["messageId"] for one in postbox.messages() if "Consent" in one["event"]}) == 1


def test_an_old_mail_says_what_to_do(browser: Browser, postbox: Postbox) -> None:
    with serving(postbox.app) as address, open_context(browser, viewport=PHONE) as context:
        mail = the_mail(context, postbox, address)
        postbox.later(8 * DAY_MS)
        page = opened(context, mail)
        assert fits(page)
        assert page.get_by_role("heading").inner_text() == "This email is too old"
        assert page.get_by_role("button").count() == 0
