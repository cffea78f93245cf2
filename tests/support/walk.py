"""What surrounds a stack that is disturbed on purpose: shoppers who never tire, a provider, and a channel of alerts."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any, ClassVar, Self

import orjson

from support.stack import RunningStack, await_that
from wakeline.clock import system_clock, to_iso
from wakeline.play.collector_client import CollectorClient

_TICK_SECONDS = 0.5
_EVENTS_PER_TICK = 10
#: Every so many ticks somebody new orders something.
_TICKS_PER_ORDER = 3


@dataclass(frozen=True, slots=True)
class Told:
    """A message as the channel got it: `kind` is Apprise's type, `success` for a recovery."""

    title: str
    body: str
    kind: str
    at_seconds: float

    @property
    def is_recovery(self) -> bool:
        return self.kind == "success"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    handler: ClassVar[type[BaseHTTPRequestHandler]]

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), self.handler)

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, name=type(self).__name__, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.take(json.loads(body))  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """What came is kept; that is enough."""


class Recorder(_Server):
    """A channel of alerts: what Apprise posts to a `json://` address."""

    handler = _Handler

    def __init__(self) -> None:
        super().__init__()
        self.told: list[Told] = []

    def take(self, document: dict[str, Any]) -> None:
        """Called by the handler."""
        self.told.append(Told(document["title"], document["message"], document["type"], time.monotonic()))

    def await_next(self, what: str, after: int, seconds: float) -> Told:
        """The first message after so many, when it is there."""
        await_that(lambda: f"{what} ({[one.title for one in self.told]})", lambda: len(self.told) > after, seconds)
        return self.told[after]


class Provider(_Server):
    """An email service provider that takes every mail, after a while."""

    handler = _Handler

    def __init__(self) -> None:
        super().__init__()
        self.mails = 0
        self._may_answer = threading.Event()
        self.delay_seconds = 0.0

    def take(self, document: dict[str, Any]) -> None:
        """Called by the handler; the wait is what is tested."""
        if self.delay_seconds:
            self._may_answer.wait(self.delay_seconds)
        self.mails += 1


@dataclass
class Shoppers:
    """Steady traffic to a stack's collector; what it does not take is gone, as with a browser that is closed."""

    stack: RunningStack
    share: float = 1.0
    lost: int = 0
    _numbers: Iterator[int] = field(default_factory=count, init=False)
    _done: threading.Event = field(default_factory=threading.Event, init=False)

    @contextmanager
    def shopping(self) -> Iterator[Self]:
        """Traffic as long as the block lasts."""
        thread = threading.Thread(target=self._shop, name="shoppers")
        thread.start()
        try:
            yield self
        finally:
            self._done.set()
            thread.join()

    def post(self, messages: list[dict[str, Any]]) -> bool:
        """Whether the collector took the messages."""
        with self._client() as client:
            return self._post(client, messages)

    def views(self, number: int) -> list[dict[str, Any]]:
        """So many views of products by one visitor."""
        visitor = {"anonymousId": f"visitor-{next(self._numbers)}"}
        viewed = {"event": "Product Viewed", "properties": {"product_id": "p1", "category": "shoes"}}
        return [self._message() | visitor | viewed for _ in range(number)]

    def _shop(self) -> None:
        with self._client() as client:
            for tick in count():
                messages = self.views(round(_EVENTS_PER_TICK * self.share))
                if tick % _TICKS_PER_ORDER == 0:
                    messages += self._order()
                if not self._post(client, messages):
                    self.lost += len(messages)
                if self._done.wait(_TICK_SECONDS):
                    return

    def _order(self) -> list[dict[str, Any]]:
        number = next(self._numbers)
        user = {"userId": f"user-{number}"}
        line = {"product_id": "p1", "name": "Shoe", "price": 10, "quantity": 1}
        order = {"order_id": f"order-{number}", "total": 10, "currency": "EUR", "products": [line]}
        return [
            self._message() | user | {"type": "identify", "traits": {"email": f"user-{number}@example.com"}},
            self._message() | user | {"event": "Order Completed", "properties": order},
        ]

    def _message(self) -> dict[str, Any]:
        return {"type": "track", "messageId": f"walk-{next(self._numbers)}", "timestamp": to_iso(system_clock())}

    def _client(self) -> CollectorClient:
        collector = self.stack.settings.collector
        url = f"http://{collector.host}:{collector.port}"
        return CollectorClient(url, collector.write_key, system_clock)

    @staticmethod
    def _post(client: CollectorClient, messages: list[dict[str, Any]]) -> bool:
        return client.post(orjson.dumps({"batch": messages})).is_accepted
