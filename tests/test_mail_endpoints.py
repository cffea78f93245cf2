"""The open pixel and the click redirect, and what scanners leave behind."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.clocks import DAY_MS, NOW_MS, SECOND_MS
from support.mailing import ANN, CAMPAIGNS, CHROME, HOSTS, KEY, PERSON, PUBLIC_URL, SENDER, Hrefs, Postbox

from wakeline.activation.consent import consents
from wakeline.activation.links import CLICK_PATH, CONFIRM_PATH, PIXEL_PATH, UNSUBSCRIBE_PATH, VIEW_PATH, MailLinks
from wakeline.activation.rendering import Renderer
from wakeline.activation.tokens import Click, Mailed, Tokens
from wakeline.clock import to_iso
from wakeline.collector.images import GIF
from wakeline.engines import open_database

PATHS = (PIXEL_PATH, CLICK_PATH, VIEW_PATH, UNSUBSCRIBE_PATH, CONFIRM_PATH)
#: Where a GET asks and a POST does it.
ASKING_PATHS = (UNSUBSCRIBE_PATH, CONFIRM_PATH)
TARGET = "https://shop.example.com/p/1?size=9#reviews"
HOUR_MS = 3_600 * SECOND_MS
LIFETIME_MS = 90 * DAY_MS
#: What mail scanners send, with and without a name.
SCANNERS: tuple[dict[str, str], ...] = (
    {"User-Agent": ""},
    {"User-Agent": CHROME},
    {"User-Agent": "Mozilla/5.0"},
    {"User-Agent": "BarracudaCentral"},
    {"User-Agent": "python-requests/2.32"},
    {**PERSON, "Sec-Purpose": "prefetch"},
    PERSON,
)


@pytest.fixture
def postbox(tmp_path: Path) -> Iterator[Postbox]:
    made = Postbox(tmp_path)
    yield made
    made.stream.close()


def test_an_open_pixel_that_is_fetched_becomes_a_labelled_event(postbox: Postbox) -> None:
    response = postbox.call("GET", postbox.links.open_pixel(), headers=PERSON)
    assert (response.status_code, response.content) == (200, GIF)
    assert (response.headers["Content-Type"], response.headers["Cache-Control"]) == ("image/gif", "no-store")
    assert postbox.messages() == [
        {
            "type": "track",
            "event": "Email Opened",
            "messageId": "new-0",
            "timestamp": to_iso(NOW_MS),
            "userId": "ann",
            "properties": {"idempotency_key": KEY, "campaign": "abandoned_cart", "automated": False},
            "context": {"userAgent": CHROME},
        }
    ]
    assert {(seen.source, seen.sent_at, seen.received_at_ms) for seen in postbox.envelopes()} == {
        ("email", to_iso(NOW_MS), NOW_MS)
    }


def test_a_click_is_recorded_and_led_to_its_target(postbox: Postbox) -> None:
    url = postbox.links.click(TARGET, "hero")
    postbox.later(HOUR_MS)
    response = postbox.call("GET", url, headers=PERSON)
    assert (response.status_code, response.headers["Location"], response.content) == (302, TARGET, b"")
    assert (response.headers["Cache-Control"], response.headers["Referrer-Policy"]) == ("no-store", "no-referrer")
    [message] = postbox.messages()
    assert (message["event"], message["userId"]) == ("Email Link Clicked", "ann")
    assert message["properties"] == {
        "idempotency_key": KEY,
        "campaign": "abandoned_cart",
        "link_url": TARGET,
        "link_id": "hero",
        "automated": False,
    }
    assert [row.status for row in postbox.rows()] == ["accepted"]


def test_a_device_without_a_person_keeps_its_id(postbox: Postbox) -> None:
    token = Click(KEY, "cart", "anonymous:a:1", TARGET, "1")
    postbox.call("GET", f"{CLICK_PATH}?t={postbox.sign(token)}")
    assert postbox.messages()[0]["anonymousId"] == "a:1"
    assert "userId" not in postbox.messages()[0]


def test_two_clicks_are_two_events(postbox: Postbox) -> None:
    url = postbox.links.click(TARGET, "1")
    for _ in range(2):
        postbox.call("GET", url)
    assert [message["messageId"] for message in postbox.messages()] == ["new-0", "new-1"]


def test_what_programs_do_is_kept_with_its_reason(postbox: Postbox) -> None:
    urls = [postbox.links.open_pixel(), postbox.links.click(TARGET, "1")]
    for agent in ("Mozilla/5.0", "curl/8.5.0"):
        for url in urls:
            postbox.call("GET", url, headers={"User-Agent": agent})
    postbox.call("GET", urls[1], headers=PERSON)
    found = [message["properties"].get("automated_reason") for message in postbox.messages()]
    assert found == ["apple_mail_privacy", "not_a_browser", "bot", "bot", "too_soon"]
    assert all(message["properties"]["automated"] for message in postbox.messages())


def test_the_settings_say_how_soon_is_too_soon_and_http_brings_no_fetch_metadata(tmp_path: Path) -> None:
    postbox = Postbox(tmp_path, automated_click_seconds=0.5, public_url="http://127.0.0.1:8200")
    url = postbox.links.click(TARGET, "1")
    for after_ms in (499, 500):
        postbox.later(after_ms)
        postbox.call("GET", url, headers={"User-Agent": CHROME})
    assert [message["properties"]["automated"] for message in postbox.messages()] == [True, False]
    postbox.stream.close()


def test_a_head_request_is_answered_and_records_nothing(postbox: Postbox) -> None:
    assert postbox.call("HEAD", postbox.links.open_pixel()).status_code == 200
    response = postbox.call("HEAD", postbox.links.click(TARGET, "1"))
    assert (response.status_code, response.headers["Location"]) == (302, TARGET)
    assert postbox.records() == []


@pytest.mark.parametrize(("after_ms", "events"), [(LIFETIME_MS, 2), (LIFETIME_MS + 1, 0)])
def test_an_old_mail_s_links_work_and_record_nothing(postbox: Postbox, after_ms: int, events: int) -> None:
    pixel, click = postbox.links.open_pixel(), postbox.links.click(TARGET, "1")
    postbox.later(after_ms)
    assert postbox.call("GET", pixel).content == GIF
    assert postbox.call("GET", click).headers["Location"] == TARGET
    assert len(postbox.records()) == events


def test_the_settings_say_when_a_mail_is_old(tmp_path: Path) -> None:
    postbox = Postbox(tmp_path, link_days=1)
    url = postbox.links.open_pixel()
    for after_ms in (DAY_MS, DAY_MS + 1):
        postbox.later(after_ms)
        postbox.call("GET", url)
    assert len(postbox.records()) == 1
    postbox.stream.close()


def tokens_of_others(postbox: Postbox, own: str) -> list[str]:
    """A token for each other purpose, one by another key, and parts of a good one."""
    links = postbox.links
    urls = [
        links.open_pixel(),
        links.click(TARGET, "1"),
        links.view(),
        links.unsubscribe("marketing"),
        links.confirm("marketing"),
    ]
    by_path = {httpx.URL(url).path: httpx.URL(url).params["t"] for url in urls}
    good = by_path.pop(own)
    forged = Tokens("another key").sign(Click(KEY, "c", "user:ann", "https://evil.example/", "1"), NOW_MS)
    return [*by_path.values(), forged, good[:-2], good[1:], f"{good}x", f"{good}.{good}", good.swapcase()]


@pytest.mark.parametrize("path", PATHS)
def test_a_token_that_is_not_for_this_leads_nowhere(postbox: Postbox, path: str) -> None:
    for token in tokens_of_others(postbox, path):
        for method in ("GET", "HEAD", *(["POST"] if path in ASKING_PATHS else [])):
            response = postbox.call(method, path, params={"t": token})
            assert "Location" not in response.headers
            if path == PIXEL_PATH:
                assert (response.status_code, response.headers["Content-Type"]) == (200, "image/gif")
            else:
                assert response.status_code == 404
                assert method == "HEAD" or "This link does not work" in response.text
                assert token not in response.text
    assert postbox.records() == []


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "query",
    [
        b"",
        b"t",
        b"t=",
        b"t=.",
        b"t=..",
        b"t=%00",
        b"t=%ff%fe",
        b"t=%ED%A0%80",
        b"t=%F0%9F%92%8C",
        b"t=" + b"a" * 60_000,
        b"t=a&t=b",
        b"t=https://evil.example/",
        b"url=https://evil.example/",
        b"%",
        b"t=%",
        b"=&&;=t",
    ],
)
def test_no_query_is_an_error_of_ours(postbox: Postbox, path: str, query: bytes) -> None:
    methods = ("GET", "HEAD", "POST") if path in ASKING_PATHS else ("GET", "HEAD")
    for method in methods:
        response = postbox.call(method, httpx.URL("http://collector", path=path, query=query))  # type: ignore[arg-type]
        assert response.status_code == (200 if path == PIXEL_PATH else 404)
        assert "Location" not in response.headers
    assert postbox.records() == []


@given(st.text(max_size=60), st.binary(max_size=60))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_as_a_token_and_any_agent_is_answered(postbox: Postbox, text: str, agent: bytes) -> None:
    for path in (CLICK_PATH, UNSUBSCRIBE_PATH, CONFIRM_PATH, VIEW_PATH):
        assert postbox.call("GET", f"{path}?t={quote(text)}", headers={"User-Agent": agent}).status_code == 404
    assert postbox.call("GET", postbox.links.click(TARGET, "1"), headers={"User-Agent": agent}).status_code == 302


def test_only_web_addresses_are_signed_so_only_they_are_gone_to() -> None:
    signed: list[Mailed] = []

    def sign(token: Mailed) -> str:
        signed.append(token)
        return str(len(signed))

    renderer = Renderer(CAMPAIGNS, SENDER, PUBLIC_URL, sign, HOSTS)
    context = {**CAMPAIGNS["abandoned_cart"].preview}
    for url in ("javascript:alert(1)", "//evil.example", "data:text/html,x", "https:evil", " \nhttps://shop.example/"):
        context["products"] = [{**product, "url": url} for product in context["products"]]
        renderer.render("abandoned_cart", KEY, ANN, context)
    urls = [token.url for token in signed if isinstance(token, Click)]
    assert urls
    assert all(url.startswith(("http://", "https://")) for url in urls)


@pytest.mark.parametrize(
    "url",
    ["javascript:alert(1)", "//evil.example", "ftp://a.example", "https://a.example/\r\nX: y", "https://a.example/💌"],
)
def test_even_a_signed_token_leads_to_web_addresses_only(postbox: Postbox, url: str) -> None:
    token = postbox.sign(Click(KEY, "abandoned_cart", "user:ann", url, "1"))
    response = postbox.call("GET", f"/v1/click?t={token}")
    assert response.status_code == 404
    assert "Location" not in response.headers
    assert postbox.records() == []


def test_links_work_while_the_stream_takes_nothing_and_what_is_lost_is_logged(
    postbox: Postbox, caplog: pytest.LogCaptureFixture
) -> None:
    (postbox.folder / "stream.sqlite").rename(postbox.folder / "moved")
    assert postbox.call("GET", postbox.links.open_pixel()).content == GIF
    assert postbox.call("GET", postbox.links.click(TARGET, "1")).headers["Location"] == TARGET
    assert caplog.text.count("1 events could not be appended") == 2
    assert not [word for word in ("user:ann", KEY, "shop.example", CHROME) if word in caplog.text]


def test_opens_and_clicks_are_taken_while_other_requests_are_refused(tmp_path: Path) -> None:
    postbox = Postbox(tmp_path, options={"max_pending_bytes": -1})  # Whatever waits is too much.
    assert postbox.post("/v1/track", {"userId": "u", "event": "e"}).status_code == 429
    for url in (postbox.links.open_pixel(), postbox.links.click(TARGET, "1")):
        postbox.call("GET", url)
    assert postbox.call("POST", postbox.links.unsubscribe("marketing")).status_code == 200
    assert len(postbox.records()) == 3
    postbox.stream.close()


@pytest.mark.parametrize("name", sorted(CAMPAIGNS))
def test_scanners_that_press_every_link_leave_labelled_events_and_no_word_on_consent(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="wakeline")
    postbox = Postbox(tmp_path)
    open_database(postbox.settings).dispose()
    mail = postbox.mail(name)
    header = mail.headers.get("List-Unsubscribe", "")[1:-1]
    urls = [*Hrefs(mail.html).found, *([header] if header else []), postbox.links.open_pixel()]
    requests = [(method, scanner) for method in ("GET", "HEAD") for scanner in SCANNERS] * 8

    async def press(client: httpx.AsyncClient) -> list[httpx.Response]:
        return [
            await client.request(method, url, headers=headers) for url in urls for method, headers in requests[:100]
        ]

    responses = postbox.talk(press)
    clicks = {"Email Link Clicked"} if any(CLICK_PATH in url for url in urls) else set()
    # 404: the ledger has no such send.
    assert {response.status_code for response in responses} == {200, 404, *([302] if clicks else [])}
    events = postbox.messages()
    assert {event["event"] for event in events} == {"Email Opened", *clicks}
    for event in events:
        properties: dict[str, Any] = event["properties"]
        # Nothing gives away a scanner that opens, with a browser's headers, the mail it was handed.
        assert properties["automated"] or event["event"] == "Email Opened"
        assert ("automated_reason" in properties) == properties["automated"]
    assert consents(postbox.rows(), postbox.settings.trusted_sources) == []
    assert not [word for word in ("ann@example.com", "user:ann", "?t=") if word in caplog.text]
    postbox.stream.close()


def test_a_click_of_somebody_known_by_address_alone_is_theirs(postbox: Postbox) -> None:
    postbox.links = MailLinks(PUBLIC_URL, postbox.sign, Mailed(KEY, "abandoned_cart", "email:bea@example.com"), HOSTS)
    postbox.call("GET", postbox.links.click(TARGET, "hero"), headers=PERSON)
    postbox.call("POST", postbox.links.unsubscribe("marketing"), headers=PERSON)
    assert {row.id for row in postbox.rows()} == {"email:bea@example.com"}
    assert {(one.subject, one.granted) for one in consents(postbox.rows(), postbox.settings.trusted_sources)} == {
        ("email:bea@example.com", False)
    }
