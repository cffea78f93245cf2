from typing import Any

import pytest
from starlette.datastructures import Headers
from support.mailing import CHROME, PERSON

from wakeline.collector.mail.agents import is_bot, sends_fetch_metadata
from wakeline.collector.mail.labels import ClickRules, label_click, label_open

RULES = ClickRules(too_soon_ms=2_000, https=True)
HOUR_MS = 3_600_000
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:127.0) Gecko/20100101 Firefox/127.0"
SAFARI = (
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko)"
    " Version/16.1 Safari/605.1.15"
)
APPLE_MAIL = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148"
)
WEBVIEW = (
    "Mozilla/5.0 (Linux; Android 14; Pixel 8; wv) AppleWebKit/537.36 (KHTML, like Gecko)"
    " Version/4.0 Chrome/126.0.0.0 Mobile Safari/537.36"
)
INSTAGRAM = f"{WEBVIEW} Instagram 337.0.0.35.102 Android"
ANDROID = (
    "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Mobile Safari/537.36"
)
EDGE = f"{CHROME} Edg/126.0.0.0"
OUTLOOK = "Microsoft Office/16.0 (Windows NT 10.0; Microsoft Outlook 16.0.17628; Pro)"
THUNDERBIRD = "Mozilla/5.0 (X11; Linux x86_64; rv:115.0) Gecko/20100101 Thunderbird/115.3.1"
GMAIL = "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"
YAHOO = "YahooMailProxy; https://help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html"
BOTS = (
    "",
    "curl/8.5.0",
    "python-requests/2.32",
    "python-httpx/0.28.1",
    "Go-http-client/2.0",
    "Java/17.0.1",
    "okhttp/4.12.0",
    "node",
    "Dart/3.1 (dart:io)",
    "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/120.0.0.0 Safari/537.36",
    "BarracudaCentral",
    "Mimecast",
    "Microsoft Office Existence Discovery",
)
PEOPLE = (CHROME, EDGE, FIREFOX, SAFARI, APPLE_MAIL, WEBVIEW, INSTAGRAM, ANDROID, OUTLOOK, THUNDERBIRD)


def automated(reason: str) -> dict[str, Any]:
    return {"automated": True, "automated_reason": reason}


@pytest.mark.parametrize("agent", BOTS)
def test_what_says_it_is_a_program_is_a_bot(agent: str) -> None:
    assert is_bot(agent)
    assert label_open({"user-agent": agent}) == automated("bot")
    assert label_click({"user-agent": agent}, HOUR_MS, RULES) == automated("bot")


def test_without_an_agent_it_is_a_bot() -> None:
    assert label_open({}) == automated("bot")
    assert label_click({}, HOUR_MS, RULES) == automated("bot")


@pytest.mark.parametrize("agent", PEOPLE)
def test_mail_clients_and_browsers_are_people(agent: str) -> None:
    assert label_open({"user-agent": agent}) == {"automated": False}
    fetched = {"user-agent": agent, "sec-fetch-mode": "navigate"}
    assert label_click(fetched, HOUR_MS, RULES) == {"automated": False}


@pytest.mark.parametrize(("agent", "proxy"), [(GMAIL, "gmail"), (YAHOO, "yahoo")])
def test_an_open_through_an_image_proxy_is_a_person_s(agent: str, proxy: str) -> None:
    assert label_open({"user-agent": agent}) == {"automated": False, "proxy": proxy}
    assert label_click({"user-agent": agent}, HOUR_MS, RULES) == automated("bot")


def test_the_bare_agent_is_apple_s_proxy_for_an_image_and_no_browser_for_a_link() -> None:
    assert label_open({"user-agent": "Mozilla/5.0"}) == automated("apple_mail_privacy")
    assert label_click({"user-agent": "Mozilla/5.0"}, HOUR_MS, RULES) == automated("not_a_browser")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sec-purpose", "prefetch"),
        ("sec-purpose", "prefetch;prerender"),
        ("purpose", "Prefetch"),
        ("x-moz", "prefetch"),
    ],
)
def test_a_prefetch_counts_for_nothing(name: str, value: str) -> None:
    headers = {**{header.lower(): text for header, text in PERSON.items()}, name: value}
    assert label_open(headers) == automated("prefetch")
    assert label_click(headers, HOUR_MS, RULES) == automated("prefetch")


@pytest.mark.parametrize("agent", [CHROME, EDGE, FIREFOX, ANDROID])
def test_a_browser_that_would_send_fetch_metadata_and_does_not_is_none(agent: str) -> None:
    assert label_click({"user-agent": agent}, HOUR_MS, RULES) == automated("not_a_browser")


@pytest.mark.parametrize("agent", [CHROME, FIREFOX])
def test_without_https_no_browser_sends_fetch_metadata(agent: str) -> None:
    assert label_click({"user-agent": agent}, HOUR_MS, ClickRules(2_000, https=False)) == {"automated": False}


@pytest.mark.parametrize(
    "agent",
    [
        SAFARI,
        APPLE_MAIL,
        WEBVIEW,
        INSTAGRAM,
        OUTLOOK,
        CHROME.replace("Chrome/126", "Chrome/79"),
        FIREFOX.replace("127", "89"),
    ],
)
def test_who_may_leave_fetch_metadata_out_is_not_accused(agent: str) -> None:
    assert not sends_fetch_metadata(agent)
    assert label_click({"user-agent": agent}, HOUR_MS, RULES) == {"automated": False}


@pytest.mark.parametrize(("age_ms", "labels"), [(1_999, automated("too_soon")), (2_000, {"automated": False})])
def test_nobody_clicks_before_the_mail_is_there(age_ms: int, labels: dict[str, Any]) -> None:
    assert label_click(Headers(PERSON), age_ms, RULES) == labels


def test_a_mail_from_a_clock_that_is_ahead_is_clicked_too_soon() -> None:
    assert label_click(Headers(PERSON), -500, RULES) == automated("too_soon")
    assert label_click(Headers(PERSON), -500, ClickRules(0, https=True)) == {"automated": False}
