"""An email service provider as it is on a bad day: it refuses, fails, hangs up, dies, and writes everything down."""

import hashlib
import json
import os
import signal
import threading
from collections import Counter
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

#: What became of a request. ACCEPTED is a mail; AGAIN is a key that was accepted before, and no second mail.
ACCEPTED, AGAIN, BUSY, REFUSED, DROPPED = "accepted", "again", "busy", "refused", "dropped"
#: Of an ESP that takes no key only these may be followed by another request with the same key.
CERTAINLY_NOT_TAKEN = frozenset({BUSY})

#: In a thousand requests: 429; an answer 422 (of a thousand keys); no answer, or a 500, to what was or was not taken.
_BUSY, _REFUSED, _DROPPED, _UNANSWERED = 60, 30, 30, 60
_STATUS = {ACCEPTED: 200, AGAIN: 200, BUSY: 429, REFUSED: 422, DROPPED: 500}


@dataclass(frozen=True, slots=True)
class Request:
    """One line of the journal: `mail` tells mails apart by what is in them."""

    key: str
    verdict: str
    mail: str


class Journal:
    """What the receiver saw, durable before it answers, so that its death forgets nothing."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> list[Request]:
        """Every request that was written down, in order."""
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []
        return [Request(*line.split()) for line in lines]

    def write(self, request: Request) -> None:
        """One whole line, on disk when this returns."""
        handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(handle, f"{request.key} {request.verdict} {request.mail}\n".encode())
            os.fsync(handle)
        finally:
            os.close(handle)


class Receiver(ThreadingHTTPServer):
    """Takes mails at a port of loopback.

    With `takes_key` it makes one mail of a key however often it sees it. At its request number `dies_at` the process
    kills itself: the mail is accepted and the answer never leaves.
    """

    daemon_threads = True
    request_queue_size = 100

    def __init__(self, port: int, journal: Journal, takes_key: bool, dies_at: int | None) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self._journal = journal
        self._takes_key = takes_key
        self._dies_at = dies_at
        self._lock = threading.Lock()
        before = journal.read()
        self._seen = Counter(one.key for one in before)
        self._mails = {one.key for one in before if one.verdict == ACCEPTED}

    def take(self, key: str, mail: str) -> tuple[str, bool]:
        """The verdict on a request, written down, and whether its sender is to hear of it."""
        with self._lock:
            self._seen[key] += 1
            verdict, is_answered = self._verdict(key, _draw(f"{key} {self._seen[key]}"))
            self._mails |= {key} if verdict == ACCEPTED else set()
            self._journal.write(Request(key, verdict, mail))
            if verdict == ACCEPTED and self._dies_at is not None and self._seen.total() >= self._dies_at:
                os.kill(os.getpid(), signal.SIGKILL)
        return verdict, is_answered

    def _verdict(self, key: str, draw: int) -> tuple[str, bool]:
        if key in self._mails and self._takes_key:
            return AGAIN, draw >= _UNANSWERED
        if _draw(key) < _REFUSED:
            return REFUSED, True
        if draw < _BUSY:
            return BUSY, True
        if draw < _BUSY + _DROPPED:
            return DROPPED, draw % 2 == 0
        return ACCEPTED, draw >= _BUSY + _DROPPED + _UNANSWERED


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Receiver

    def do_POST(self) -> None:
        """A mail of the adapter for webhooks."""
        length = int(self.headers["Content-Length"])
        body = self.rfile.read(length)
        if len(body) < length:  # Its sender was killed in the middle.
            self.close_connection = True
            return
        mail = hashlib.sha256(json.dumps(json.loads(body)["data"]).encode()).hexdigest()[:16]
        verdict, is_answered = self.server.take(self.headers["webhook-id"], mail)
        if not is_answered:
            self.close_connection = True
            return
        self.send_response(_STATUS[verdict])
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """The journal is enough."""


def serve(port: int, journal: Path, takes_key: bool, dies_at: int | None) -> None:
    """Run a receiver until its process is killed."""
    with Receiver(port, Journal(journal), takes_key, dies_at) as receiver:
        receiver.serve_forever()


def _draw(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4]) % 1_000
