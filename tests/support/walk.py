"""What surrounds a stack that is disturbed on purpose: shoppers who never tire, and a provider of mails."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any, Self

import orjson

from support.stack import RunningStack
from wakeline.clock import system_clock, to_iso
from wakeline.play.collector_client import CollectorClient

_TICK_SECONDS = 0.5
_EVENTS_PER_TICK = 10
#: Every so many ticks somebody new orders something.
_TICKS_PER_ORDER = 2


class Provider(ThreadingHTTPServer):
    """An email service provider that takes every mail, after a while; a context manager that serves."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.delay_seconds = 0.0
        self.mails = 0

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, name="provider", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Provider

    def do_POST(self) -> None:
        """A mail."""
        self.rfile.read(int(self.headers["Content-Length"]))
        time.sleep(self.server.delay_seconds)  # Not a wait for anything: it is what makes a provider slow.
        self.server.mails += 1
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """The count is enough."""


@dataclass
class Shoppers:
    """Steady traffic to a stack's collector; what it does not take is gone, as with a browser that is closed."""

    stack: RunningStack
    share: float = 1.0
    #: So many views more at each tick lack their event, and end in quarantine.
    broken: int = 0
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

    def views(self, number: int) -> list[dict[str, Any]]:
        """So many views of products by one visitor."""
        visitor = {"anonymousId": f"visitor-{next(self._numbers)}"}
        viewed = {"event": "Product Viewed", "properties": {"product_id": "p1", "category": "shoes"}}
        return [self._message() | visitor | viewed for _ in range(number)]

    def _shop(self) -> None:
        with self._client() as client:
            for tick in count():
                messages = self.views(round(_EVENTS_PER_TICK * self.share))
                messages += [{**one, "event": ""} for one in self.views(self.broken)]
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
