"""The browser SDK in a real Chromium, through a real collector and the pipeline: what it tells is in ClickHouse."""

from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import orjson
import pytest
import sqlalchemy as sa
from playwright.sync_api import Browser, BrowserContext, Page
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route
from support.browser import open_browser, open_context
from support.clocks import Hand
from support.messages import track
from support.ports import free_ports
from support.serving import collecting, serving
from support.stack import await_that
from support.warehouse import Site

from wakeline.clock import system_clock
from wakeline.database import consents
from wakeline.events import decode
from wakeline.settings import Settings
from wakeline.streams.factory import open_stream

pytestmark = pytest.mark.stack

ADDRESS = "ann@example.com"
PATIENCE_SECONDS = 30
STATEMENT = "Segment Consent Preference Updated"

#: Every row, so that an event that is there twice shows.
TOLD = """
    SELECT type, event, path, JSONExtractInt(message, 'properties', 'n') AS n
    FROM events INNER JOIN landing USING (message_id)
    WHERE event != 'Page Engaged' AND landing.status = 'accepted'
"""
BEATS = """
    SELECT path, sum(engaged_ms) / 1000, max(scroll_depth_percent), count() - uniqExact(message_id)
    FROM events WHERE event = 'Page Engaged' GROUP BY path
"""
SHOP_METHODS = {
    "productListViewed": "Product List Viewed",
    "productViewed": "Product Viewed",
    "productAdded": "Product Added",
    "productRemoved": "Product Removed",
    "cartViewed": "Cart Viewed",
    "checkoutStarted": "Checkout Started",
    "orderCompleted": "Order Completed",
}

_PAGE = """<!doctype html><meta charset=utf-8><title>Shop</title><script>window.began = performance.now()</script>{sdk}
<body style="margin: 0"><button data-wakeline-event="Coupon Copied" data-wakeline-property-n="7">Copy</button>"""


@dataclass
class Shop:
    """A shop of another origin than the collector, and the browser of a person in it."""

    url: str
    settings: Settings
    context: BrowserContext

    def open(self, path: str) -> Page:
        page = self.context.new_page()
        page.goto(self.url + path)
        page.wait_for_function("window.wakeline?.version")
        return page

    def stored(self) -> dict[str, str]:
        """What the SDK keeps in this browser, read by a page without it."""
        page = self.context.new_page()
        page.goto(f"{self.url}/without")
        found: dict[str, str] = page.evaluate("({ ...localStorage })")
        page.close()
        return found

    def await_the_rest(self) -> None:
        """Returns when the stream has all that the tabs, which are closed, sent without an answer."""
        queued = [text for name, text in self.stored().items() if name.startswith("wakeline.queue")]
        ids = {orjson.loads(text)["messageId"] for text in queued}
        await_that("what the closed tab sent has arrived", lambda: ids <= self._received(), PATIENCE_SECONDS)

    def _received(self) -> set[str]:
        with closing(open_stream(self.settings, system_clock)) as stream:
            return {
                orjson.loads(decode(record.value).message)["messageId"]
                for head in stream.heads()
                for record in stream.read({head.partition: head.earliest}, 100_000, 100_000_000)
            }


@pytest.fixture
def clock() -> Hand:
    return Hand(system_clock())


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


@contextmanager
def shopping(site: Site, browser: Browser) -> Iterator[Shop]:
    [port] = free_ports(1)
    public = f"http://127.0.0.1:{port}"
    options = (
        f'data-write-key="{site.settings.collector.write_key}" data-flush-seconds="0.1" data-heartbeat-seconds="1"'
    )
    sdk = f'<script src="{public}/loader.js" {options}></script>'

    def page(request: Request) -> HTMLResponse:
        return HTMLResponse(_PAGE.format(sdk="" if request.url.path == "/without" else sdk))

    with serving(Starlette(routes=[Route("/{path:path}", page)])) as origin:
        collector = {"allowed_origins": [origin], "port": port}
        settings = site.with_settings(collector=collector, activation={"public_url": public}).settings
        with collecting(settings), open_context(browser) as context:
            yield Shop(origin, settings, context)


def delivered(page: Page) -> None:
    page.wait_for_function("!Object.keys(localStorage).some((name) => name.startsWith('wakeline.queue'))")


def processed(site: Site) -> None:
    site.clock.now_ms = system_clock()
    site.play([])


def told(site: Site) -> Counter[tuple[Any, ...]]:
    return Counter(site.rows(TOLD))


def test_everything_a_person_does_in_the_shop_is_in_clickhouse_once(site: Site, browser: Browser) -> None:
    with shopping(site, browser) as shop:
        page = shop.open("/shoes")
        page.evaluate("wakeline.identify('ann', { email: 'ann@example.com' })")
        page.evaluate("wakeline.consent({ analytics: true, marketing: true })")
        page.evaluate("(names) => names.forEach((name, n) => wakeline[name]({ n }))", list(SHOP_METHODS))
        page.click("button")
        page.evaluate("history.pushState({}, '', '/boots')")
        delivered(page)
        shop.context.set_offline(True)
        with page.expect_event("requestfailed"):
            page.evaluate("wakeline.track('Offline', { n: 1 })")
        page.evaluate("wakeline.track('Offline', { n: 2 })")
        shop.context.set_offline(False)
        delivered(page)
        page.evaluate("wakeline.track('Last Word', { n: 3 })")
        page.close(run_before_unload=True)
        shop.await_the_rest()
    processed(site)
    assert told(site) == Counter(
        [
            ("page", "", "/shoes", 0),
            ("page", "", "/boots", 0),
            ("identify", "", "/shoes", 0),
            ("track", STATEMENT, "/shoes", 0),
            *(("track", name, "/shoes", n) for n, name in enumerate(SHOP_METHODS.values())),
            ("track", "Coupon Copied", "/shoes", 7),
            ("track", "Offline", "/boots", 1),
            ("track", "Offline", "/boots", 2),
            ("track", "Last Word", "/boots", 3),
        ]
    )
    assert set(site.rows("SELECT DISTINCT user_id FROM events WHERE event IN ('Offline', 'Last Word')")) == {("ann",)}
    assert set(site.statuses()) <= {"accepted", "duplicate"}


def test_engaged_seconds_and_scroll_depth_in_clickhouse_agree_with_the_page(site: Site, browser: Browser) -> None:
    with shopping(site, browser) as shop:
        page = shop.open("/shoes")
        page.evaluate("document.body.style.height = `${innerHeight * 4}px`")
        page.mouse.wheel(0, page.evaluate("innerHeight"))
        page.wait_for_function("scrollY >= innerHeight")
        page.wait_for_function("performance.now() - window.began > 3400")
        page.evaluate("history.pushState({}, '', '/boots'); window.turned = performance.now()")
        page.wait_for_function("performance.now() - window.turned > 2300")
        shoes, boots = page.evaluate("[window.turned - window.began, performance.now() - window.turned]")
        page.close(run_before_unload=True)
        shop.await_the_rest()
    processed(site)
    beats = {path: rest for path, *rest in site.rows(BEATS)}
    assert beats["/shoes"] == [pytest.approx(shoes / 1_000, abs=1), pytest.approx(50, abs=1), 0]
    assert beats["/boots"] == [pytest.approx(boots / 1_000, abs=1), pytest.approx(50, abs=1), 0]
    assert sum(seconds for seconds, *_ in beats.values()) == pytest.approx((shoes + boots) / 1_000, abs=1)


def test_who_unsubscribed_by_mail_stays_so_when_the_shop_says_the_old_yes_again(site: Site, browser: Browser) -> None:
    said = "wakeline.identify('ann'); wakeline.consent({ analytics: true, marketing: true })"
    with shopping(site, browser) as shop:
        page = shop.open("/login")
        page.evaluate(said)
        delivered(page)
        processed(site)
        assert words(site)["user:ann"] is True
        site.clock.now_ms = system_clock()
        site.play([track("Unsubscribed", "by-mail", user="ann", at_ms=site.clock(), email=ADDRESS)])
        assert words(site)["user:ann"] is False
        page.goto(f"{shop.url}/shoes")
        page.evaluate(said)
        page.evaluate("wakeline.consent({ analytics: true, advertising: true }); wakeline.track('Back', { n: 1 })")
        delivered(page)
        processed(site)
    assert told(site)["track", "Back", "/shoes", 1] == 1
    assert words(site)["user:ann"] is False


def words(site: Site) -> dict[str, bool]:
    """What was stated last about mails, by subject."""
    with site.engine.connect() as connection:
        rows = connection.execute(sa.select(consents).where(consents.c.purpose == "marketing")).mappings()
        return {row["subject"]: bool(row["granted"]) for row in rows}
