"""Unsubscribing: any number of looks changes nothing, one press opts out, and works for ever."""

import base64
import hashlib
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.clocks import DAY_MS, NOW_MS, SECOND_MS
from support.mailing import CHROME, KEY, Postbox
from support.messages import identify, rows
from support.sending import Book

from wakeline.activation.consent import Consent, consents
from wakeline.clock import to_iso
from wakeline.engines import open_sqlite

ONE_CLICK = {"List-Unsubscribe": "One-Click"}


@pytest.fixture
def postbox(tmp_path: Path) -> Iterator[Postbox]:
    made = Postbox(tmp_path)
    yield made
    made.stream.close()


class Form(HTMLParser):
    """The form of a page: its method and its hidden fields; and every tag."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.form: dict[str, str | None] = {}
        self.fields: dict[str, str] = {}
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        values = dict(attrs)
        if tag == "form":
            self.form = values
        if tag == "input":
            self.fields[str(values["name"])] = str(values["value"])


def test_looking_changes_nothing_however_often(postbox: Postbox) -> None:
    url = postbox.links.unsubscribe("marketing")

    async def look(client: httpx.AsyncClient) -> list[httpx.Response]:
        return [await client.request(method, url) for method in ("GET", "HEAD") for _ in range(100)]

    responses = postbox.talk(look)
    assert {response.status_code for response in responses} == {200}
    assert "marketing emails" in responses[0].text
    assert postbox.records() == []


def test_the_page_s_form_opts_out_and_the_pipeline_understands(postbox: Postbox) -> None:
    url = postbox.links.unsubscribe("product_news")
    form = Form(postbox.call("GET", url).text)
    assert (form.form, form.fields) == ({"method": "post"}, ONE_CLICK)
    response = postbox.call("POST", url, data=form.fields, headers={"User-Agent": CHROME})
    assert (response.status_code, response.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert "You are unsubscribed" in response.text
    assert "no more product news emails" in response.text
    [message] = postbox.messages()
    assert message == {
        "type": "track",
        "event": "Unsubscribed",
        "messageId": f"unsubscribed-{KEY}-product_news-{NOW_MS}",
        "timestamp": to_iso(NOW_MS),
        "userId": "ann",
        "properties": {"idempotency_key": KEY, "campaign": "abandoned_cart", "purpose": "product_news"},
        "context": {"userAgent": CHROME},
    }
    [said] = consents(postbox.rows(), postbox.settings.trusted_sources)
    assert (said.subject, said.purpose, said.granted, said.occurred_at_ms) == (
        "user:ann",
        "product_news",
        False,
        NOW_MS,
    )


@pytest.mark.parametrize(
    "body",
    [
        {"data": ONE_CLICK},
        {"files": {"List-Unsubscribe": (None, "One-Click")}},
        {"content": b""},
        {"content": b"\xff\x00" * 5_000, "headers": {"Content-Type": "application/x-www-form-urlencoded"}},
        {"content": b"--", "headers": {"Content-Type": "multipart/form-data"}},
    ],
    ids=["form", "multipart", "empty", "nonsense", "broken multipart"],
)
def test_one_post_opts_out_without_cookie_and_without_redirect(postbox: Postbox, body: dict[str, Any]) -> None:
    response = postbox.call("POST", postbox.links.unsubscribe("marketing"), **body)
    assert response.status_code == 200
    assert not {"Location", "Set-Cookie"} & set(response.headers)
    assert [said.granted for said in consents(postbox.rows(), postbox.settings.trusted_sources)] == [False]


def test_an_opt_out_never_expires(postbox: Postbox) -> None:
    url = postbox.links.unsubscribe("marketing")
    postbox.later(20 * 365 * DAY_MS)
    assert postbox.call("GET", url).status_code == 200
    assert postbox.call("POST", url).status_code == 200
    assert len(consents(postbox.rows(), postbox.settings.trusted_sources)) == 1


def test_who_agrees_again_and_presses_again_is_opted_out_again(postbox: Postbox) -> None:
    url = postbox.links.unsubscribe("marketing")
    postbox.call("POST", url)
    postbox.later(1)
    agreed = rows(identify("again", user="ann", at_ms=postbox.clock(), marketing=True))
    postbox.later(2)
    postbox.call("POST", url)
    assert len({message["messageId"] for message in postbox.messages()}) == 2
    engine = open_sqlite(postbox.folder / "other.sqlite")
    trusted = postbox.settings.trusted_sources
    said = [*consents(agreed, trusted), *consents(postbox.rows(), trusted)]
    assert latest(Book(engine), said) == (False, NOW_MS + 2)
    engine.dispose()


def latest(book: Book, said: list[Consent]) -> tuple[bool, int]:
    """What the ledger holds after these words, in this order."""
    book.say(book.hold(), *said)
    with book.engine.connect() as connection:
        [found] = connection.exec_driver_sql(
            "SELECT granted, occurred_at_ms FROM consents WHERE subject = 'user:ann' AND purpose = 'marketing'"
        ).all()
    return bool(found[0]), int(found[1])


def test_an_opt_out_that_cannot_be_kept_says_so_and_asks_to_come_again(
    postbox: Postbox, caplog: pytest.LogCaptureFixture
) -> None:
    stream = postbox.folder / "stream.sqlite"
    stream.rename(postbox.folder / "moved")
    url = postbox.links.unsubscribe("marketing")
    response = postbox.call("POST", url)
    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) > 0
    assert "You are not unsubscribed yet" in response.text
    assert not [word for word in ("user:ann", KEY) if word in caplog.text]
    (postbox.folder / "moved").rename(stream)
    assert postbox.call("POST", url, data=Form(response.text).fields).status_code == 200
    assert len(consents(postbox.rows(), postbox.settings.trusted_sources)) == 1


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
def test_other_methods_do_nothing(postbox: Postbox, method: str) -> None:
    assert postbox.call(method, postbox.links.unsubscribe("marketing")).status_code == 405
    assert postbox.records() == []


def test_the_page_needs_no_script_and_lets_none_run(postbox: Postbox) -> None:
    postbox.later(SECOND_MS)
    response = postbox.call("GET", postbox.links.unsubscribe("marketing"))
    assert {"script", "link", "img", "iframe"}.isdisjoint(Form(response.text).tags)
    assert "style=" not in response.text
    policy = response.headers["Content-Security-Policy"]
    css = response.text.partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert (response.headers["Referrer-Policy"], response.headers["Cache-Control"]) == ("no-referrer", "no-store")
    assert "noindex" in response.headers["X-Robots-Tag"]
