"""A mail server that speaks SMTP up to a chosen point, and then fails as servers and networks do."""

import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from support.providers import reset

_PATIENCE_SECONDS = 60

#: What the server does at a point instead of going on; it writes a reply, closes, resets or falls silent.
Fault = Callable[[socket.socket], None]

#: Points of a session in their order, and what a server that works says there.
POINTS = {
    "connect": b"220 mail.example.com ready",
    "EHLO": b"250-mail.example.com\r\n250 SIZE 1000000",
    "HELO": b"250 mail.example.com",
    "MAIL": b"250 2.1.0 Ok",
    "RCPT": b"250 2.1.5 Ok",
    "DATA": b"354 Go on",
    "content": b"250 2.0.0 Ok: queued as 4XyZ",
    "RSET": b"250 2.0.0 Ok",
    "QUIT": b"221 2.0.0 Bye",
}


@dataclass
class FaultyServer:
    """On a free port of loopback. `faults` may be changed at any time; a point without one works."""

    faults: dict[str, Fault] = field(default_factory=dict)
    port: int = 0
    connections: int = 0
    #: Every point that was reached, and every message that came whole.
    reached: list[str] = field(default_factory=list, repr=False)
    messages: list[bytes] = field(default_factory=list, repr=False)
    stopped: threading.Event = field(default_factory=threading.Event)

    def silent(self, connection: socket.socket) -> None:
        """Say nothing until the end of the test."""
        self.stopped.wait(_PATIENCE_SECONDS)


def replying(*lines: str) -> Fault:
    """Say this and go on."""
    return lambda connection: connection.sendall("".join(f"{line}\r\n" for line in lines).encode())


def dropping(connection: socket.socket) -> None:
    """Close in good order."""
    connection.shutdown(socket.SHUT_RDWR)


#: Drop the connection without a word.
RESETTING: Fault = reset


def leaving(line: str) -> Fault:
    """Say this and close."""

    def leave(connection: socket.socket) -> None:
        connection.sendall(f"{line}\r\n".encode())
        connection.shutdown(socket.SHUT_RDWR)

    return leave


@contextmanager
def faulty_server(**faults: Fault) -> Iterator[FaultyServer]:
    """A running server with faults at some points."""
    server = FaultyServer(faults)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server.port = listener.getsockname()[1]
        threads: list[threading.Thread] = []
        accepting = threading.Thread(target=_accept, args=(listener, server, threads))
        accepting.start()
        try:
            yield server
        finally:
            server.stopped.set()
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            for thread in (accepting, *threads):
                thread.join(_PATIENCE_SECONDS)


def _accept(listener: socket.socket, server: FaultyServer, threads: list[threading.Thread]) -> None:
    with suppress(OSError):  # The listener is shut down.
        while True:
            connection, _ = listener.accept()
            server.connections += 1
            thread = threading.Thread(target=_serve, args=(connection, server))
            threads.append(thread)
            thread.start()


def _serve(connection: socket.socket, server: FaultyServer) -> None:
    with connection, suppress(OSError):
        connection.settimeout(0.05)
        lines = _Lines(connection, server)
        _do(connection, server, "connect")
        while line := lines.until(b"\r\n"):
            verb = line[:4].decode().upper()
            _do(connection, server, verb)
            if verb == "DATA" and "DATA" not in server.faults:
                message = lines.until(b"\r\n.\r\n")
                if not message:
                    return
                server.messages.append(message)
                _do(connection, server, "content")


def _do(connection: socket.socket, server: FaultyServer, point: str) -> None:
    server.reached.append(point)
    fault = server.faults.get(point)
    if fault:
        fault(connection)
    else:
        connection.sendall(POINTS[point] + b"\r\n")


class _Lines:
    """What comes over a connection, cut where it ends."""

    def __init__(self, connection: socket.socket, server: FaultyServer) -> None:
        self._connection = connection
        self._server = server
        self._rest = b""

    def until(self, end: bytes) -> bytes:
        """Up to and with `end`; nothing at the end of the connection or of the test."""
        while end not in self._rest:
            chunk = self._receive()
            if not chunk:
                return b""
            self._rest += chunk
        found, _, self._rest = self._rest.partition(end)
        return found + end

    def _receive(self) -> bytes:
        while not self._server.stopped.is_set():
            with suppress(TimeoutError):
                return self._connection.recv(65_536)
        return b""


def before_content() -> Sequence[str]:
    """Points at which nothing can have been accepted."""
    return ("connect", "EHLO", "MAIL", "RCPT", "DATA")
