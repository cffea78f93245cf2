"""A sign-up where a yes must be confirmed: from the form to the mail that asks, to the press, to the marketing."""

import asyncio
import re
from collections.abc import Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa
from support.clocks import DAY_MS, HOUR_MS, MINUTE_MS, NOW_MS
from support.messages import Message, append, identify, preferences, track, with_consent
from support.warehouse import Site

from wakeline.collector.app import create_app
from wakeline.database import consents
from wakeline.pipeline.microbatch import MicroBatches

pytestmark = pytest.mark.stack

#: The source of `support.warehouse` that asks for confirmation.
SIGNUP = "signup"
FIRST = ("confirm_opt_in", "user:ann", "marketing/2027-01-15T08")
LINK = re.compile(r"<(http://[^>]+/v1/confirm\?t=[^>]+)>")


class SignUp:
    """A site that Ann, who has an address, does things on; minutes count from the start."""

    def __init__(self, site: Site, batches: MicroBatches) -> None:
        self.site = site
        self._batches = batches
        self._numbers = iter(range(1_000))
        self.play(identify("login", user="ann", email="Ann@Example.com"))

    def play(self, *messages: Message, source: str = "default") -> None:
        """Let these messages come in now, and process all that is unread."""
        append(self._batches.stream, messages, self.site.clock(), source)
        self.site.work(self._batches)

    def at(self, minutes: float) -> int:
        """Set the clock, which never goes back; the time."""
        moment = NOW_MS + round(minutes * MINUTE_MS)
        assert moment >= self.site.clock.now_ms
        self.site.clock.now_ms = moment
        return moment

    def says(self, minutes: float, granted: bool, source: str = SIGNUP) -> None:
        """Ann ticks a box, or takes the tick away."""
        at_ms = self.at(minutes)
        message = preferences(f"word-{next(self._numbers)}", user="ann", at_ms=at_ms, marketing=granted)
        self.play(message, source=source)

    def leaves_a_cart(self, minutes: float, cart: str) -> str:
        """What becomes of the mail about a cart that was left for an hour at this time."""
        added = {"product_id": "p1", "name": "Boot", "price": 10, "quantity": 1, "cart_id": cart}
        at_ms = self.at(minutes) - HOUR_MS
        self.play(track("Product Added", f"added-{cart}", user="ann", at_ms=at_ms, **added))
        return self.site.sends()["abandoned_cart", "user:ann", f"cart/{cart}"]

    def asked(self) -> list[str]:
        """The occurrences that were mailed about."""
        found = self.site.sends()
        assert {state for (campaign, *_), state in found.items() if campaign == "confirm_opt_in"} <= {"sent"}
        return sorted(occurrence for campaign, _, occurrence in found if campaign == "confirm_opt_in")

    def links(self) -> list[str]:
        """The confirm links in the outbox."""
        mails = [message_from_bytes(path.read_bytes(), policy=policy.default) for path in self._outbox()]
        return [link for mail in mails for link in LINK.findall(text_of(mail))]

    def _outbox(self) -> list[Path]:
        return sorted(self.site.settings.outbox_dir.glob("*.eml"), key=lambda path: path.stat().st_mtime_ns)

    def calls(self, minutes: float, method: str, link: str) -> int:
        """The collector's answer to a request for the link; what it wrote is processed."""
        self.at(minutes)
        app = create_app(self.site.settings, self._batches.stream, self.site.clock, lambda: 0)

        async def call() -> int:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://collector") as client:
                return (await client.request(method, link)).status_code

        status = asyncio.run(call())
        self.play()
        return status

    def words(self) -> dict[str, tuple[bool, int]]:
        """Whose word on marketing -> yes or no, and when."""
        with self.site.engine.connect() as connection:
            rows = connection.execute(sa.select(consents)).mappings()
            return {row["subject"]: (row["granted"], row["occurred_at_ms"]) for row in rows}


def text_of(mail: EmailMessage) -> str:
    body = mail.get_body(("plain",))
    assert body is not None
    return str(body.get_content())


@pytest.fixture
def ann(site: Site) -> Iterator[SignUp]:
    with site.micro_batches() as batches:
        yield SignUp(site, batches)


def test_from_the_sign_up_to_the_press_and_to_the_first_marketing_mail(ann: SignUp) -> None:
    ann.says(0, True)
    assert ann.site.sends() == {FIRST: "sent"}
    assert ann.words() == {}
    assert ann.leaves_a_cart(5, "one") == "skipped:no_consent"

    [link] = ann.links()
    assert ann.calls(10, "GET", link) == 200
    assert ann.words() == {}
    assert ann.calls(11, "POST", link) == 200
    pressed_ms = ann.site.clock()
    assert ann.words() == {"user:ann": (True, pressed_ms), "email:ann@example.com": (True, pressed_ms)}
    [(message_id,)] = ann.site.rows("SELECT message_id FROM landing WHERE source = 'email'")
    with ann.site.engine.connect() as connection:
        assert set(connection.execute(sa.select(consents.c.message_id)).scalars()) == {message_id}

    assert ann.leaves_a_cart(70, "two") == "sent"
    assert ann.calls(71, "POST", link) == 200
    assert ann.words()["user:ann"] == (True, pressed_ms)
    assert ann.site.statuses()["duplicate"] == 1
    assert ann.asked() == [FIRST[2]]


def test_changing_ones_mind_within_an_hour_makes_one_mail_and_later_another(ann: SignUp) -> None:
    ann.says(0, True)
    ann.says(1, False)
    ann.says(2, True)
    ann.says(59, True)
    assert ann.asked() == [FIRST[2]]
    assert ann.words() == {"user:ann": (False, NOW_MS + MINUTE_MS)}
    ann.says(60, True)
    assert ann.asked() == [FIRST[2], "marketing/2027-01-15T09"]


def test_who_said_no_before_the_mail_was_made_gets_none(ann: SignUp) -> None:
    agreed, refused = (
        preferences(f"m{number}", user="ann", at_ms=NOW_MS + number, marketing=granted)
        for number, granted in ((1, True), (2, False))
    )
    ann.at(1)
    ann.play(agreed, refused, source=SIGNUP)
    assert ann.asked() == []


def test_who_confirmed_is_not_asked_again_until_a_no(ann: SignUp) -> None:
    ann.says(0, True)
    ann.calls(1, "POST", ann.links()[0])
    ann.says(120, True)
    assert ann.asked() == [FIRST[2]]
    ann.says(121, False)
    assert ann.leaves_a_cart(122, "one") == "skipped:no_consent"
    ann.says(180, True)
    assert ann.asked() == [FIRST[2], "marketing/2027-01-15T11"]
    assert ann.leaves_a_cart(181, "two") == "skipped:no_consent"
    ann.calls(182, "POST", ann.links()[-1])
    assert ann.leaves_a_cart(183, "three") == "sent"


def test_a_no_of_a_stamp_or_of_the_address_is_one_after_which_is_asked_again(ann: SignUp) -> None:
    ann.says(0, True)
    ann.calls(1, "POST", ann.links()[0])
    at_ms = ann.at(60)
    ann.play(with_consent(track("Product Viewed", "stamped", user="ann", at_ms=at_ms), marketing=False))
    assert ann.leaves_a_cart(61, "one") == "skipped:no_consent"
    ann.says(62, True)
    assert ann.asked() == [FIRST[2], "marketing/2027-01-15T09"]
    ann.calls(63, "POST", ann.links()[-1])

    at_ms = ann.at(120)
    ann.play(track("Unsubscribed", "left", at_ms=at_ms, email="ANN@example.com "))
    assert ann.leaves_a_cart(121, "two") == "skipped:no_consent"
    ann.says(122, True)
    assert ann.asked() == [FIRST[2], "marketing/2027-01-15T09", "marketing/2027-01-15T10"]


def test_a_yes_elsewhere_counts_at_once_and_asks_nothing(ann: SignUp) -> None:
    ann.says(0, True, source="default")
    assert ann.words() == {"user:ann": (True, NOW_MS)}
    ann.says(5, True)
    assert ann.asked() == []


def test_an_old_sign_up_that_comes_late_is_not_asked_about(ann: SignUp) -> None:
    ann.play(preferences("late", user="ann", at_ms=NOW_MS - 3 * DAY_MS, marketing=True), source=SIGNUP)
    assert ann.asked() == []
    ann.play(preferences("in-time", user="ann", at_ms=NOW_MS - 3 * DAY_MS + MINUTE_MS, marketing=True), source=SIGNUP)
    assert ann.asked() == ["marketing/2027-01-12T08"]


def test_only_true_and_false_are_words_and_each_stands_with_its_source(ann: SignUp) -> None:
    odd = {"marketing": True, "product_news": False, "a": "true", "b": 1, "c": None}
    message = preferences("odd", user="ann", at_ms=NOW_MS) | {"context": {"consent": {"categoryPreferences": odd}}}
    stamp = with_consent(track("Product Viewed", "stamp", user="ann"), marketing=False, analytics=True)
    left = track("Email Unsubscribed", "left", user="ann", email="b@example.com", purpose="newsletter")
    broken = {**message, "messageId": "broken", "type": "no type"}
    ann.play(message, broken, source=SIGNUP)
    ann.play(stamp, left)
    rows = ann.site.rows(
        "SELECT id, purpose, source, toUnixTimestamp64Milli(max(last_agreed_at)),"
        " toUnixTimestamp64Milli(max(last_refused_at)) FROM consent_states GROUP BY id, purpose, source"
        " ORDER BY id, purpose, source"
    )
    assert rows == [
        ("email:b@example.com", "newsletter", "default", 0, NOW_MS),
        ("user:ann", "marketing", "default", 0, NOW_MS),
        ("user:ann", "marketing", "signup", NOW_MS, 0),
        ("user:ann", "newsletter", "default", 0, NOW_MS),
        ("user:ann", "product_news", "signup", 0, NOW_MS),
    ]
