"""Confirming a consent: any number of looks changes nothing, the first press counts, and the link dies with age."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from support.clocks import DAY_MS, HOUR_MS, NOW_MS
from support.mailing import CHROME, HOSTS, KEY, PUBLIC_URL, Postbox
from support.messages import preferences, rows
from support.sending import Book, intended

from wakeline.activation.consent import Consent, consents
from wakeline.activation.links import MailLinks
from wakeline.activation.tokens import Mailed
from wakeline.clock import to_iso
from wakeline.database import consents as consents_table
from wakeline.engines import open_sqlite
from wakeline.pipeline.classify import mark_duplicates
from wakeline.settings import MAIL_SOURCE

SEVEN_DAYS_MS = 7 * DAY_MS


@pytest.fixture
def postbox(tmp_path: Path) -> Iterator[Postbox]:
    made = Postbox(tmp_path)
    yield made
    made.stream.close()


@pytest.fixture
def url(postbox: Postbox) -> str:
    """The confirm link of a mail that is made now."""
    return postbox.links.confirm("product_news")


def message_id_of(url: str) -> str:
    """The id that a press of this link has."""
    return f"confirmed-{hashlib.sha256(httpx.URL(url).params['t'].encode()).hexdigest()[:32]}"


def said(postbox: Postbox) -> list[Consent]:
    """What the pipeline takes from the stream."""
    accepted = mark_duplicates(postbox.rows(), seen=set())
    return consents(accepted, postbox.settings.trusted_sources, postbox.settings.double_opt_in)


def test_looking_changes_nothing_however_often(postbox: Postbox, url: str) -> None:
    async def look(client: httpx.AsyncClient) -> list[httpx.Response]:
        return [await client.request(method, url) for method in ("GET", "HEAD") for _ in range(100)]

    responses = postbox.talk(look)
    assert {response.status_code for response in responses} == {200}
    assert "product news emails" in responses[0].text
    assert '<form method="post">' in responses[0].text
    assert postbox.records() == []


def test_a_press_states_the_consent_of_the_person_with_the_mail_it_was_said_on(postbox: Postbox, url: str) -> None:
    response = postbox.call("POST", url, headers={"User-Agent": CHROME})
    assert (response.status_code, response.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert "It is confirmed" in response.text
    assert "product news emails" in response.text
    assert not {"Location", "Set-Cookie"} & set(response.headers)
    assert {envelope.source for envelope in postbox.envelopes()} == {MAIL_SOURCE}
    [message] = postbox.messages()
    assert message == {
        "type": "track",
        "event": "Segment Consent Preference Updated",
        "messageId": message_id_of(url),
        "timestamp": to_iso(NOW_MS),
        "userId": "ann",
        "properties": {"idempotency_key": KEY, "campaign": "abandoned_cart", "purpose": "product_news"},
        "context": {"userAgent": CHROME, "consent": {"categoryPreferences": {"product_news": True}}},
    }
    assert said(postbox) == [Consent("user:ann", "product_news", True, NOW_MS, message_id_of(url), KEY)]


def test_the_press_is_on_record_for_the_person_and_for_the_mails_address(postbox: Postbox) -> None:
    engine = open_sqlite(postbox.folder / "other.sqlite")
    book = Book(engine)
    lease, sent = book.hold(), intended(address=" Ann@Example.com")
    book.claim(lease, sent)
    postbox.links = MailLinks(PUBLIC_URL, postbox.sign, Mailed(sent.key, sent.campaign, "user:ann"), HOSTS)
    url = postbox.links.confirm("marketing")
    postbox.later(HOUR_MS)
    postbox.call("POST", url)
    book.say(lease, *said(postbox))
    with engine.connect() as connection:
        found = {tuple(row) for row in connection.execute(consents_table.select())}
    assert found == {
        (subject, "marketing", True, NOW_MS + HOUR_MS, message_id_of(url))
        for subject in ("user:ann", "email:ann@example.com")
    }
    engine.dispose()


def test_somebody_known_by_address_alone_confirms_for_it(postbox: Postbox) -> None:
    postbox.links = MailLinks(PUBLIC_URL, postbox.sign, Mailed(KEY, "confirm_opt_in", "email:bea@example.com"), HOSTS)
    postbox.call("POST", postbox.links.confirm("marketing"))
    assert [(one.subject, one.granted) for one in said(postbox)] == [("email:bea@example.com", True)]


def test_an_old_mail_that_is_pressed_again_undoes_no_opt_out(postbox: Postbox, url: str) -> None:
    postbox.call("POST", url)
    postbox.later(HOUR_MS)
    postbox.call("POST", postbox.links.unsubscribe("product_news"))
    postbox.later(2 * HOUR_MS)
    again = postbox.call("POST", url)
    postbox.call("POST", the_same_in_other_words(url))
    assert (again.status_code, "you stay unsubscribed" in again.text) == (200, True)
    assert [(one.granted, one.occurred_at_ms) for one in said(postbox)] == [(True, NOW_MS), (False, NOW_MS + HOUR_MS)]


def the_same_in_other_words(url: str) -> str:
    """An address that another text of base64 leads to the same token: its last character has bits of no byte."""
    token = httpx.URL(url).params["t"]
    assert len(token) % 4
    last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".index(token[-1])
    other = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[last ^ 1]
    return url.replace(token, token[:-1] + other)


def test_a_first_press_after_an_opt_out_is_a_word_of_its_own(postbox: Postbox, url: str) -> None:
    postbox.later(HOUR_MS)
    postbox.call("POST", postbox.links.unsubscribe("product_news"))
    postbox.later(2 * HOUR_MS)
    postbox.call("POST", url)
    assert [(one.granted, one.occurred_at_ms) for one in said(postbox)] == [
        (False, NOW_MS + HOUR_MS),
        (True, NOW_MS + 2 * HOUR_MS),
    ]


def test_each_mail_and_each_purpose_is_confirmed_by_itself(postbox: Postbox, url: str) -> None:
    other = MailLinks(PUBLIC_URL, postbox.sign, Mailed("b2" * 16, "confirm_opt_in", "user:ann"), HOSTS)
    for address in (url, postbox.links.confirm("marketing"), other.confirm("product_news")):
        postbox.call("POST", address)
    assert len(said(postbox)) == 3


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_link_dies_with_age(postbox: Postbox, url: str, method: str) -> None:
    postbox.later(SEVEN_DAYS_MS + 1)
    response = postbox.call(method, url)
    assert response.status_code == 410
    assert "sign up once more" in response.text
    assert "<form" not in response.text
    assert postbox.records() == []
    postbox.later(SEVEN_DAYS_MS)
    assert postbox.call(method, url).status_code == 200


def test_the_settings_say_when_the_link_dies(tmp_path: Path) -> None:
    postbox = Postbox(tmp_path, confirm_days=0.5)
    url = postbox.links.confirm("marketing")
    postbox.later(DAY_MS // 2)
    assert postbox.call("POST", url).status_code == 200
    postbox.later(DAY_MS // 2 + 1)
    assert postbox.call("POST", url).status_code == 410
    postbox.stream.close()


def test_a_token_for_something_else_confirms_nothing(postbox: Postbox, url: str) -> None:
    token = httpx.URL(postbox.links.unsubscribe("marketing")).params["t"]
    for query in (f"?t={token}", "", "?t=", f"?t={httpx.URL(url).params['t'][:-2]}"):
        for method in ("GET", "POST"):
            assert postbox.call(method, f"/v1/confirm{query}").status_code == 404
    assert postbox.call("POST", f"/v1/unsubscribe?t={httpx.URL(url).params['t']}").status_code == 404
    assert postbox.records() == []


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
def test_other_methods_do_nothing(postbox: Postbox, url: str, method: str) -> None:
    assert postbox.call(method, url).status_code == 405
    assert postbox.records() == []


def test_a_confirmation_that_cannot_be_kept_says_so_and_can_be_pressed_again(
    postbox: Postbox, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    stream = postbox.folder / "stream.sqlite"
    stream.rename(postbox.folder / "moved")
    response = postbox.call("POST", url)
    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) > 0
    assert "not confirmed yet" in response.text
    assert '<form method="post">' in response.text
    assert not [word for word in ("user:ann", KEY) if word in caplog.text]
    (postbox.folder / "moved").rename(stream)
    assert postbox.call("POST", url).status_code == 200
    assert len(said(postbox)) == 1


def test_the_page_is_nobody_elses(postbox: Postbox, url: str) -> None:
    for method in ("GET", "POST"):
        headers = postbox.call(method, url).headers
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert (headers["Referrer-Policy"], headers["Cache-Control"]) == ("no-referrer", "no-store")
        assert "noindex" in headers["X-Robots-Tag"]


def test_a_page_cannot_make_up_a_confirmation(postbox: Postbox) -> None:
    """Whoever knows a key of somebody's mail, and the public write key, says nothing for its address."""
    forged = preferences("m1", user="eve", product_news=True)
    forged["properties"]["idempotency_key"] = KEY
    asking = {"default": ["product_news"]}
    trusted = postbox.settings.trusted_sources
    assert consents(rows(forged), trusted, asking) == []
    assert [one.key for one in consents(rows(forged), trusted)] == [""]
