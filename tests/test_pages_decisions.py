"""The page that says why no mail went out."""

import re
from collections.abc import Iterator
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest
from support.clocks import DAY_MS, HOUR_MS, NOW_MS
from support.sending import Book, answered, granted, intended, marketing, refused
from test_pages import HOSTILE, Client

from wakeline.activation.consent import Suppression
from wakeline.activation.esp.protocol import MissingVariable, Rejected, TryLater, Unknown
from wakeline.activation.gates import GATES, Cap, Holdout, Stale
from wakeline.activation.quiet_hours import QuietHours
from wakeline.engines import open_sqlite
from wakeline.pages.app import create_app
from wakeline.pages.wording import _REASONS
from wakeline.settings import Settings

NIGHT = QuietHours(0, 1_439)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, project_dir=tmp_path)


@pytest.fixture
def book(settings: Settings) -> Iterator[Book]:
    engine = open_sqlite(settings.ledger_path)
    yield Book(engine)
    engine.dispose()


@pytest.fixture
def client(settings: Settings) -> Client:
    return Client(create_app(settings, lambda: 0, ""))


def shown(client: Client, query: str = "") -> list[tuple[str, str, str]]:
    """Who, state and words of each decision, top first."""
    page = client.get(f"/decisions{query}").text
    items = re.findall(r'<li class="decision">(.*?)</li>', page, re.DOTALL)
    found = [re.findall(r"<p[^>]*>(.*?)</p>", item, re.DOTALL) for item in items]
    who = [re.findall(r"<a [^>]*>(.*?)</a>", one[0])[0] for one in found]
    state = [re.findall(r'<span class="state[^>]*>(.*?)</span>', one[1])[0] for one in found]
    return [(unescape(a), b, unescape(c[2])) for a, b, c in zip(who, state, found, strict=True)]


def words(client: Client) -> str:
    [(_, _, said)] = shown(client)
    return said


def test_every_reason_of_a_gate_has_words() -> None:
    assert {gate.__name__ for gate in GATES} | {"missing_variable", "reopened"} == set(_REASONS)


def test_without_a_decision_and_without_a_ledger_the_page_says_so(client: Client, settings: Settings) -> None:
    missing = client.get("/decisions")
    assert missing.status_code == 503
    assert "The ledger database in the data folder fails" in missing.text
    open_sqlite(settings.ledger_path).dispose()
    assert "Nothing here" in client.get("/decisions").text


def test_a_skip_is_told_with_what_its_gate_had_read(book: Book, client: Client) -> None:
    lease = book.hold()
    for one, told in [
        (marketing(), "Has never agreed to marketing."),
        (intended(address=""), "No address is known; decided again when one is."),
        (intended(expires_at_ms=NOW_MS), "Came too late: it was of use until 2027-01-15 08:00 UTC."),
        (
            replace(marketing(), rules=replace(marketing().rules, holdouts=(Holdout("all", "salt", 99.999),))),
            "Belongs to the 99.999% who get no marketing mail, to compare with (drew ",
        ),
    ]:
        book.forget()
        if "Belongs" in told:
            book.say(lease, granted())
        book.claim(lease, one)
        assert words(client).startswith(told)


def test_a_no_is_told_with_its_time_and_event(book: Book, client: Client) -> None:
    lease = book.hold()
    book.say(lease, refused(message_id="opt-out-7"))
    book.claim(lease, marketing())
    assert words(client) == "Said no to marketing at 2027-01-15 07:00 UTC (event opt-out-7)."
    book.forget()
    book.say(lease, Suppression("ann@example.com", "hard_bounce", NOW_MS - HOUR_MS, "bounce-1"))
    book.claim(lease, intended())
    assert words(client) == "The address gets no mail: mail to it bounced at 2027-01-15 07:00 UTC (event bounce-1)."


def test_caps_and_priorities_are_told(book: Book, client: Client) -> None:
    lease = book.hold()
    book.say(lease, granted())
    capped = {"cap": Cap(1, 24 * HOUR_MS)}
    book.claim(lease, marketing("cart/1", **capped), marketing("cart/2", **capped))
    assert words(client) == "Has had 1 of the 1 mails that are allowed in 24 hours."
    book.forget()
    book.say(lease, granted())
    rules = {"priority_window_ms": DAY_MS, "priority": 5}
    book.claim(lease, marketing(rules=rules), marketing(campaign="lesser", rules={**rules, "priority": 1}))
    assert words(client) == "A mail of abandoned_cart goes before it."


def test_what_waits_is_told_with_its_time_or_its_obstacle(book: Book, client: Client) -> None:
    lease = book.hold()
    book.claim(lease, intended(time_zone="Europe/Berlin", rules={"quiet_hours": NIGHT}))
    [(who, state, said)] = shown(client)
    assert (who, state) == ("ann@example.com", "deferred")
    assert said == (
        "It was night for the person: 00:00 to 23:59 in Europe/Berlin. Looked at again at 2027-01-15 22:59 UTC."
    )
    book.forget()
    book.ledger.pause("order_confirmation", "bob", "a typo", NOW_MS)
    book.claim(lease, intended())
    assert words(client) == (
        "The campaign was paused by bob at 2027-01-15 08:00 UTC: a typo. Waits until that is over."
    )
    book.ledger.resume("order_confirmation", "bob", NOW_MS)
    book.forget()
    book.say(lease, granted())
    stale = Stale({"lane": "1", "read_until_ms": NOW_MS - HOUR_MS})
    book.ledger.claim(lease, [marketing()], "run-1", {}, NOW_MS, stale)
    assert words(client) == "Events after 2027-01-15 07:00 UTC were not read yet (lane 1). Waits until that is over."
    book.forget()
    book.say(lease, granted())
    record = {"input": "product_recommendations", "built_at_ms": NOW_MS - HOUR_MS, "fail_after_seconds": 60}
    book.ledger.claim(lease, [marketing()], "run-1", {}, NOW_MS, Stale(of_campaigns={"abandoned_cart": record}))
    assert words(client) == (
        "What it rests on, product_recommendations, was last built at 2027-01-15 07:00 UTC. Waits until that is over."
    )
    book.forget()
    book.say(lease, granted())
    record = {"input": "order_states", "read_until_ms": NOW_MS - HOUR_MS, "fail_after_seconds": 60}
    book.ledger.claim(lease, [marketing()], "run-1", {}, NOW_MS, Stale(of_campaigns={"abandoned_cart": record}))
    assert (
        words(client) == "Events after 2027-01-15 07:00 UTC were not read yet (order_states). Waits until that is over."
    )


def test_what_the_esp_said_is_told(book: Book, client: Client) -> None:
    lease = book.hold()
    for outcome, told in [
        (Rejected("no such user"), "Will never be sent: no such user"),
        (TryLater(60, "busy"), "Will be tried again at 2027-01-15 08:01 UTC: busy"),
        (Unknown("timeout"), "May be out, and is not tried again: timeout"),
        (MissingVariable("name is missing"), "The mail could not be written: name is missing"),
    ]:
        book.forget()
        [decided] = book.claim(lease, intended())
        book.ledger.settle([answered(decided.claim, outcome)])
        assert words(client) == told


def test_the_newest_is_on_top_and_mails_that_are_out_are_not_listed(book: Book, client: Client) -> None:
    lease = book.hold()
    book.claim(lease, intended("order/1"))
    book.claim(lease, marketing("cart/1", address="old@example.com"), now_ms=NOW_MS - 1)
    book.claim(lease, marketing("cart/2", address="new@example.com"), now_ms=NOW_MS + 1)
    assert [who for who, _, _ in shown(client)] == ["new@example.com", "old@example.com"]


def test_a_person_and_a_campaign_can_be_asked_for(book: Book, client: Client) -> None:
    lease = book.hold()
    book.claim(lease, marketing(ids=("user:bob",), address="bob_1@example.com"), marketing(address="ann@example.com"))
    book.claim(lease, intended(address="", campaign="receipt", ids=("user:cy",)))
    assert [who for who, _, _ in shown(client, "?q=BOB_1@")] == ["bob_1@example.com"]
    assert [who for who, _, _ in shown(client, "?q=user:cy")] == ["user:cy"]
    assert [who for who, _, _ in shown(client, "?campaign=receipt")] == ["user:cy"]
    assert shown(client, "?q=%25") == []


def test_nothing_of_a_person_or_a_record_becomes_markup(book: Book, client: Client) -> None:
    lease = book.hold()
    book.ledger.pause(HOSTILE, HOSTILE, HOSTILE, NOW_MS)
    book.claim(lease, intended(campaign=HOSTILE, address=HOSTILE))
    page = client.get("/decisions", params={"q": HOSTILE, "campaign": HOSTILE}).text
    assert "<script" not in page
    assert shown(client)[0][0] == HOSTILE
