"""A mail in the browser: what was sent, again, without an event."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from lxml.html import document_fromstring
from support.clocks import DAY_MS, NOW_MS
from support.mailing import ANN, CAMPAIGNS, PERSON, ROOT, Hrefs, Postbox
from support.sending import Book, marketing

from wakeline.activation.claims import Intended, Person
from wakeline.activation.links import MailLinks
from wakeline.activation.tokens import Mailed
from wakeline.engines import open_database


@pytest.fixture
def postbox(tmp_path: Path) -> Iterator[Postbox]:
    made = Postbox(tmp_path)
    yield made
    made.stream.close()


def sent(**changes: Any) -> Intended:
    """A reminder to Ann, with all that its mail was made of."""
    person = Person(("user:ann",), ANN)
    return replace(marketing(context=CAMPAIGNS["abandoned_cart"].preview), person=person, **changes)


def claim(postbox: Postbox, one: Intended) -> str:
    """Put a send into the collector's ledger, and give the address where it can be seen."""
    engine = open_database(postbox.settings)
    book = Book(engine)
    book.claim(book.hold(), one)
    engine.dispose()
    return MailLinks("http://collector", postbox.sign, Mailed(one.key, one.campaign, one.profile_id), ()).view()


class Sources(HTMLParser):
    """The addresses of the pictures of a document."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name == "src"]


def test_a_mail_is_shown_as_it_was_sent_without_open_pixel_and_event(postbox: Postbox) -> None:
    one = sent()
    url = claim(postbox, one)
    mail = postbox.renderer.render(one.campaign, one.key, one.person.stored(one.profile_id), one.context)
    postbox.later(DAY_MS)
    response = postbox.call("GET", url, headers=PERSON)
    assert response.status_code == 200
    shown = document_fromstring(response.text).text_content().split()
    assert " ".join(shown) == " ".join(document_fromstring(mail.html).text_content().split()).replace(
        "Unsubscribe · View in browser", "Unsubscribe"
    )
    pictures = [source for source in Sources(response.text).found if not source.startswith("data:")]
    assert pictures == [source for source in Sources(mail.html).found if "/v1/pixel.gif" not in source]
    assert postbox.records() == []


def test_its_links_are_those_of_the_mail(postbox: Postbox) -> None:
    one = sent()
    url = claim(postbox, one)
    mail = postbox.renderer.render(one.campaign, one.key, one.person.stored(one.profile_id), one.context)
    postbox.later(DAY_MS)
    shown = Hrefs(postbox.call("GET", url).text).found
    assert shown == [href for href in Hrefs(mail.html).found if "/v1/mail?" not in href]
    postbox.later(89 * DAY_MS)
    assert postbox.call("GET", shown[0]).status_code == 302
    assert len(postbox.records()) == 1
    postbox.later(90 * DAY_MS + 1)
    assert postbox.call("GET", shown[0]).status_code == 302
    assert len(postbox.records()) == 1


def test_the_page_is_locked_in_and_not_found_by_search_engines(postbox: Postbox) -> None:
    headers = postbox.call("GET", claim(postbox, sent())).headers
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("sandbox ")
    assert "allow-scripts" not in policy
    assert "allow-same-origin" not in policy
    assert "default-src 'none'" in policy
    assert "noindex" in headers["X-Robots-Tag"]
    assert (headers["Cache-Control"], headers["Referrer-Policy"]) == ("no-store", "no-referrer")


def test_a_head_request_gets_the_same_answer(postbox: Postbox) -> None:
    assert postbox.call("HEAD", claim(postbox, sent())).status_code == 200


@pytest.mark.parametrize(("after_ms", "status"), [(90 * DAY_MS, 200), (90 * DAY_MS + 1, 410)])
def test_a_mail_is_shown_for_a_while(postbox: Postbox, after_ms: int, status: int) -> None:
    url = claim(postbox, sent())
    postbox.clock.now_ms = NOW_MS + after_ms
    assert postbox.call("GET", url).status_code == status


def test_a_send_that_is_gone_is_a_page_that_says_so(postbox: Postbox) -> None:
    url = claim(postbox, sent())
    engine = open_database(postbox.settings)
    with engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM sends")
    engine.dispose()
    response = postbox.call("GET", url)
    assert response.status_code == 404
    assert "This email is no longer here" in response.text


@pytest.mark.parametrize("changes", [{"context": {}}, {"person": Person(("user:ann",), {})}, {"campaign": "gone"}])
def test_a_send_that_can_no_longer_be_rendered_is_gone_too(
    postbox: Postbox, changes: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    one = replace(sent(), **changes)
    assert postbox.call("GET", claim(postbox, one)).status_code == 404
    assert "can no longer be rendered" in caplog.text
    assert "ann@example.com" not in caplog.text


def test_without_a_ledger_everything_else_works(postbox: Postbox, caplog: pytest.LogCaptureFixture) -> None:
    response = postbox.call("GET", postbox.links.view())
    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) > 0
    assert "cannot be shown right now" in response.text
    assert "Mails cannot be shown in the browser" in caplog.text
    assert not postbox.settings.ledger_path.exists()
    assert postbox.call("GET", postbox.links.click("https://a.example/", "1")).status_code == 302
    assert postbox.call("GET", claim(postbox, sent())).status_code == 200


def test_a_template_that_is_edited_is_shown_as_it_is_now(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "campaigns", tmp_path / "campaigns")
    postbox = Postbox(tmp_path, project_dir=tmp_path)
    url = claim(postbox, sent())
    assert "Your cart is still here" in postbox.call("GET", url).text
    body = tmp_path / "campaigns" / "abandoned_cart" / "email.mjml.liquid"
    body.write_text(body.read_text(encoding="utf-8").replace("is still here", "waits for you"), encoding="utf-8")
    assert "Your cart waits for you" in postbox.call("GET", url).text
    postbox.stream.close()


def test_the_ledger_is_only_read(postbox: Postbox) -> None:
    url = claim(postbox, sent())
    postbox.settings.ledger_path.chmod(0o400)
    before = postbox.settings.ledger_path.read_bytes()
    assert postbox.call("GET", url).status_code == 200
    assert postbox.settings.ledger_path.read_bytes() == before
