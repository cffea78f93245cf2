"""Lines that a stranger can have a server write: none stops the shipper, is counted wrong, or costs its neighbour."""

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.clocks import Hand
from support.messages import record
from support.shipping import BROWSER, WRITE_KEY, Arrivals, Served, combined, served_collector

from wakeline.pipeline.classify import classify
from wakeline.play.collector_client import CollectorClient
from wakeline.play.pacing import Pacer
from wakeline.shipping.following import look, ship_once
from wakeline.shipping.formats import FORMAT_NAMES, reader_of
from wakeline.shipping.logfile import MAX_LINE_BYTES
from wakeline.shipping.messages import Rules, page_message
from wakeline.shipping.position_file import PositionFile
from wakeline.shipping.shipper import Counts, Shipper
from wakeline.shipping.transport import Carrier

RULES = Rules("key", user_field="remote_user", anonymous_field="cookie:wl", site="https://shop.example.com")
EVENT_LIMIT_BYTES = 262_144
GOOD_PATH = "/the-next-line"
GOOD_COMBINED = combined(GOOD_PATH, second=59)
GOOD = {
    "auto": GOOD_COMBINED,
    "combined": GOOD_COMBINED,
    "common": GOOD_COMBINED.partition(' "https://')[0] + "\n",
    "json": json.dumps({"ts": 1_795_509_059, "status": 200, "request": f"GET {GOOD_PATH} HTTP/2"}) + "\n",
}
CADDY: dict[str, Any] = {
    "ts": 1_795_509_000.5,
    "status": 200,
    "host": "shop.example.com",
    "http_cookie": "wl=abc",
    "request": {"method": "GET", "uri": "/", "client_ip": "203.0.113.9", "headers": {"User-Agent": [BROWSER]}},
}


@dataclass(frozen=True)
class Shop:
    """A running collector, and one connection to it: to make one takes longer than all the rest."""

    served: Served
    client: CollectorClient


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with (
        served_collector(tmp_path_factory.mktemp("collector")) as served,
        CollectorClient(served.url, WRITE_KEY, Hand()) as client,
    ):
        yield Shop(served, client)


def no_warning(sentence: str) -> None:
    raise AssertionError(sentence)


def shipped(client: CollectorClient, folder: Path, format_name: str, content: bytes) -> Counts:
    """What became of a log with this content, given to a collector that is tried once."""
    log, positions, hand = folder / "access.log", PositionFile(folder / "state.json"), Hand()
    log.write_bytes(content)
    carrier = Carrier(client.post, Pacer(hand, hand.sleep, lambda: False, lambda: None), 0)
    shipper = Shipper(
        reader_of(format_name, {}),
        lambda request, message_id: page_message(request, message_id, RULES),
        carrier.deliver,
        positions,
        hand,
    )
    ship_once(log, look(log, positions, hand()), shipper, no_warning)
    position = positions.load()
    assert position is not None
    assert position.offset == len(content)
    assert rows_of(positions) == shipper.counts.rejected
    return shipper.counts


def rows_of(positions: PositionFile) -> int:
    """How many rejected lines were kept, each with its reason."""
    if not positions.rejected_path.exists():
        return 0
    rows = [json.loads(line) for line in positions.rejected_path.read_bytes().splitlines()]
    assert all(row["reason"] for row in rows)
    return len(rows)


def check(running: Shop, format_name: str, line: bytes) -> Counts:
    """Ship the line and a good one after it; the good one arrives, and nothing that the pipeline would not take."""
    arrivals = Arrivals(running.served)
    with tempfile.TemporaryDirectory() as folder:
        counts = shipped(running.client, Path(folder), format_name, line + b"\n" + GOOD[format_name].encode())
    messages = arrivals.messages()
    assert counts.lines == counts.sent + counts.skipped + counts.rejected == 2
    assert len(messages) == counts.sent
    assert GOOD_PATH in [message["properties"]["path"] for message in messages]
    rows = [classify(record(message), EVENT_LIMIT_BYTES) for message in messages]
    assert {(row.status, row.reason) for row in rows} == {("accepted", "")}
    return counts


TEXTS = st.text(st.characters(exclude_characters="\n"), max_size=60) | st.sampled_from(
    ["", "-", "\0", "\r", "//x/y", "http://[::1/", "/\ud800", "/?utm_source=%00%ff", "/" + "ß" * 300, "GET / HTTP/1.1"]
)
NUMBERS = st.integers() | st.floats() | st.sampled_from([10**400, -1, 1e300, "9" * 5_000, "1e400", "nan", "-0.0"])
TIMES = st.sampled_from(
    [
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59-23:59",
        "31/Dec/9999:23:59:59 -2359",
        "24/Nov/2026:09:30:00 +0100",
        "31/Feb/2026:00:00:00 +0000",
        "1960-01-01",
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS | TIMES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
#: What a stranger may have a say in, and what only a broken server would write.
PLACES: dict[str, Callable[[Any], dict[str, Any]]] = {
    "time": lambda value: {"ts": value},
    "status": lambda value: {"status": value},
    "host": lambda value: {"host": value},
    "user": lambda value: {"remote_user": value},
    "cookie": lambda value: {"http_cookie": value},
    "cookie value": lambda value: {"http_cookie": f"a=b; wl={value}"},
    "uri": lambda value: {"request": {**CADDY["request"], "uri": value}},
    "address": lambda value: {"request": {**CADDY["request"], "client_ip": value}},
    "headers": lambda value: {"request": {**CADDY["request"], "headers": value}},
    "request": lambda value: {"request": value},
}
#: Values that get far enough to do harm there.
LIKELY = {"time": TIMES | NUMBERS, "status": NUMBERS, "cookie value": TEXTS | st.just("x" * 300)}


@st.composite
def json_lines(draw: st.DrawFn) -> bytes:
    """A line as Caddy writes it, but for two values; with a key twice; cut somewhere."""
    told = dict(CADDY)
    for place in draw(st.lists(st.sampled_from(sorted(PLACES)), min_size=1, max_size=2)):
        told |= PLACES[place](draw(LIKELY.get(place, VALUES)))
    text = json.dumps(told, ensure_ascii=draw(st.booleans()))
    cut = text[: draw(st.integers(0, len(text)))]
    text = draw(st.sampled_from([text, text, text, text[:-1] + ', "status": "304"}', cut]))
    return text.encode(errors="surrogatepass").replace(b"\n", b" ")


@st.composite
def clf_lines(draw: st.DrawFn) -> bytes:
    """A line as Apache writes it, but for two pieces between its delimiters."""
    pieces = ["203.0.113.9", "-", "ann", "24/Nov/2026:09:30:00 +0100", "GET / HTTP/1.1", "200", "512", "-", BROWSER]
    for place in draw(st.lists(st.integers(0, len(pieces) - 1), max_size=2)):
        pieces[place] = draw(st.one_of(TEXTS, TIMES, NUMBERS.map(str), st.just(r"\x16\x03" * 20), st.just("\\")))
    ip, ident, user, at, request, status, size, referrer, agent = pieces
    end = draw(st.sampled_from([f' "{referrer}" "{agent}"', "", " ", f' "{referrer}" "{agent}']))
    text = f'{ip} {ident} {user} [{at}] "{request}" {status} {size}{end}'
    return text.encode(errors="surrogatepass").replace(b"\n", b" ")


RAW_LINES = st.binary(max_size=80).map(lambda raw: raw.replace(b"\n", b""))


LINES = st.one_of(
    st.tuples(st.sampled_from(["auto", "json"]), json_lines()),
    st.tuples(st.sampled_from(["auto", "combined", "common"]), clf_lines()),
    st.tuples(st.sampled_from(FORMAT_NAMES), RAW_LINES),
)


@given(LINES)
@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_every_line_is_sent_skipped_or_rejected_and_the_next_is_sent(running: Shop, case: tuple[str, bytes]) -> None:
    check(running, *case)


def of_json(**told: Any) -> bytes:
    return json.dumps({**CADDY, **told}).encode()


def of_uri(uri: str) -> bytes:
    return of_json(request={**CADDY["request"], "uri": uri})


@pytest.mark.parametrize(
    "line",
    [
        of_uri("/" + "x" * 150_000),
        of_json(deep=json.loads("[" * 900 + "]" * 900)),
        b'{"a":' * 1_000 + b"1" + b"}" * 1_000,
        b'{"a":' * 20_000,
        of_json(status="9" * 5_000),
        of_json(status=-200),
        of_json(ts="0001-01-01T00:00:00+23:59"),
        of_json(ts="9999-12-31T23:59:59-23:59"),
        of_json(http_cookie=f"wl={'x' * 300}"),
        combined("/").replace("2026:09:30:00 +0100", "9999:23:59:59 -2359").rstrip().encode(),
        b"x" * (MAX_LINE_BYTES + 1),
        b"x" * (3 * MAX_LINE_BYTES),
    ],
    ids=range(12),
)
def test_what_cannot_be_a_message_is_rejected(running: Shop, line: bytes) -> None:
    counts = check(running, "auto", line)
    assert (counts.sent, counts.rejected) == (1, 1)


@pytest.mark.parametrize(
    ("format_name", "line"),
    [
        ("auto", combined("/").partition(' "https://')[0].replace("GET / HTTP/1.1", r"\x16\x03" * 40).encode()),
        ("combined", combined("/" + r"\x16" * 60, agent="x").rstrip()[:-1].encode()),
        ("combined", b" " * 200_000),
        ("auto", b"203.0.113.9 - " + b" " * 200_000 + b"\\"),
        ("auto", b"203.0.113.9 - - [" * 15_000),
        ("auto", combined("/", agent="bot/ " * 40_000).rstrip().encode()),
        ("auto", of_json(http_cookie='wl="' + '\\"' * 60_000 + '"')),
        ("auto", of_json(**{"k" * 50_000: [1] * 60_000})),
        ("auto", b"[" * 200_000),
    ],
    ids=range(9),
)
def test_no_line_takes_long(running: Shop, format_name: str, line: bytes) -> None:
    """Each of these took minutes, or all memory; five seconds are far more than any takes now."""
    started = time.process_time()
    check(running, format_name, line)
    assert time.process_time() - started < 5


def test_rejected_lines_do_not_pile_up_in_memory(tmp_path: Path) -> None:
    saved: list[int] = []
    log, positions = tmp_path / "access.log", PositionFile(tmp_path / "state.json")
    log.write_bytes((b"x" * MAX_LINE_BYTES + b"\n") * 200)
    shipper = Shipper(
        reader_of("auto", {}),
        lambda request, message_id: None,
        lambda batch: True,
        positions,
        Hand(),
        report=lambda counts: saved.append(counts.lines),
    )
    ship_once(log, look(log, positions, 0), shipper, no_warning)
    assert saved == [62, 124, 186, 200]
