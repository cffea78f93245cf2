"""The browser SDK in a real browser, against the real collector."""

import base64
import hashlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from playwright.sync_api import Browser, BrowserContext, Page
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import Message, Receive, Scope, Send
from support.browser import open_browser, open_context

from wakeline.clock import system_clock
from wakeline.collector.app import create_app
from wakeline.events import decode
from wakeline.settings import CollectorSettings, Settings
from wakeline.streams.embedded import EmbeddedStream

pytestmark = pytest.mark.stack

STATIC = Path(__file__).resolve().parent.parent / "wakeline" / "collector" / "static"
WRITE_KEY = "the-write-key"
PATIENCE_SECONDS = 30

Event = dict[str, Any]

_HTML = """<!doctype html><html><head><title>Shop</title>{head}</head><body>{body}</body></html>"""


@dataclass
class Answer:
    """What the server says instead of handing a batch to the collector."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: str = '{"error": "made up"}'


class Site:
    """The collector, and a shop's pages on the same port."""

    def __init__(self, folder: Path, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.other_url = f"http://shop.localhost:{port}"
        self.body = ""
        self.head: str | None = None
        self.options: dict[str, str] = {}
        self.page_headers: dict[str, str] = {}
        self.answers: list[Answer] = []
        self.posts: list[dict[str, Any]] = []
        self.methods: list[str] = []
        self._arrived = threading.Condition()
        settings = Settings(
            data_dir=folder,
            collector=CollectorSettings(write_key=WRITE_KEY, allowed_origins=[self.other_url]),
        )
        stream_path = folder / "stream.sqlite"
        self._reader = EmbeddedStream(stream_path, "events", 2, system_clock)
        stream = EmbeddedStream(stream_path, "events", 2, system_clock)
        self._collector = create_app(settings, stream, system_clock, lambda: 0)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self._collector(scope, receive, send)
        request = Request(scope, receive)
        if request.url.path == "/v1/batch":
            return await self._batch(request, send)
        return await self._page(request)(scope, receive, send)

    def events(self, name: str | None = None) -> list[Event]:
        """What is in the stream, in order of happening, each once; of this event name or type if one is given."""
        found: dict[str, Event] = {}
        for head in self._reader.heads():
            for record in self._reader.read({head.partition: head.earliest}, 100_000, 100_000_000):
                event = json.loads(decode(record.value).message)
                found.setdefault(event["messageId"], event)
        ordered = sorted(found.values(), key=lambda event: event["timestamp"])
        return [one for one in ordered if name in (None, one["type"], one.get("event"))]

    def await_events(self, name: str, count: int = 1) -> list[Event]:
        """The events of this name, as soon as there are this many."""
        with self._arrived:
            came = self._arrived.wait_for(lambda: len(self.events(name)) >= count, PATIENCE_SECONDS)
        assert came, f"{count} of {name!r} did not come, but {self._story()}."
        return self.events(name)

    def await_posts(self, count: int) -> None:
        """Returns when this many batches were posted, whatever was answered."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(self.posts) >= count, PATIENCE_SECONDS), self.posts

    def await_ids(self, ids: set[str]) -> None:
        """Returns when these messages are in the stream."""
        with self._arrived:
            came = self._arrived.wait_for(
                lambda: ids <= {event["messageId"] for event in self.events()}, PATIENCE_SECONDS
            )
        assert came, f"{ids} did not all come, but {self._story()}."

    def heartbeats(self, truth: float) -> list[Event]:
        """All heartbeats; to be called when none is under way."""
        beats = self.events("Page Engaged")
        assert engaged_seconds(beats) == pytest.approx(truth, abs=1), self._story()
        return beats

    def close(self) -> None:
        self._reader.close()

    async def _batch(self, request: Request, send: Send) -> None:
        self.methods.append(request.method)
        body = await request.body()

        async def again() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        app: Any = self._collector
        if self.answers:
            answer = self.answers.pop(0)
            app = Response(answer.body, answer.status, answer.headers)
        statuses: list[int] = []

        async def answered(message: Message) -> None:
            statuses.extend([message["status"]] if "status" in message else [])
            await send(message)

        await app(request.scope, again, answered)
        with self._arrived:
            told = {"headers": dict(request.headers), "body": json.loads(body or b"{}"), "status": statuses[0]}
            self.posts.append(told)
            self._arrived.notify_all()

    def _story(self) -> list[tuple[int, list[str]]]:
        """The answer to every batch, and what was in it."""
        return [
            (post["status"], [message.get("event", message["type"]) for message in post["body"]["batch"]])
            for post in self.posts
        ]

    def _page(self, request: Request) -> Response:
        name = request.url.path[1:]
        if name in ("wakeline.js", "loader.js"):
            headers = {"Access-Control-Allow-Origin": "*"}
            return Response((STATIC / name).read_bytes(), media_type="text/javascript", headers=headers)
        head = self._loader() if self.head is None else self.head
        return HTMLResponse(_HTML.format(head=head, body=self.body), headers=self.page_headers)

    def _loader(self) -> str:
        options = {"write-key": WRITE_KEY, "flush-seconds": "0.05", **self.options}
        attributes = " ".join(f'data-{name}="{value}"' for name, value in options.items())
        return f'<script src="/loader.js" {attributes}></script>'


@contextmanager
def serving(folder: Path) -> Iterator[Site]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        site = Site(folder, listener.getsockname()[1])
        server = uvicorn.Server(uvicorn.Config(site, log_config=None, lifespan="on", timeout_graceful_shutdown=2))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield site
        finally:
            server.should_exit = True
            thread.join()
            site.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with serving(tmp_path) as served:
        yield served


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    with open_context(browser) as opened:
        yield opened


@pytest.fixture
def page(context: BrowserContext) -> Page:
    return context.new_page()


def console_of(page: Page) -> list[str]:
    """What the page says in its console from now on."""
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(f"page error: {error}"))
    return said


def loaded(page: Page) -> None:
    page.wait_for_function("window.wakeline && window.wakeline.version")


def shown(page: Page, state: str) -> None:
    """The person switches to another tab, or back."""
    page.evaluate(
        """(state) => {
            Object.defineProperty(document, "visibilityState", { configurable: true, get: () => state });
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        state,
    )


def delivered(page: Page) -> None:
    """Returns when the collector has confirmed everything that was told so far."""
    page.wait_for_function("!Object.keys(localStorage).some((name) => name.startsWith('wakeline.queue'))")


def left_behind(site: Site, page: Page) -> set[str]:
    """Ids of the messages that a page left unconfirmed; afterwards this one has the SDK no more."""
    site.head = ""
    page.goto(site.url)
    queued = [json for name, json in stored(page).items() if name.startswith("wakeline.queue")]
    return {json.loads(text)["messageId"] for text in queued}


def statements(site: Site) -> list[dict[str, bool]]:
    """What was stated about consent, in order."""
    events = site.events("Segment Consent Preference Updated")
    return [event["context"]["consent"]["categoryPreferences"] for event in events]


def stored(page: Page) -> dict[str, str]:
    found: dict[str, str] = page.evaluate("({ ...localStorage, ...sessionStorage })")
    return found


def engaged_seconds(events: list[Event]) -> float:
    return float(sum(one["properties"]["engaged_seconds"] for one in events))


# Page views


def test_a_page_view_has_what_the_segment_spec_asks_for(site: Site, page: Page) -> None:
    page.goto(f"{site.url}/shoes?utm_source=mail&utm_campaign=autumn&size=42#top")
    [view] = site.await_events("page")
    assert view["properties"]["path"] == "/shoes"
    assert view["properties"]["url"] == f"{site.url}/shoes?utm_source=mail&utm_campaign=autumn&size=42"
    said = view["context"]
    assert said["page"]["title"] == "Shop"
    assert said["page"]["search"] == "?utm_source=mail&utm_campaign=autumn&size=42"
    assert said["campaign"] == {"source": "mail", "name": "autumn"}
    assert said["library"] == {"name": "wakeline.js", "version": "0.1.0"}
    assert {"userAgent", "locale", "timezone", "screen", "sessionId"} <= said.keys()
    assert view["anonymousId"]
    assert "userId" not in view
    assert "consent" not in said


def test_batches_are_simple_requests_without_preflight_or_cookies(site: Site, page: Page) -> None:
    page.goto(site.url)
    site.await_events("page")
    [post] = site.posts
    assert post["headers"]["content-type"].startswith("text/plain")
    assert "cookie" not in post["headers"]
    assert post["body"]["writeKey"] == WRITE_KEY
    assert post["body"]["sentAt"]
    assert page.context.cookies() == []


@pytest.mark.parametrize("with_navigation_api", [True, False])
def test_a_single_page_app_gets_one_view_for_each_address(site: Site, page: Page, with_navigation_api: bool) -> None:
    if not with_navigation_api:
        page.add_init_script("Object.defineProperty(window, 'navigation', { value: undefined })")
    page.goto(f"{site.url}/a")
    site.await_events("page")
    page.evaluate("history.pushState({}, '', '/b'); document.title = 'B'")
    site.await_events("page", 2)
    page.evaluate("history.replaceState({ again: 1 }, '', '/b'); location.hash = 'reviews'")
    page.evaluate("history.pushState({}, '', '/c')")
    site.await_events("page", 3)
    page.evaluate("history.go(-2)")
    page.wait_for_url("**/b")
    views = site.await_events("page", 4)
    assert [view["properties"]["path"] for view in views] == ["/a", "/b", "/c", "/b"]
    assert [view["properties"]["referrer"].removeprefix(site.url) for view in views] == ["", "/a", "/b", "/c"]
    assert views[1]["properties"]["title"] == "B"


def test_a_page_that_names_itself_is_viewed_once(site: Site, page: Page) -> None:
    site.head = (
        site._loader() + "<script>wakeline.page('Home', { category: 'start' }); wakeline.track('After')</script>"
    )
    page.goto(site.url)
    site.await_events("After")
    [view] = site.events("page")
    assert view["name"] == view["properties"]["name"] == "Home"
    assert view["properties"]["category"] == "start"


def test_page_views_can_be_turned_off(site: Site, page: Page) -> None:
    site.options = {"page-views": "false"}
    page.goto(site.url)
    loaded(page)
    page.evaluate("wakeline.track('Only This')")
    site.await_events("Only This")
    assert site.events("page") == []


def test_a_page_that_is_only_prepared_is_viewed_when_it_is_shown(site: Site, page: Page) -> None:
    page.add_init_script("Object.defineProperty(document, 'prerendering', { configurable: true, value: true })")
    page.goto(site.url)
    loaded(page)
    page.evaluate("wakeline.track('Prepared'); wakeline.flush()")
    assert stored(page) == {}
    page.evaluate("document.dispatchEvent(new Event('prerenderingchange'))")
    site.await_events("Prepared")
    assert len(site.await_events("page")) == 1


def test_a_page_that_comes_back_by_the_back_button_is_viewed_again(site: Site, page: Page) -> None:
    site.options = {"flush-seconds": "600"}
    page.goto(site.url)
    loaded(page)
    page.evaluate("dispatchEvent(new PageTransitionEvent('pagehide', { persisted: true }))")
    site.await_events("page")
    page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")
    page.wait_for_function("!Object.keys(localStorage).some((name) => name.startsWith('wakeline.queue'))")
    page.evaluate("wakeline.flush()")
    assert len(site.await_events("page", 2)) == 2


# Clicks


def test_clicks_are_told_by_data_attribute(site: Site, page: Page) -> None:
    site.body = """
        <button data-wakeline-event="Coupon Copied" data-wakeline-property-code="A1"
                data-wakeline-property-coupon_name="Ten"><b>Copy</b></button>
        <a id="more" href="#more" data-wakeline-click>  Read
           more </a><p>nothing</p>"""
    page.goto(site.url)
    loaded(page)
    page.click("p")
    page.click("b")
    page.click("#more")
    [clicked] = site.await_events("Element Clicked")
    assert clicked["properties"] == {"text": "Read more", "href": f"{site.url}/#more", "id": "more"}
    [copied] = site.events("Coupon Copied")
    assert copied["properties"] == {"code": "A1", "coupon_name": "Ten"}
    assert len(site.events()) == 3


# Calls


def test_calls_before_the_script_is_there_are_not_lost(site: Site, page: Page) -> None:
    site.head = site._loader() + "<script>wakeline.track('Early', { n: 1 }); wakeline.identify('ann')</script>"
    page.goto(site.url)
    [identified] = site.await_events("identify")
    assert identified["userId"] == "ann"
    [early] = site.events("Early")
    assert early["properties"] == {"n": 1}
    assert page.evaluate("wakeline.length") == 0


def test_a_tag_manager_can_push_calls_before_and_after(site: Site, page: Page) -> None:
    site.head = f"""<script>
        window.wakeline = [];
        const push = (call) => window.wakeline.push(call);
        push(["track", "Before"]);
        push(["init", {{ writeKey: "{WRITE_KEY}", flushSeconds: 0.05, pageViews: false }}]);
        (function () {{ push(arguments) }})("track", "Arguments");
        </script><script async src="/wakeline.js"></script>"""
    page.goto(site.url)
    loaded(page)
    page.evaluate("window.wakeline.push(['track', 'After'])")
    site.await_events("After")
    assert [one["event"] for one in site.events()] == ["Before", "Arguments", "After"]


def test_shop_events_have_segments_names(site: Site, page: Page) -> None:
    page.goto(site.url)
    loaded(page)
    names = {
        "productListViewed": "Product List Viewed",
        "productViewed": "Product Viewed",
        "productAdded": "Product Added",
        "productRemoved": "Product Removed",
        "cartViewed": "Cart Viewed",
        "checkoutStarted": "Checkout Started",
        "orderCompleted": "Order Completed",
    }
    page.evaluate("(methods) => methods.forEach((name) => wakeline[name]({ order_id: name }))", list(names))
    site.await_events("Order Completed")
    told = {one["properties"]["order_id"]: one["event"] for one in site.events("track")}
    assert told == names


def test_a_person_is_known_until_reset(site: Site, page: Page) -> None:
    page.goto(site.url)
    loaded(page)
    page.evaluate("wakeline.identify('ann', { email: 'ann@example.com' })")
    page.evaluate("wakeline.group('club', { size: 2 }); wakeline.track('Known')")
    site.await_events("Known")
    page.reload()
    site.await_events("page", 2)
    page.evaluate("wakeline.alias('anna'); wakeline.reset(); wakeline.track('Unknown')")
    [unknown] = site.await_events("Unknown")
    [known], [identified], [aliased] = site.events("Known"), site.events("identify"), site.events("alias")
    assert identified["traits"] == {"email": "ann@example.com"}
    assert known["userId"] == site.events("page")[-1]["userId"] == site.events("group")[0]["userId"] == "ann"
    assert (aliased["previousId"], aliased["userId"]) == ("ann", "anna")
    assert "userId" not in unknown
    assert unknown["anonymousId"] != known["anonymousId"]
    assert unknown["context"]["sessionId"] != known["context"]["sessionId"]
    others = [one for one in site.events() if one is not identified and one["type"] != "identify"]
    assert "ann@example.com" not in json.dumps(others)


def test_a_session_ends_after_half_an_hour_without_events(site: Site, page: Page) -> None:
    page.clock.install()
    page.goto(site.url)
    loaded(page)
    page.clock.run_for(1_000)
    site.await_events("page")
    page.clock.fast_forward(29 * 60_000)
    page.evaluate("wakeline.track('Same')")
    page.clock.fast_forward(31 * 60_000)
    page.evaluate("wakeline.track('Next')")
    page.clock.run_for(1_000)
    [following] = site.await_events("Next")
    [same] = site.events("Same")
    [view] = site.events("page")
    assert same["context"]["sessionId"] == view["context"]["sessionId"]
    assert following["context"]["sessionId"] != same["context"]["sessionId"]


def test_wrong_calls_say_so_in_the_console_and_never_throw(site: Site, page: Page) -> None:
    site.head = "<script src='/wakeline.js'></script>"
    said = console_of(page)
    page.goto(site.url)
    page.evaluate("wakeline.init({})")
    page.evaluate("wakeline.init({ writeKey: 'k', heartBeat: 3 })")
    page.evaluate("wakeline.init({ writeKey: 'k', storage: 'cookie' })")
    page.evaluate(f"wakeline.init({{ writeKey: '{WRITE_KEY}', flushSeconds: 0.05 }})")
    page.evaluate("wakeline.track()")
    page.evaluate("wakeline.push(['toString'])")
    page.evaluate("const loop = {}; loop.loop = loop; wakeline.track('Loop', loop)")
    page.evaluate("wakeline.track('Huge', { text: 'x'.repeat(300000) })")
    page.evaluate("wakeline.track('Fine', { text: 'x'.repeat(40000) })")
    site.await_events("Fine")
    assert {one.get("event") for one in site.events()} == {None, "Fine"}
    for part in ('"writeKey"', '"heartBeat"', '"storage"', "name of an event", '"toString"', "circular", "is not sent"):
        assert any(part in text for text in said), (part, said)
    assert not [text for text in said if text.startswith("page error")]


# Engagement


def test_engaged_seconds_are_those_with_a_visible_page_and_an_active_person(site: Site, page: Page) -> None:
    page.clock.install()
    page.goto(site.url)
    loaded(page)
    page.clock.pause_at(page.evaluate("Date.now()") / 1_000 + 1)
    page.evaluate("wakeline.setPageProperties({ category: 'shoes', product_id: 'p1' })")
    page.clock.run_for(100)
    shown(page, "hidden")
    before = engaged_seconds(site.await_events("Page Engaged"))
    page.clock.run_for(5_000)
    shown(page, "visible")
    page.clock.run_for(12_000)  # 12 s, nothing but looking
    page.mouse.move(10, 10)
    page.clock.run_for(40_000)  # 15 s, then idle
    delivered(page)
    site.heartbeats(before + 12 + 15)
    page.keyboard.press("a")
    page.clock.run_for(4_500)  # 4.5 s
    page.clock.fast_forward(3_600_000)  # asleep: less than a second counts
    shown(page, "hidden")
    page.clock.run_for(60_000)
    delivered(page)
    beats = site.heartbeats(before + 12 + 15 + 4.5)
    assert all(0 < beat["properties"]["engaged_seconds"] <= 11.1 for beat in beats[1:])
    assert beats[-1]["properties"]["category"] == "shoes"
    assert beats[-1]["properties"]["product_id"] == "p1"
    assert beats[-1]["properties"]["path"] == "/"


def test_engaged_seconds_agree_with_the_pages_own_clock(site: Site, page: Page) -> None:
    site.options = {"heartbeat-seconds": "0.5", "idle-seconds": "20"}
    page.add_init_script("window.began = performance.now()")
    page.goto(site.url)
    loaded(page)
    page.wait_for_function("performance.now() - window.began > 2500")
    shown(page, "hidden")
    truth = page.evaluate("performance.now() - window.began") / 1_000
    site.await_events("Page Engaged", 2)
    page.wait_for_function("performance.now() - window.began > 4000")
    shown(page, "visible")
    page.evaluate("window.back = performance.now()")
    page.wait_for_function("performance.now() - window.back > 1200")
    truth += page.evaluate("performance.now() - window.back") / 1_000
    page.goto("about:blank")
    site.await_ids(left_behind(site, page))
    site.heartbeats(truth)


def test_scroll_depth_is_the_deepest_so_far(site: Site, page: Page) -> None:
    site.body = "<div id='long'></div>"
    page.goto(site.url)
    loaded(page)
    page.evaluate("document.getElementById('long').style.height = `${innerHeight * 4 - 16}px`")
    page.mouse.wheel(0, page.evaluate("innerHeight"))
    page.wait_for_function("scrollY >= innerHeight")
    page.mouse.wheel(0, -5_000)
    page.wait_for_function("scrollY === 0")
    shown(page, "hidden")
    [beat] = site.await_events("Page Engaged")
    assert beat["properties"]["scroll_depth_percent"] == 50


def test_the_rest_is_told_of_the_page_it_belongs_to_when_the_address_changes(site: Site, page: Page) -> None:
    page.goto(f"{site.url}/first")
    loaded(page)
    page.evaluate("wakeline.setPageProperties({ category: 'shoes' })")
    page.wait_for_function("performance.now() > 500")
    page.evaluate("history.pushState({}, '', '/second')")
    [beat] = site.await_events("Page Engaged")
    assert beat["properties"]["path"] == beat["context"]["page"]["path"] == "/first"
    assert beat["properties"]["category"] == "shoes"
    [_, view] = site.await_events("page", 2)
    assert "category" not in view["properties"]


# Delivery


def test_events_made_offline_arrive_when_the_network_is_back(site: Site, context: BrowserContext, page: Page) -> None:
    page.clock.install()
    page.goto(site.url)
    site.await_events("page")
    page.clock.pause_at(page.evaluate("Date.now()") / 1_000 + 1)  # No retry by time: it must hear of the network.
    context.set_offline(True)
    with page.expect_event("requestfailed"):
        page.evaluate("wakeline.track('Offline', { n: 1 })")
        page.clock.run_for(100)
    page.evaluate("wakeline.track('Offline', { n: 2 })")
    context.set_offline(False)
    events = site.await_events("Offline", 2)
    assert [one["properties"]["n"] for one in events] == [1, 2]
    page.wait_for_function("!Object.keys(localStorage).some((name) => name.startsWith('wakeline.queue'))")


def test_events_made_offline_arrive_from_the_next_page(site: Site, context: BrowserContext, page: Page) -> None:
    page.goto(site.url)
    site.await_events("page")
    context.set_offline(True)
    with page.expect_event("requestfailed"):
        page.evaluate("wakeline.track('Left Behind')")
    page.close()
    context.set_offline(False)
    context.new_page().goto(site.url)
    site.await_events("Left Behind")


def test_two_tabs_send_each_event_once(site: Site, context: BrowserContext, page: Page) -> None:
    site.answers = [Answer(503, {"Retry-After": "1"})]
    page.goto(site.url)
    site.await_posts(1)
    other = context.new_page()
    other.goto(site.url)
    site.await_events("page", 2)
    page.evaluate("wakeline.track('Behind Its Own View')")
    site.await_events("Behind Its Own View")
    sent = [message["messageId"] for post in site.posts[1:] for message in post["body"]["batch"]]
    assert len(sent) == len(set(sent)) == 3


@pytest.mark.parametrize("leave", ["close", "navigate"])
def test_what_waits_is_sent_when_the_page_is_left(site: Site, page: Page, leave: str) -> None:
    site.options = {"flush-seconds": "600"}
    page.goto(site.url)
    loaded(page)
    page.wait_for_function("performance.now() > 400")
    page.evaluate("wakeline.track('Last Word')")
    if leave == "close":
        page.close(run_before_unload=True)
    else:
        page.goto("about:blank")
    site.await_events("Last Word")
    site.await_events("Page Engaged")
    assert len(site.events("page")) == 1


def test_more_than_a_beacon_holds_is_not_lost_when_the_page_is_left(site: Site, page: Page) -> None:
    site.options = {"flush-seconds": "600", "batch-size": "1000"}
    page.goto(site.url)
    loaded(page)
    page.evaluate("for (let n = 0; n < 20; n++) wakeline.track('Large', { n, text: 'x'.repeat(8000) })")
    page.goto("about:blank")
    page.goto(site.url)
    page.wait_for_load_state()
    events = site.await_events("Large", 20)
    assert {one["properties"]["n"] for one in events} == set(range(20))
    assert all(len(json.dumps(post["body"])) < 500_000 for post in site.posts)


def test_a_collector_that_is_down_gets_the_same_events_again(site: Site, page: Page) -> None:
    site.answers = [Answer(503), Answer(500), Answer(429)]
    page.goto(site.url)
    [view] = site.await_events("page")
    ids = [[message["messageId"] for message in post["body"]["batch"]] for post in site.posts]
    assert ids == [[view["messageId"]]] * 4


def test_retry_after_is_honoured(site: Site, page: Page) -> None:
    page.clock.install()
    site.answers = [Answer(503, {"Retry-After": "120"})]
    page.goto(site.url)
    loaded(page)
    page.clock.run_for(1_000)
    site.await_posts(1)
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.clock.run_for(110_000)
    page.evaluate("wakeline.flush(); window.dispatchEvent(new Event('online'))")
    shown(page, "hidden")
    page.clock.run_for(1_000)
    page.evaluate("fetch('/after')")
    assert requests == [f"{site.url}/after"]
    page.clock.run_for(20_000)
    site.await_events("page")


@pytest.mark.parametrize("status", [400, 401, 403, 413])
def test_refused_events_are_dropped_with_the_reason_in_the_console_once(site: Site, page: Page, status: int) -> None:
    site.answers = [Answer(status, body='{"error": "Because."}'), Answer(status, body='{"error": "Because."}')]
    said = console_of(page)
    page.goto(site.url)
    site.await_posts(1)
    page.wait_for_function("!Object.keys(localStorage).some((name) => name.startsWith('wakeline.queue'))")
    page.evaluate("wakeline.track('Refused')")
    site.await_posts(2)
    page.wait_for_function("!Object.keys(localStorage).some((name) => name.startsWith('wakeline.queue'))")
    page.evaluate("wakeline.track('Taken')")
    site.await_events("Taken")
    assert len(site.events()) == 1
    assert len([text for text in said if "Because." in text and str(status) in text]) == 1


def test_a_batch_that_is_too_large_is_split(site: Site, page: Page) -> None:
    site.options = {"flush-seconds": "600"}
    site.answers = [Answer(413), Answer(413)]
    page.goto(site.url)
    loaded(page)
    page.evaluate("for (let n = 0; n < 7; n++) wakeline.track('Part', { n }); setTimeout(() => wakeline.flush(), 50)")
    events = site.await_events("Part", 7)
    assert [one["properties"]["n"] for one in events] == list(range(7))
    assert [len(post["body"]["batch"]) for post in site.posts][:3] == [8, 4, 2]


def test_twenty_events_go_at_once(site: Site, page: Page) -> None:
    site.options = {"flush-seconds": "600", "page-views": "false"}
    page.goto(site.url)
    loaded(page)
    page.evaluate("for (let n = 0; n < 20; n++) wakeline.track('Many', { n })")
    site.await_events("Many", 20)
    assert len(site.posts) == 1


def test_beyond_its_bound_the_queue_drops_the_oldest_and_counts_them(
    site: Site, context: BrowserContext, page: Page
) -> None:
    said = console_of(page)
    page.goto(site.url)
    site.await_events("page")
    context.set_offline(True)
    with page.expect_console_message(lambda message: "were dropped" in message.text):
        page.evaluate("for (let n = 0; n < 1105; n++) wakeline.track('Flood', { n })")
    context.set_offline(False)
    events = site.await_events("Flood", 1_000)
    assert len(events) == int(1_105 - sum(int(text.split()[1]) for text in said if "were dropped" in text))
    assert max(one["properties"]["n"] for one in events) == 1_104


@pytest.mark.parametrize("storage", ["session", "memory"])
def test_other_storage_leaves_nothing_in_local_storage(site: Site, page: Page, storage: str) -> None:
    site.options = {"storage": storage}
    page.goto(site.url)
    [view] = site.await_events("page")
    assert page.evaluate("localStorage.length") == 0
    page.reload()
    [_, second] = site.await_events("page", 2)
    assert (view["anonymousId"] == second["anonymousId"]) == (storage == "session")


def test_a_browser_without_storage_still_sends(site: Site, page: Page) -> None:
    page.add_init_script(
        "Object.defineProperty(window, 'localStorage', { get() { throw new DOMException('no', 'SecurityError') } })"
    )
    said = console_of(page)
    page.goto(site.url)
    loaded(page)
    page.evaluate("wakeline.track('Anyway')")
    [event] = site.await_events("Anyway")
    assert event["anonymousId"] == site.events("page")[0]["anonymousId"]
    assert len([text for text in said if "refuses storage" in text]) == 1
    assert not [text for text in said if "page error" in text]


def test_what_a_full_storage_cannot_replace_is_not_taken_for_the_latest(site: Site, page: Page) -> None:
    page.goto(site.url)
    loaded(page)
    page.evaluate("wakeline.identify('ann')")
    site.await_events("identify")
    page.evaluate("void (Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError') })")
    page.evaluate("wakeline.identify('bob')")
    [_, identified] = site.await_events("identify", 2)
    assert identified["userId"] == "bob"
    assert "wakeline.user" not in stored(page)


# Consent


def test_before_consent_nothing_is_stored_and_nothing_is_sent(site: Site, page: Page) -> None:
    site.options = {"consent": "required"}
    page.goto(site.url)
    loaded(page)
    page.evaluate("wakeline.track('Waits'); wakeline.flush()")
    shown(page, "hidden")
    shown(page, "visible")
    assert stored(page) == {}
    assert site.posts == []
    page.evaluate("wakeline.consent({ analytics: true, marketing: false })")
    [waited] = site.await_events("Waits")
    [asked] = site.await_events("Segment Consent Preference Updated")
    preferences = {"categoryPreferences": {"analytics": True, "marketing": False}}
    assert waited["context"]["consent"] == asked["context"]["consent"] == preferences
    assert len(site.events("page")) == 1
    assert stored(page)["wakeline.anonymous"] == waited["anonymousId"] == asked["anonymousId"]
    page.reload()
    [_, view] = site.await_events("page", 2)
    assert view["context"]["consent"] == preferences


def test_after_a_refusal_what_waited_is_forgotten(site: Site, page: Page) -> None:
    site.options = {"consent": "required"}
    page.goto(site.url)
    loaded(page)
    page.evaluate("wakeline.track('Waits'); wakeline.consent({ analytics: false, marketing: false })")
    page.evaluate("wakeline.track('Never')")
    page.reload()
    loaded(page)
    page.evaluate("wakeline.track('Never')")
    assert list(stored(page)) == ["wakeline.consent"]
    page.evaluate("wakeline.consent({ analytics: true }); wakeline.track('Granted')")
    site.await_events("Granted")
    assert site.events("Waits") == site.events("Never") == []


def test_a_later_refusal_is_told_and_wipes_what_was_stored(site: Site, page: Page) -> None:
    page.goto(site.url)
    loaded(page)
    page.evaluate("wakeline.identify('ann')")
    site.await_events("identify")
    page.evaluate("wakeline.consent({ analytics: false, marketing: false }); wakeline.track('Never'); wakeline.flush()")
    [refused] = site.await_events("Segment Consent Preference Updated")
    assert refused["userId"] == "ann"
    assert refused["context"]["consent"] == {"categoryPreferences": {"analytics": False, "marketing": False}}
    page.wait_for_function("Object.keys(localStorage).join() === 'wakeline.consent'")
    page.reload()
    loaded(page)
    shown(page, "hidden")
    assert list(stored(page)) == ["wakeline.consent"]
    assert {one.get("event", one["type"]) for one in site.events()} <= {
        "page",
        "identify",
        "Page Engaged",
        "Segment Consent Preference Updated",
    }
    assert len(site.events("page")) == 1


def test_a_refusal_in_one_tab_counts_in_all(site: Site, context: BrowserContext, page: Page) -> None:
    page.goto(site.url)
    other = context.new_page()
    other.goto(site.url)
    site.await_events("page", 2)
    with other.expect_event("console", lambda message: message.text == "heard"):
        other.evaluate("addEventListener('storage', (e) => e.key === 'wakeline.consent' && console.log('heard'))")
        page.evaluate("wakeline.consent({ analytics: false, marketing: false })")
    site.await_events("Segment Consent Preference Updated")
    other.evaluate("wakeline.track('Never'); wakeline.flush()")
    other.wait_for_function("Object.keys(localStorage).join() === 'wakeline.consent'")
    page.evaluate("wakeline.consent({ analytics: true }); wakeline.track('Again')")
    site.await_events("Again")
    assert site.events("Never") == []


def test_global_privacy_control_is_a_refusal_until_the_person_grants(site: Site, page: Page) -> None:
    page.add_init_script("Object.defineProperty(Navigator.prototype, 'globalPrivacyControl', { get: () => true })")
    page.goto(site.url)
    loaded(page)
    page.evaluate("wakeline.track('Never'); wakeline.flush()")
    assert stored(page) == {}
    page.evaluate("wakeline.consent({ analytics: true }); wakeline.track('Analytics')")
    [analytics] = site.await_events("Analytics")
    assert analytics["context"]["consent"] == {"categoryPreferences": {"analytics": True, "marketing": False}}
    page.evaluate("wakeline.consent({ marketing: true }); wakeline.track('Marketing')")
    [marketing] = site.await_events("Marketing")
    assert marketing["context"]["consent"] == {"categoryPreferences": {"analytics": True, "marketing": True}}
    assert site.events("Never") == []


def test_what_was_said_before_is_not_stated_again_on_any_page_or_in_any_tab(
    site: Site, context: BrowserContext, page: Page
) -> None:
    said = "wakeline.consent({ analytics: true, marketing: true })"
    page.goto(site.url)
    loaded(page)
    page.evaluate(f"{said}; {said}")
    site.await_events("Segment Consent Preference Updated")
    other = context.new_page()
    other.goto(site.url)
    for tab in (other, page):
        tab.reload()
        loaded(tab)
        tab.evaluate(said)
    page.evaluate("wakeline.track('Afterwards')")
    [event] = site.await_events("Afterwards")
    delivered(page)
    assert statements(site) == [{"analytics": True, "marketing": True}]
    assert event["context"]["consent"] == {"categoryPreferences": {"analytics": True, "marketing": True}}


def test_a_cookie_banner_does_not_state_an_old_yes_to_mails(site: Site, page: Page) -> None:
    page.goto(site.url)
    loaded(page)
    page.evaluate("wakeline.consent({ analytics: true, marketing: true })")
    page.evaluate("wakeline.consent({ analytics: true, advertising: true })")
    site.await_events("Segment Consent Preference Updated", 2)
    assert statements(site) == [{"analytics": True, "marketing": True}, {"advertising": True}]


def test_two_tabs_that_hear_the_same_answer_state_it_once(site: Site, context: BrowserContext, page: Page) -> None:
    other = context.new_page()
    for tab in (page, other):
        tab.goto(site.url)
        loaded(tab)
    # The other tab has not heard of it: a storage event does not come while its script runs.
    other.evaluate("addEventListener('storage', (event) => event.stopImmediatePropagation(), true)")
    page.evaluate("wakeline.consent({ analytics: true, marketing: true })")
    other.wait_for_function("localStorage['wakeline.consent']")
    other.evaluate("wakeline.consent({ analytics: true, marketing: true }); wakeline.track('Afterwards')")
    site.await_events("Afterwards")
    delivered(page)
    assert statements(site) == [{"analytics": True, "marketing": True}]


def test_a_reset_forgets_what_one_person_said_and_keeps_what_the_device_may(site: Site, page: Page) -> None:
    page.goto(site.url)
    loaded(page)
    page.evaluate("wakeline.identify('ann')")
    page.evaluate("wakeline.consent({ analytics: true, advertising: false, marketing: true, news: true })")
    page.evaluate("wakeline.reset(); wakeline.track('Whose')")
    [whose] = site.await_events("Whose")
    kept = {"analytics": True, "advertising": False}
    assert whose["context"]["consent"]["categoryPreferences"] == kept
    page.reload()
    loaded(page)
    assert json.loads(stored(page)["wakeline.consent"]) == kept
    page.evaluate("wakeline.identify('bob'); wakeline.consent({ analytics: true, marketing: true })")
    [_, stated] = site.await_events("Segment Consent Preference Updated", 2)
    assert stated["userId"] == "bob"
    assert statements(site)[1] == {"marketing": True}


def test_another_person_who_logs_in_without_a_reset_has_said_nothing_yet(site: Site, page: Page) -> None:
    page.goto(site.url)
    loaded(page)
    page.evaluate("wakeline.consent({ analytics: true, marketing: true }); wakeline.identify('ann')")
    page.evaluate("wakeline.identify('ann'); wakeline.track('Hers'); wakeline.identify('bob'); wakeline.track('His')")
    [his] = site.await_events("His")
    [hers] = site.events("Hers")
    assert hers["context"]["consent"]["categoryPreferences"] == {"analytics": True, "marketing": True}
    assert his["context"]["consent"]["categoryPreferences"] == {"analytics": True}


def test_a_yes_to_mails_does_not_outweigh_a_refused_banner(site: Site, page: Page) -> None:
    page.goto(site.url)
    loaded(page)
    page.evaluate("wakeline.consent({ marketing: true })")
    page.evaluate("wakeline.consent({ analytics: false, advertising: false }); wakeline.track('Never')")
    site.await_events("Segment Consent Preference Updated", 2)
    page.wait_for_function("Object.keys(localStorage).join() === 'wakeline.consent'")
    page.reload()
    loaded(page)
    page.evaluate("wakeline.consent({ advertising: true }); wakeline.track('Granted')")
    site.await_events("Granted")
    assert site.events("Never") == []


@pytest.mark.parametrize("consent", ["optional", "required"])
def test_where_nothing_may_be_collected_a_known_persons_word_about_mails_is_told_all_the_same(
    site: Site, page: Page, consent: str
) -> None:
    said = console_of(page)
    site.options = {"consent": consent}
    page.goto(site.url)
    loaded(page)
    if consent == "optional":
        page.evaluate("wakeline.consent({ analytics: false })")
    page.evaluate("wakeline.consent({ marketing: false })")  # Whose word?
    page.evaluate("wakeline.identify('ann', { email: 'ann@example.com' }); wakeline.track('Never')")
    page.evaluate("wakeline.consent({ analytics: false, news: true, marketing: false })")
    page.evaluate("wakeline.consent({ marketing: true })")
    page.evaluate("wakeline.consent({ marketing: true })")
    delivered(page)
    told = [one for one in site.events() if one.get("userId") == "ann"]
    assert [one.get("event") for one in told] == ["Segment Consent Preference Updated"] * len(told)
    assert statements(site)[-2:] == [{"news": True, "marketing": False}, {"marketing": True}]
    assert len([text for text in said if "identify() before it" in text]) == 1
    assert site.events("Never") == site.events("identify") == []


def test_a_refusal_of_the_banner_takes_no_undelivered_word_about_mails_with_it(
    site: Site, context: BrowserContext, page: Page
) -> None:
    page.goto(site.url)
    site.await_events("page")
    context.set_offline(True)
    with page.expect_event("requestfailed"):
        page.evaluate("wakeline.identify('ann'); wakeline.consent({ marketing: false }); wakeline.track('Dropped')")
    page.evaluate("wakeline.consent({ analytics: false })")
    page.close()
    context.set_offline(False)
    context.new_page().goto(site.url)
    site.await_events("Segment Consent Preference Updated", 2)
    assert statements(site) == [{"marketing": False}, {"analytics": False}]
    assert site.events("Dropped") == site.events("identify") == []


def test_a_page_that_comes_back_by_the_back_button_has_heard_of_a_refusal(site: Site, page: Page) -> None:
    page.goto(site.url)
    site.await_events("page")
    delivered(page)
    page.evaluate("dispatchEvent(new PageTransitionEvent('pagehide', { persisted: true }))")
    page.evaluate("localStorage['wakeline.consent'] = JSON.stringify({ analytics: false })")  # By a page in between.
    page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")
    page.evaluate("wakeline.track('Never'); wakeline.flush()")
    page.wait_for_function("Object.keys(localStorage).join() === 'wakeline.consent'")
    page.evaluate("wakeline.consent({ analytics: true }); wakeline.track('Again')")
    site.await_events("Again")
    assert site.events("Never") == []


# Content security policy


def integrity(name: str) -> str:
    return "sha384-" + base64.b64encode(hashlib.sha384((STATIC / name).read_bytes()).digest()).decode()


def strict(site: Site, scripts: str) -> dict[str, str]:
    return {"Content-Security-Policy": f"default-src 'none'; script-src {scripts}; connect-src {site.url}"}


def from_the_collector(site: Site) -> str:
    site.page_headers = strict(site, site.url)
    return (
        f'<script src="{site.url}/loader.js" integrity="{integrity("loader.js")}" crossorigin="anonymous" '
        f'data-write-key="{WRITE_KEY}" data-integrity="{integrity("wakeline.js")}"></script>'
    )


def in_the_page_with_a_nonce(site: Site) -> str:
    site.page_headers = strict(site, "'nonce-r4nd0m'")
    return (
        f'<script nonce="r4nd0m" data-endpoint="{site.url}" data-write-key="{WRITE_KEY}" '
        f'data-integrity="{integrity("wakeline.js")}">{(STATIC / "loader.js").read_text(encoding="utf-8")}</script>'
    )


@pytest.mark.parametrize("snippet", [from_the_collector, in_the_page_with_a_nonce])
def test_a_strict_policy_with_integrity_on_another_origin(
    site: Site, page: Page, snippet: Callable[[Site], str]
) -> None:
    said = console_of(page)
    site.head = snippet(site)
    page.goto(f"{site.other_url}/strict")
    [view] = site.await_events("page")
    assert view["context"]["page"]["url"] == f"{site.other_url}/strict"
    assert site.methods == ["POST"]
    assert said == []


def test_a_changed_script_is_not_run(site: Site, page: Page) -> None:
    site.options = {"integrity": integrity("loader.js")}
    with page.expect_console_message(lambda message: "integrity" in message.text):
        page.goto(site.url)
    assert not page.evaluate("'version' in wakeline")


@pytest.mark.parametrize("script", ["loader.js", "wakeline.js"])
def test_an_element_that_poses_as_the_running_script_does_not_say_where_events_go(
    site: Site, page: Page, script: str
) -> None:
    decoy = f'<img name="currentScript" data-endpoint="{site.other_url}/decoy" data-write-key="decoy">'
    site.head = f'{decoy}<script src="/{script}"></script>'
    page.goto(site.url)
    assert page.evaluate("document.currentScript.tagName") == "IMG"
    assert page.evaluate("[...document.scripts].map(({ src }) => src)") == [f"{site.url}/{script}"]
    assert stored(page) == {}
