"""A walk through the demo shop in a real browser: from a look at sneakers to the mail, and to the opt-out in it."""

from collections.abc import Callable, Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage
from urllib.parse import urlsplit

import httpx
import pytest
import sqlalchemy as sa
from playwright.sync_api import BrowserContext, Page
from support.browser import open_browser, open_context
from support.mailing import Hrefs
from support.stack import RunningStack, await_that

from wakeline.activation.links import CLICK_PATH, UNSUBSCRIBE_PATH, VIEW_PATH
from wakeline.database import consents, offsets, sends

pytestmark = [pytest.mark.whole_stack, pytest.mark.timeout(400)]

ADDRESS = "ada@example.com"
TIMES = 100
#: The mail comes a second after the last event; starting the first resident run takes longer than that.
MAIL_MS = 90_000
_STEPS = 600

PROFILE = """
    SELECT open_count, click_count, automated_open_count, automated_click_count, last_unsubscribed_at
    FROM person_emails WHERE profile_id = '{profile}'
"""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    running = RunningStack(tmp_path_factory.mktemp("shop"), category_dwell_minutes=0.1, automated_click_seconds=0.0)
    try:
        running.start()
        yield running
    finally:
        running.kill()  # Quicker than to stop it.


@pytest.fixture
def context() -> Iterator[BrowserContext]:
    with open_browser() as browser, open_context(browser, viewport={"width": 1280, "height": 900}) as opened:
        yield opened


def test_from_a_look_at_sneakers_to_the_mail_and_to_the_opt_out_in_it(
    stack: RunningStack, context: BrowserContext
) -> None:
    home = f"http://{stack.settings.pages.host}:{stack.settings.pages.port}"
    shop, outbox = context.new_page(), context.new_page()
    problems = watched(shop, outbox)
    outbox.goto(home)

    log_in(shop, home)
    look_around(shop, f"{home}/shop/sneakers", until=lambda: outbox.locator(".row").count() > 0)
    assert {"Product Viewed received", "Page Engaged received"} <= told(shop)
    open_first_mail(outbox)
    profile = the_send(stack)["profile_id"]

    press_every_link(stack)
    untouched = profile_of(stack, profile)
    assert untouched["automated_click_count"] > 0
    assert (untouched["click_count"], untouched["unsubscribed"]) == (0, False)
    assert {(word["purpose"], word["granted"]) for word in words(stack)} == {("analytics", True), ("marketing", True)}

    click_the_product(outbox)
    unsubscribe(outbox)
    await_that("the opt-out is on the profile", lambda: profile_of(stack, profile)["unsubscribed"], 30)
    known = profile_of(stack, profile)
    assert known["open_count"] >= 1
    assert known["click_count"] == 1
    refused = {(word["subject"], word["purpose"]) for word in words(stack) if not word["granted"]}
    assert refused == {(profile, "marketing"), (f"email:{ADDRESS}", "marketing")}

    leave_a_cart(shop, home)
    await_that("the mail about the cart was decided", lambda: len(decisions(stack)) == 2, 60)
    assert decisions(stack) == {("category_dwell", "sent", ""), ("abandoned_cart", "skipped", "no_consent")}
    assert len(stack.mails()) == 1
    assert problems == []


def watched(*pages: Page) -> list[str]:
    """Script errors of the pages, as they come."""
    problems: list[str] = []
    for page in pages:
        page.on("pageerror", lambda error: problems.append(str(error)))
    return problems


def log_in(shop: Page, home: str) -> None:
    shop.goto(f"{home}/shop/login")
    assert "6 engaged seconds" in shop.locator(".notice").inner_text()
    form = shop.locator("#login")
    form.locator("[name=email]").fill(ADDRESS)
    form.locator("[name=first_name]").fill("Ada")
    form.locator("[name=marketing]").check()
    form.locator("button").click()
    shop.locator("#member").wait_for()


def look_around(shop: Page, address: str, until: Callable[[], bool]) -> None:
    """Open a product of the category and move over the page as somebody who reads it; only then do seconds count."""
    shop.goto(address)
    shop.locator(".card a").first.click()
    shop.locator("#add").wait_for()
    for step in range(_STEPS):
        if until():
            return
        shop.mouse.move(100 + step % 50, 300)
        shop.wait_for_timeout(MAIL_MS / _STEPS)
    pytest.fail("No mail came.")


def told(shop: Page) -> set[str]:
    """The lines of the list in the shop's corner: what was sent, and what the collector answered."""
    lines = shop.locator("#feed-list li").all()
    return {" ".join(line.locator("span").all_text_contents()) for line in lines}


def open_first_mail(outbox: Page) -> None:
    """The mail's own images load, the open pixel among them."""
    outbox.bring_to_front()
    with outbox.expect_response(lambda response: "/v1/pixel.gif" in response.url):
        outbox.locator(".row a").first.click()
    assert "sneakers" in outbox.locator(".mail-head h1").inner_text().lower()


def the_mail(stack: RunningStack) -> EmailMessage:
    [key] = stack.mails()
    content = (stack.settings.outbox_dir / f"{key}.eml").read_bytes()
    message = message_from_bytes(content, policy=policy.default)
    assert isinstance(message, EmailMessage)
    return message


def press_every_link(stack: RunningStack) -> None:
    """What mail scanners do: GET and HEAD, over and over."""
    mail = the_mail(stack)
    body = mail.get_body(("html",))
    assert body is not None
    links = {*Hrefs(body.get_content()).found, mail["List-Unsubscribe"].strip("<>")}
    assert {urlsplit(link).path for link in links} == {CLICK_PATH, VIEW_PATH, UNSUBSCRIBE_PATH}
    with httpx.Client() as client:
        for link in links:
            for method in ("GET", "HEAD"):
                answers = {client.request(method, link).status_code for _ in range(TIMES)}
                assert answers <= {200, 302}, link
    await_that("all of it is processed", lambda: processed(stack) == stack.received(), 60)


def click_the_product(outbox: Page) -> None:
    frame = outbox.frame_locator("iframe")
    with outbox.context.expect_page() as opened:
        frame.get_by_role("link", name="Look again").first.click()
    opened.value.wait_for_load_state()
    assert "/shop/products/" in opened.value.url
    assert "utm_campaign=category_dwell" in opened.value.url
    assert opened.value.locator("h1").inner_text()
    opened.value.close()


def unsubscribe(outbox: Page) -> None:
    frame = outbox.frame_locator("iframe")
    with outbox.context.expect_page() as opened:
        frame.get_by_role("link", name="Unsubscribe").click()
    page = opened.value
    page.get_by_role("button", name="Unsubscribe").click()
    page.get_by_role("heading", name="You are unsubscribed").wait_for()
    page.close()


def leave_a_cart(shop: Page, home: str) -> None:
    shop.bring_to_front()
    shop.goto(f"{home}/shop/products/sneakers-3")
    shop.locator("#add").click()
    shop.locator("#added").wait_for()


def the_send(stack: RunningStack) -> sa.RowMapping:
    [row] = stack.ledger(sa.select(sends))
    return row


def decisions(stack: RunningStack) -> set[tuple[str, str, str]]:
    return {(row["campaign"], row["state"], row["reason"]) for row in stack.ledger(sa.select(sends))}


def processed(stack: RunningStack) -> int:
    [row] = stack.ledger(sa.select(sa.func.sum(offsets.c.committed).label("events")))
    return int(row["events"])


def words(stack: RunningStack) -> list[sa.RowMapping]:
    return list(stack.ledger(sa.select(consents)))


def profile_of(stack: RunningStack, profile: str) -> dict[str, int | bool]:
    [row] = stack.warehouse(PROFILE.format(profile=profile)) or [(0, 0, 0, 0, None)]
    names = ("open_count", "click_count", "automated_open_count", "automated_click_count")
    return {**dict(zip(names, row, strict=False)), "unsubscribed": row[4] is not None and row[4].year > 1970}
