import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.clocks import DAY_MS, NOW_MS
from support.messages import record
from support.shipping import BROWSER

from wakeline.collector.visitor import truncated_ip
from wakeline.pipeline.classify import classify
from wakeline.shipping.identity import field_value, line_id, visitor_id
from wakeline.shipping.messages import Rules, page_message
from wakeline.shipping.request import BadLineError, Request

RULES = Rules("signing-key")


def request(target: str = "/shirts", **told: Any) -> Request:
    facts = {"ip": "203.0.113.9", "method": "GET", "status": 200, "user_agent": BROWSER, **told}
    return Request(at_ms=NOW_MS, target=target, **facts)


def sent(asked: Request, **rules: Any) -> dict[str, Any] | None:
    return page_message(asked, "m1", Rules("signing-key", **rules))


def test_a_page_view_is_a_page_message_that_keeps_the_contract() -> None:
    asked = request("/shirts?utm_source=news&utm_campaign=may&size=m", host="shop.example.com", referrer="https://a.b/")
    page = {
        "path": "/shirts",
        "search": "?utm_source=news&utm_campaign=may&size=m",
        "url": "https://shop.example.com/shirts?utm_source=news&utm_campaign=may&size=m",
        "referrer": "https://a.b/",
    }
    message = sent(asked)
    assert message == {
        "messageId": "m1",
        "type": "page",
        "timestamp": "2027-01-15T08:00:00.000Z",
        "anonymousId": visitor_id(asked, "signing-key"),
        "properties": page,
        "context": {
            "library": {"name": "wakeline-ship-log"},
            "page": page,
            "userAgent": BROWSER,
            "ip": "203.0.113.0",
            "campaign": {"source": "news", "name": "may"},
        },
    }
    assert classify(record(message), 262_144).status == "accepted"


@pytest.mark.parametrize(
    "asked",
    [
        request("/app.js"),
        request("/logo.PNG"),
        request("/api/cart", method="POST"),
        request("/", method="HEAD"),
        request("/gone", status=404),
        request("/old", status=301),
        request("/feed", content_type="application/json"),
        request("/", user_agent="Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"),
        request("", method="", status=400),
    ],
)
def test_what_is_no_page_view_is_not_sent(asked: Request) -> None:
    assert sent(asked) is None


@pytest.mark.parametrize(
    "asked",
    [
        request("/"),
        request("/index.html"),
        request("/shop.php?id=1"),
        request("/v1.2/notes", content_type="text/html; charset=utf-8"),
        request("/kept", status=304),
        request("/", user_agent=""),
        request("https://shop.example.com/absolute"),
    ],
)
def test_pages_are_sent(asked: Request) -> None:
    assert sent(asked) is not None


@pytest.mark.parametrize(
    ("rules", "targets"),
    [
        ({"exclude": ("/admin/*", "/healthz")}, ["/", "/shirts"]),
        ({"include": ("*.pdf", "/admin/*")}, ["/admin/users", "/guide.pdf"]),
        ({"include": ("/admin/*",), "exclude": ("*/users",)}, []),
    ],
)
def test_globs_choose_paths(rules: dict[str, Any], targets: list[str]) -> None:
    asked = ["/", "/shirts", "/admin/users", "/healthz", "/guide.pdf"]
    assert [target for target in asked if sent(request(target), **rules)] == targets


def test_crawlers_are_sent_when_wanted() -> None:
    assert sent(request(user_agent="Googlebot/2.1"), crawlers=True) is not None


def test_the_site_completes_addresses_only_where_the_log_has_no_host() -> None:
    for host, url in (("", "https://own.example/shirts"), ("shop.example.com", "http://shop.example.com/shirts")):
        message = sent(request(host=host, scheme="http"), site="https://own.example/")
        assert message is not None
        assert message["properties"]["url"] == url


def test_a_user_id_stands_alone_and_an_anonymous_id_is_taken_as_it_is() -> None:
    asked = request(fields={"remote_user": "42"}, cookie="wl=abc; other=1")
    for rules, ids in (
        ({"user_field": "remote_user"}, {"userId": "42"}),
        ({"anonymous_field": "cookie:wl"}, {"anonymousId": "abc"}),
        ({"user_field": "remote_user", "anonymous_field": "cookie:wl"}, {"userId": "42", "anonymousId": "abc"}),
        ({"user_field": "missing", "anonymous_field": "cookie:no"}, {"anonymousId": visitor_id(asked, "signing-key")}),
    ):
        message = sent(asked, **rules)
        assert message is not None
        assert {name: message[name] for name in ("userId", "anonymousId") if name in message} == ids


def test_a_broken_cookie_is_no_cookie() -> None:
    assert field_value(request(cookie="a\x00b;=;wl"), "cookie:wl") == ""


def test_a_target_that_is_no_address_is_a_bad_line() -> None:
    with pytest.raises(BadLineError, match="no address"):
        sent(request("http://[::1/x"))


def test_a_path_that_begins_with_two_slashes_is_no_host() -> None:
    message = sent(request("//cart/checkout?size=m", host="shop.example.com"))
    assert message is not None
    assert message["properties"]["path"] == "//cart/checkout"
    assert message["properties"]["url"] == "https://shop.example.com//cart/checkout?size=m"


@pytest.mark.parametrize("header", ["wl=abc", 'a=b; wl="abc"', "broken; =; a\x00b=c;wl=abc", "xwl=no; wl = abc ;wl=no"])
def test_a_cookie_is_found_among_broken_ones(header: str) -> None:
    assert field_value(request(cookie=header), "cookie:wl") == "abc"


@pytest.mark.parametrize("field", ["user_field", "anonymous_field"])
def test_an_id_that_the_pipeline_would_not_take_is_a_bad_line(field: str) -> None:
    assert sent(request(fields={"id": "x" * 255}), **{field: "id"}) is not None
    with pytest.raises(BadLineError, match="longer than 255 characters"):
        sent(request(fields={"id": "x" * 256}), **{field: "id"})


def test_a_visitor_is_the_same_all_day_and_another_tomorrow_elsewhere_and_for_another_deployment() -> None:
    first = visitor_id(request(), "key")
    assert visitor_id(request("/other", status=304), "key") == first
    others = [
        visitor_id(Request(NOW_MS + DAY_MS, "203.0.113.9", "GET", "/", 200, BROWSER), "key"),
        visitor_id(request(ip="203.0.113.10"), "key"),
        visitor_id(request(user_agent="other"), "key"),
        visitor_id(request(), "another"),
    ]
    assert len({first, *others}) == 5


@given(st.ip_addresses())
def test_the_address_itself_is_nowhere_in_the_message(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    message = sent(request(ip=str(address)))
    assert message is not None
    network = truncated_ip(str(address))
    assert message["context"]["ip"] == network
    if network != str(address):
        assert str(address) not in str({**message, "context": {**message["context"], "ip": ""}})


def test_a_line_s_id_is_that_of_its_place_and_text() -> None:
    ids = {line_id("f", 0, b"x"), line_id("f", 1, b"x"), line_id("g", 0, b"x"), line_id("f", 0, b"y")}
    assert len(ids) == 4
    assert line_id("f", 0, b"x") in ids
