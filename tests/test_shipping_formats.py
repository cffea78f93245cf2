import json
from typing import Any

import apachelogs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.shipping import BROWSER, combined

from wakeline.shipping.formats import FORMAT_NAMES, reader_of
from wakeline.shipping.request import BadLineError, Request

# https://httpd.apache.org/docs/current/logs.html#accesslog
APACHE_COMMON = '127.0.0.1 - frank [10/Oct/2000:13:55:36 -0700] "GET /apache_pb.gif HTTP/1.0" 200 2326'
APACHE_COMBINED = APACHE_COMMON + ' "http://www.example.com/start.html" "Mozilla/4.08 [en] (Win98; I ;Nav)"'
OCTOBER_2000_MS = 971_211_336_000

# The shape of https://caddyserver.com/docs/logging#structured-logs.
CADDY: dict[str, Any] = {
    "level": "info",
    "ts": 1646861401.5241024,
    "logger": "http.log.access",
    "msg": "handled request",
    "request": {
        "remote_ip": "127.0.0.1",
        "remote_port": "41342",
        "client_ip": "203.0.113.9",
        "proto": "HTTP/2.0",
        "method": "GET",
        "host": "shop.example.com",
        "uri": "/shirts?utm_source=news",
        "headers": {"User-Agent": [BROWSER], "Referer": ["https://search.example/"], "Cookie": ["uid=42; x=y"]},
    },
    "duration": 0.000929675,
    "size": 10900,
    "status": 200,
    "resp_headers": {"Content-Type": ["text/html; charset=utf-8"]},
}
NGINX: dict[str, Any] = {
    "time_iso8601": "2026-11-24T09:30:00+01:00",
    "remote_addr": "203.0.113.9",
    "request": "GET /shirts?size=m HTTP/1.1",
    "status": "200",
    "http_referer": "-",
    "http_user_agent": BROWSER,
    "host": "shop.example.com",
    "scheme": "https",
    "sent_http_content_type": "text/html",
    "cookie_uid": "42",
}
NOVEMBER_2026_MS = 1_795_509_000_000


def read(line: str, format_name: str = "auto", **names: str) -> Request:
    return reader_of(format_name, names)(line)


@pytest.mark.parametrize("format_name", ["auto", "combined"])
def test_a_combined_line_is_read(format_name: str) -> None:
    assert read(APACHE_COMBINED, format_name) == Request(
        at_ms=OCTOBER_2000_MS,
        ip="127.0.0.1",
        method="GET",
        target="/apache_pb.gif",
        status=200,
        user_agent="Mozilla/4.08 [en] (Win98; I ;Nav)",
        referrer="http://www.example.com/start.html",
        fields={"remote_user": "frank"},
    )


@pytest.mark.parametrize("format_name", ["auto", "common"])
def test_a_common_line_is_read(format_name: str) -> None:
    request = read(APACHE_COMMON, format_name)
    assert (request.at_ms, request.target, request.user_agent) == (OCTOBER_2000_MS, "/apache_pb.gif", "")


def test_escaped_quotes_and_bytes_are_unpacked() -> None:
    line = combined(r"/search?q=\x22caf\xc3\xa9\x22", agent=r"cut \xff short").rstrip()
    request = read(line)
    assert request.target == '/search?q="café"'
    assert request.user_agent == "cut \N{REPLACEMENT CHARACTER} short"


ESCAPED = st.lists(st.sampled_from(["a", " ", "]", "[", r"\x22", r"\"", r"\\", r"\t", r"\xc3\xa9"]), max_size=8).map(
    "".join
)


# apachelogs itself takes a bracket in a user's name for the time.
@given(ESCAPED.filter(lambda text: "[" not in text), ESCAPED, ESCAPED)
def test_a_line_is_read_as_apachelogs_reads_it(user: str, referrer: str, agent: str) -> None:
    line = f'::1 - {user} [24/Nov/2026:09:30:00 +0100] "GET / HTTP/1.1" 200 5 "{referrer}" "{agent}"'
    expected = apachelogs.LogParser(apachelogs.COMBINED, encoding="utf-8", errors="replace").parse(line)
    found = read(line, "combined")
    assert found.user_agent == (expected.headers_in["User-Agent"] or "")
    assert found.referrer == (expected.headers_in["Referer"] or "")
    assert found.fields.get("remote_user", "") == (expected.remote_user or "")
    assert found.ip == expected.remote_host


def test_a_bracket_in_a_user_s_name_is_not_the_time() -> None:
    assert read(APACHE_COMBINED.replace("frank", "frank [x] y")).fields == {"remote_user": "frank [x] y"}


def test_text_that_a_server_did_not_escape_is_read() -> None:
    assert read(combined("/cafés/中", agent="☕").rstrip()).target == "/cafés/中"


def test_a_caddy_line_is_read() -> None:
    request = read(json.dumps(CADDY))
    assert (request.at_ms, request.ip, request.method) == (1_646_861_401_524, "203.0.113.9", "GET")
    assert (request.target, request.status, request.host) == ("/shirts?utm_source=news", 200, "shop.example.com")
    assert (request.user_agent, request.referrer) == (BROWSER, "https://search.example/")
    assert (request.content_type, request.cookie) == ("text/html; charset=utf-8", "uid=42; x=y")


def test_an_nginx_line_is_read() -> None:
    request = read(json.dumps(NGINX))
    assert (request.at_ms, request.method, request.target) == (NOVEMBER_2026_MS, "GET", "/shirts?size=m")
    assert (request.referrer, request.scheme, request.fields["cookie_uid"]) == ("", "https", "42")


@pytest.mark.parametrize(
    "time_told",
    [1_795_509_000, "1795509000.000", 1_795_509_000_000, "2026-11-24T08:30:00Z", "24/Nov/2026:09:30:00 +0100"],
)
def test_times_are_read_as_servers_write_them(time_told: object) -> None:
    assert read(json.dumps({**NGINX, "time_iso8601": time_told})).at_ms == NOVEMBER_2026_MS


def test_fields_can_have_names_of_their_own() -> None:
    line = json.dumps({**NGINX, "client": {"addresses": ["198.51.100.7"]}})
    assert read(line, "json", ip="client.addresses.0").ip == "198.51.100.7"


@pytest.mark.parametrize("request_line", ["", "-", r"\x16\x03\x01", "SSH-2.0-x"])
def test_what_the_server_refused_to_read_is_no_bad_line(request_line: str) -> None:
    clf = APACHE_COMMON.replace("GET /apache_pb.gif HTTP/1.0", request_line).replace(" 200 ", " 400 ")
    assert read(clf).method == read(json.dumps({**NGINX, "request": request_line, "status": 400})).method == ""


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("", "neither in the combined nor in the common log format, nor JSON"),
        ("127.0.0.1 - - [", "neither in the combined"),
        (APACHE_COMBINED[:-20], "neither in the combined"),
        (APACHE_COMMON.replace("10/Oct", "10/Foo"), "neither in the combined"),
        (APACHE_COMMON.replace("GET /apache_pb.gif HTTP/1.0", "hello"), "request line is not METHOD TARGET VERSION"),
        ('{"status": 200', "not JSON"),
        ("{}", "has no status"),
        (json.dumps({**NGINX, "status": "ok"}), "status is not a number"),
        (json.dumps({**NGINX, "request": None}), "request line is not"),
        (json.dumps({**NGINX, "time_iso8601": None}), "has no time .looked for time_iso8601, "),
        (json.dumps({**NGINX, "time_iso8601": "yesterday"}), "time is neither ISO 8601"),
        (json.dumps({**NGINX, "time_iso8601": "nan"}), "time is out of range"),
        (json.dumps({**NGINX, "time_iso8601": 1e300}), "time is out of range"),
    ],
)
def test_a_line_that_cannot_be_read_says_why(line: str, reason: str) -> None:
    with pytest.raises(BadLineError, match=reason):
        read(line)


@pytest.mark.parametrize("format_name", sorted(set(FORMAT_NAMES) - {"auto"}))
def test_a_format_that_was_named_is_not_guessed(format_name: str) -> None:
    others = {"combined": APACHE_COMMON, "common": APACHE_COMBINED, "json": APACHE_COMMON}
    with pytest.raises(BadLineError):
        read(others[format_name], format_name)
