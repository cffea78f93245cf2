"""The public browser clients, unmodified, in a real Chromium: every event arrives in ClickHouse.

A page talks to its own host and to the collector, and to nobody else.
"""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import orjson
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page
from playwright.sync_api import Request as BrowserRequest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import Route
from support.browser import open_browser, open_context
from support.clients import ARRIVED, Given, bundle, sorted_events
from support.clocks import Hand
from support.ports import free_ports
from support.serving import collecting, serving
from support.warehouse import Site

from wakeline.clock import system_clock

pytestmark = pytest.mark.stack


@pytest.fixture
def clock() -> Hand:
    return Hand(system_clock())


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundle("browser.mjs", tmp_path_factory.mktemp("bundle"))


def shop(script: Path, settings: dict[str, str]) -> Starlette:
    """A page, of another origin than the collector, that runs a client."""
    page = (
        "<!doctype html><meta charset=utf-8><link rel=icon href=data:,><title>Shop</title><body style='height:3000px'>"
        "<script src=/settings.js></script><script type=module src=/bundle.js></script>"
    )

    def settings_script(request: Request) -> Response:
        return Response("window.settings = " + orjson.dumps(settings).decode(), media_type="text/javascript")

    return Starlette(
        routes=[
            Route("/", lambda request: HTMLResponse(page)),
            Route("/settings.js", settings_script),
            Route("/bundle.js", lambda request: FileResponse(script, media_type="text/javascript")),
        ]
    )


def is_ping(request: BrowserRequest) -> bool:
    """Whether a request carries a Snowplow page ping."""
    return "e=pp" in request.url or '"e":"pp"' in (request.post_data or "")


def watched(page: Page, hosts: set[str]) -> list[str]:
    """Errors on the console, and requests to other hosts: filled while the page is open."""
    problems: list[str] = []

    def note_console(message: ConsoleMessage) -> None:
        if message.type == "error":
            problems.append(message.text)

    def note_request(request: BrowserRequest) -> None:
        address = urlsplit(request.url)
        if address.scheme != "data" and address.netloc not in hosts:
            problems.append(request.url)

    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", note_console)
    page.on("request", note_request)
    return problems


def visit(browser: Browser, address: str, collector: str, pings: int) -> list[Given]:
    """What the client was given; returns when it has no request under way, after this many page pings.

    Then 35 seconds pass at once: what a client does twice a minute must not go elsewhere either. Not for one that
    pings: it always has a request under way, which would time out.
    """
    with open_context(browser) as context:
        page = context.new_page()
        problems = watched(page, {urlsplit(address).netloc, urlsplit(collector).netloc})
        page.clock.install()
        page.goto(address)
        page.wait_for_function("window.done", timeout=30_000)
        for _ in range(pings):
            with page.expect_request(is_ping, timeout=20_000):
                page.mouse.wheel(0, 150)
                page.mouse.move(100, 100)
        page.wait_for_load_state("networkidle")
        if not pings:
            page.clock.fast_forward(35_000)
            page.wait_for_load_state("networkidle")
        given: list[Given] = [tuple(one) for one in page.evaluate("window.given")]
        assert problems == []
        return given


@pytest.mark.parametrize(
    ("client", "pings"),
    [
        ("segment", 0),
        ("segment-batching", 0),
        ("rudder", 0),
        ("rudder-beacon", 0),
        ("jitsu", 0),
        ("snowplow", 2),
        ("snowplow-get", 2),
    ],
)
def test_every_event_of_a_public_browser_client_arrives_in_clickhouse(
    site: Site, browser: Browser, script: Path, client: str, pings: int
) -> None:
    settings = {"client": client, "writeKey": site.settings.collector.write_key}
    with serving(shop(script, settings)) as origin:
        [port] = free_ports(1)
        public = {"public_url": f"http://127.0.0.1:{port}"}
        changed = site.with_settings(collector={"allowed_origins": [origin], "port": port}, activation=public)
        with collecting(changed.settings) as address:
            settings["address"] = address
            given = visit(browser, origin, address, pings)
    site.clock.now_ms = system_clock()
    site.play([])
    arrived = sorted_events(site.rows(ARRIVED))
    assert [one for one in arrived if one[1] != "Page Engaged"] == sorted_events(given)
    assert len([one for one in arrived if one[1] == "Page Engaged"]) >= pings
    assert set(site.statuses()) == {"accepted"}
