"""A service on loopback that takes alerts as JSON, and has bad days: a channel `json://` of a test."""

import json
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

#: Instead of a status: no answer until the listener is closed.
SILENT = 0


@dataclass
class Listener:
    """`statuses` are the next answers, 200 after them; `taken` are the messages that were answered with 200."""

    port: int
    statuses: deque[int] = field(default_factory=deque)
    taken: list[dict[str, Any]] = field(default_factory=list)
    requests: int = 0
    closed: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        """The channel, for Apprise."""
        return f"json://127.0.0.1:{self.port}/alerts"

    def titles(self) -> list[str]:
        """Of what was taken, in order."""
        return [str(one["title"]) for one in self.taken]

    def answer(self, body: bytes) -> int:
        """What a request is answered with."""
        self.requests += 1
        status = self.statuses.popleft() if self.statuses else 200
        if status == 200:
            self.taken.append(json.loads(body))
        return status


@contextmanager
def listening(port: int = 0) -> Iterator[Listener]:
    """A listener, on any free port unless one is given."""
    listener = Listener(port)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            """A message."""
            status = listener.answer(self.rfile.read(int(self.headers["Content-Length"])))
            if status == SILENT:
                listener.closed.wait(30)
                return
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """What was taken is enough."""

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        listener.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, name="listener")
        thread.start()
        try:
            yield listener
        finally:
            listener.closed.set()
            server.shutdown()
            thread.join()
