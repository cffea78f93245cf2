"""What the collector knows of a visitor, and what it never keeps."""

from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from support.collecting import WRITE_KEY, Collector

from wakeline.collector.visitor import Visitor, describe, truncated_ip, visitor_of

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.4"
    " Mobile/15E148 Safari/604.1"
)
PROXIES = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[Collector]:
    made = Collector(tmp_path)
    yield made
    made.stream.close()


def request(peer: str = "203.0.113.7", **headers: str) -> Request:
    named = {"origin": "https://shop.example.com", **{name.replace("_", "-"): value for name, value in headers.items()}}
    raw = [(name.encode(), value.encode()) for name, value in named.items()]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": raw, "client": (peer, 1)})


@pytest.mark.parametrize(
    ("address", "kept"),
    [
        ("203.0.113.7", "203.0.113.0"),
        ("0.0.0.0", "0.0.0.0"),  # noqa: S104 - what anonymising SDKs send
        ("2001:db8:1:2:3::4", "2001:db8:1::"),
        ("::ffff:203.0.113.7", "203.0.113.0"),
        ("", ""),
        ("203.0.113.7:8080", ""),
        ("somebody", ""),
    ],
)
def test_an_address_keeps_its_network_only(address: str, kept: str) -> None:
    assert truncated_ip(address) == kept


@given(st.ip_addresses())
def test_two_people_of_a_network_cannot_be_told_apart(address: object) -> None:
    kept = truncated_ip(str(address))
    assert truncated_ip(kept) == kept
    assert kept == str(ip_network(kept).network_address)


def test_a_browsers_agent_and_network_are_filled_in() -> None:
    message: dict[str, object] = {"context": {"locale": "en"}}
    describe(message, Visitor("203.0.113.7", FIREFOX))
    assert message["context"] == {
        "locale": "en",
        "ip": "203.0.113.0",
        "userAgent": FIREFOX,
        "browser": {"name": "Firefox", "version": "128.0"},
        "os": {"name": "Linux"},
    }


def test_what_the_client_says_stays_but_for_the_address() -> None:
    message = {"context": {"ip": "198.51.100.9", "userAgent": IPHONE, "os": {"name": "iPadOS"}}}
    describe(message, Visitor("203.0.113.7", FIREFOX))
    assert message["context"] == {
        "ip": "198.51.100.0",
        "userAgent": IPHONE,
        "os": {"name": "iPadOS"},
        "browser": {"name": "Mobile Safari", "version": "17.4"},
        "device": {"manufacturer": "Apple", "model": "iPhone"},
    }


@pytest.mark.parametrize("message", [None, 7, [], {"context": "text"}, {"context": []}, {"context": {"userAgent": 7}}])
def test_nothing_is_added_to_what_is_no_message(message: object) -> None:
    before = repr(message)
    describe(message, Visitor())
    assert repr(message) == before


def test_a_server_is_no_visitor() -> None:
    bare = Request({"type": "http", "headers": [(b"user-agent", b"python")], "client": ("203.0.113.7", 1)})
    assert visitor_of(bare, []) == Visitor()


@pytest.mark.parametrize(
    ("peer", "forwarded", "found"),
    [
        ("203.0.113.7", "", "203.0.113.7"),
        ("203.0.113.7", "1.2.3.4", "203.0.113.7"),
        ("10.0.0.1", "198.51.100.9", "198.51.100.9"),
        ("10.0.0.1", "1.2.3.4, 198.51.100.9, 10.2.2.2", "198.51.100.9"),
        ("10.0.0.1", "10.9.9.9", "10.9.9.9"),
        ("fd00::1", "2001:db8::1", "2001:db8::1"),
        ("10.0.0.1", "nonsense", "nonsense"),
    ],
)
def test_only_a_trusted_proxy_is_believed(peer: str, forwarded: str, found: str) -> None:
    assert visitor_of(request(peer, x_forwarded_for=forwarded), PROXIES).ip == found


def test_no_full_address_reaches_the_stream(collector: Collector) -> None:
    async def post(client: httpx.AsyncClient) -> httpx.Response:
        headers = {"Origin": "https://shop.example.com", "User-Agent": IPHONE}
        message = {"anonymousId": "ann", "event": "Product Viewed", "context": {"ip": "198.51.100.9"}}
        return await client.post("/v1/track", json=message, headers=headers, auth=(WRITE_KEY, ""))

    assert collector.talk(post).status_code == 200
    [message] = collector.messages()
    assert message["context"]["ip"] == "198.51.100.0"
    assert b"198.51.100.9" not in collector.records()[0].value
