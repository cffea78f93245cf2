"""A provider's HTTP server, down to the bytes: it records requests, answers as it is told, and fails as servers do."""

import json
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email import message_from_bytes
from email.policy import HTTP
from typing import Any

from support.clocks import NOW_MS
from wakeline.activation.esp.protocol import Mail

KEY = "0123456789abcdef0123456789abcdef"
ADDRESS = "ada@example.com"
MAIL = Mail(
    key=KEY,
    campaign="category_dwell",
    to=ADDRESS,
    sender="Wakeline Demo Shop <shop@example.com>",
    subject="Grüße, still thinking?",
    html="<p>Grüße</p>",
    text="Grüße\n",
    headers={
        "Message-ID": f"<{KEY}@example.com>",
        "X-Wakeline-Key": KEY,
        "X-Wakeline-Campaign": "category_dwell",
        "List-Unsubscribe": "<https://events.example.com/mail/unsubscribe?t=a.b>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
    },
    profile_id="user:ann",
)
#: Closing with it drops the connection with a reset instead of an orderly end.
_RESET_AT_CLOSE = struct.pack("ii", 1, 0)
_PATIENCE_SECONDS = 60
_DRIP_SECONDS = 0.02
_BOUNDARY = re.compile(r"multipart/form-data; boundary=(\S+)")


@dataclass
class Recorded:
    """A request as it came; names of headers are in lower case."""

    line: str
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        """The JSON in the body."""
        return json.loads(self.body)

    @property
    def form(self) -> list[tuple[str, str]]:
        """The fields of a form of several parts, in order, as a parser of the standard library reads them."""
        head = f"Content-Type: {self.headers['content-type']}\r\n\r\n".encode()
        parts = message_from_bytes(head + self.body, policy=HTTP).get_payload()
        assert isinstance(parts, list)
        return [
            (str(part.get_param("name", header="content-disposition")), part.get_payload(decode=True).decode())
            for part in parts
        ]


#: What a server does after it has read a request.
Behaviour = Callable[[socket.socket], None]


@dataclass
class Provider:
    """A server on a free port of loopback; `behaviour` may be changed between two requests."""

    behaviour: Behaviour
    reads: bool = True
    requests: list[Recorded] = field(default_factory=list)
    url: str = ""
    stopped: threading.Event = field(default_factory=threading.Event)

    def silent(self, connection: socket.socket) -> None:
        """Say nothing until the end of the test."""
        self.stopped.wait(_PATIENCE_SECONDS)

    def dripping(self, connection: socket.socket) -> None:
        """Begin an answer, and go on with it until the end of the test."""
        connection.sendall(b"HTTP/1.1 200 -\r\nX-Slow: ")
        while not self.stopped.wait(_DRIP_SECONDS):
            connection.sendall(b"x")


def answering(
    status: int, document: Any = None, headers: Mapping[str, str] | None = None, body: bytes | None = None
) -> Behaviour:
    """Answer a JSON document, or these bytes, and keep the connection."""
    content = body if body is not None else json.dumps(document).encode() if document is not None else b""
    lines = [
        f"HTTP/1.1 {status} -",
        f"Content-Length: {len(content)}",
        *(f"{n}: {v}" for n, v in (headers or {}).items()),
    ]
    return lambda connection: connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + content)


def saying(content: bytes) -> Behaviour:
    """Send these bytes and close."""

    def behave(connection: socket.socket) -> None:
        with suppress(ConnectionError):  # The client may have seen enough.
            connection.sendall(content)
        connection.close()

    return behave


def reset(connection: socket.socket) -> None:
    """Drop the connection without a word."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
    connection.close()


@contextmanager
def providing(behaviour: Behaviour | None = None, reads: bool = True) -> Iterator[Provider]:
    """A running provider; with `reads` false it accepts connections and never looks at them."""
    provider = Provider(behaviour or answering(200), reads)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        if not reads:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        provider.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        threads: list[threading.Thread] = []
        accepting = threading.Thread(target=_accept, args=(listener, provider, threads))
        accepting.start()
        try:
            yield provider
        finally:
            provider.stopped.set()
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            for thread in (accepting, *threads):
                thread.join(_PATIENCE_SECONDS)


def _accept(listener: socket.socket, provider: Provider, threads: list[threading.Thread]) -> None:
    with suppress(OSError):  # The listener is shut down.
        while True:
            connection, _ = listener.accept()
            thread = threading.Thread(target=_serve, args=(connection, provider))
            threads.append(thread)
            thread.start()


def _serve(connection: socket.socket, provider: Provider) -> None:
    with connection:
        connection.settimeout(0.05)
        if not provider.reads:
            provider.silent(connection)
            return
        with suppress(ConnectionError, OSError):
            while (request := _read(connection, provider)) is not None:
                provider.requests.append(request)
                provider.behaviour(connection)


def _read(connection: socket.socket, provider: Provider) -> Recorded | None:
    """The next request; None at the end of the connection or of the test."""
    data = b""
    while b"\r\n\r\n" not in data:
        if (chunk := _receive(connection, provider)) is None:
            return None
        data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    line, *fields = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (one.partition(":") for one in fields)}
    while len(body) < int(headers.get("content-length", "0")):
        if (chunk := _receive(connection, provider)) is None:
            return None
        body += chunk
    return Recorded(line, headers, body)


def _receive(connection: socket.socket, provider: Provider) -> bytes | None:
    while True:
        with suppress(TimeoutError):
            return connection.recv(65_536) or None
        if provider.stopped.is_set():
            return None


def fixed_clock() -> int:
    """The clock of these tests."""
    return NOW_MS
