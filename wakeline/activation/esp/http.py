"""What adapters that speak HTTP share: one request, and what its answer, or the lack of one, makes certain.

Status codes: https://www.rfc-editor.org/rfc/rfc9110#section-15
"""

import logging
import re
from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum, auto
from queue import Empty, LifoQueue
from typing import Any, Protocol

import httpx
import orjson

from wakeline.activation.esp.protocol import Accepted, Mail, Outcome, Rejected, TryLater, Unknown
from wakeline.activation.esp.settings import EspSection
from wakeline.clock import Clock
from wakeline.retry_after import retry_after_seconds

#: No encoding of the answer: a small body cannot become a huge one.
REQUEST_HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "wakeline"}

#: Answers of providers have a few hundred bytes.
_MAX_ANSWER_BYTES = 65_536
_MAX_REASON_CHARACTERS = 300
#: Without a word of the provider about when to come back.
_LATER_SECONDS = 5.0
#: Somebody has to look at the settings or at the account first.
_SETTINGS_SECONDS = 60.0
_MIN_SECONDS, _MAX_SECONDS = 1.0, 86_400.0
#: A smaller number is no time since 1970.
_FIRST_EPOCH_SECONDS = 1_000_000_000

_SUCCESS = range(200, 300)
#: None of them is about one mail: the key, the account or the address is wrong, and so would be the next mail's.
_WRONG_SETTINGS = frozenset({301, 302, 307, 308, 401, 402, 403, 404, 405, 407, 410})
#: The server did not read the request, or did not act on it.
_NOT_NOW = frozenset({408, 425, 429})
_REFUSED = range(400, 500)

#: Nothing of the request has left: no connection, or no TLS.
_NOTHING_LEFT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError, httpx.UnsupportedProtocol)
_BODY_SENT = "http11.send_request_body.complete"

_ADDRESS = re.compile(r"[^\s<>\"'(),:;]+@[^\s<>\"'(),:;]*[^\s<>\"'(),:;.]")
_SECRET_FIELDS = ("key", "token", "secret")
_HEADER_NAME = re.compile(r"[!-9;-~]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class Meaning(Enum):
    """What an answer that is no acceptance says of the mail."""

    #: Never will this mail be accepted.
    REFUSED = auto()
    #: Not accepted, and may be soon.
    LATER = auto()
    #: Not accepted, and will not be before somebody mends the settings or the account.
    SETTINGS = auto()
    #: It may have been accepted.
    LOST = auto()


@dataclass(frozen=True, slots=True)
class Answer:
    """A provider's answer; `body` is empty when it could not be read whole."""

    status: int
    headers: httpx.Headers
    body: bytes

    @property
    def is_success(self) -> bool:
        return self.status in _SUCCESS

    def text_at(self, *path: str | int) -> str:
        """The text or whole number at a path in the JSON body, as text; empty when there is none."""
        try:
            found = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return ""
        for step in path:
            found = _step(found, step)
        if isinstance(found, str):
            return found
        return str(found) if isinstance(found, int) and not isinstance(found, bool) else ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a provider says when it does not accept: its code, its sentence, and what these mean.

    Without a meaning the status tells it.
    """

    code: str = ""
    message: str = ""
    meaning: Meaning | None = None


class Api(Protocol):
    """What is known of one provider's HTTP API."""

    #: See `protocol.Esp`.
    idempotency_key_seconds: float

    def request(self, mail: Mail) -> httpx.Request:
        """The request that hands over a mail; raises ValueError with the reason when none can carry it."""

    def accepted(self, mail: Mail, answer: Answer) -> Accepted | None:
        """The acceptance that an answer documents; None when it does not."""

    def refused(self, answer: Answer) -> Refusal:
        """What an answer that is no acceptance says."""


class HttpEsp:
    """Hands mails to the API of one provider; safe to use from several threads.

    Redirects are not followed: they may lead anywhere, and the request holds the key.
    """

    def __init__(self, name: str, section: EspSection, api: Api, clock: Clock) -> None:
        # At level INFO it logs whole addresses, and that of a webhook may hold a token.
        logging.getLogger("httpx").setLevel(logging.WARNING)
        self.name = name
        self.idempotency_key_seconds = api.idempotency_key_seconds
        self._api = api
        self._clock = clock
        self._timeout_seconds = section.timeout_seconds
        self._timeout = httpx.Timeout(section.timeout_seconds).as_dict()
        named = [value for field, value in section if field.endswith(_SECRET_FIELDS)]
        self._secrets = [value for value in named if isinstance(value, str)]
        self._clients = _clients(section.concurrency)

    def send(self, mail: Mail) -> Outcome:
        """What the provider's answer means; without one, what is certain of the mail."""
        try:
            request = self._api.request(mail)
        except ValueError as error:
            return Rejected(self._clean(f"no request can carry it: {error}"))
        try:
            client = self._clients.get(timeout=self._timeout_seconds)
        except Empty:
            return self._unanswered("no connection became free", nothing_done=True)
        try:
            return self._sent(client, request, mail)
        finally:
            self._clients.put(client)

    def close(self) -> None:
        """Close the connections; none is in use any more."""
        while not self._clients.empty():
            self._clients.get().close()

    def _sent(self, client: httpx.Client, request: httpx.Request, mail: Mail) -> Outcome:
        progress: list[str] = []
        request.extensions = {"timeout": self._timeout, "trace": lambda event, _: progress.append(event)}
        try:
            answer = self._answer(client, request)
        except httpx.TransportError as error:
            # Without the end of its body no server can act on a request.
            nothing_done = isinstance(error, _NOTHING_LEFT) or _BODY_SENT not in progress
            return self._unanswered(_described(error), nothing_done)
        return self._outcome(mail, answer)

    def _answer(self, client: httpx.Client, request: httpx.Request) -> Answer:
        deadline_ms = self._clock() + self._timeout_seconds * 1000
        response = client.send(request, stream=True)
        try:
            return Answer(response.status_code, response.headers, self._body(response, deadline_ms))
        finally:
            response.close()

    def _body(self, response: httpx.Response, deadline_ms: float) -> bytes:
        """The body, or nothing when it ends early, is huge or never ends: then the status has to do."""
        body = b""
        try:
            for chunk in response.iter_raw():
                body += chunk
                if len(body) > _MAX_ANSWER_BYTES or self._clock() > deadline_ms:
                    return b""
        except httpx.TransportError:
            return b""
        return body

    def _outcome(self, mail: Mail, answer: Answer) -> Outcome:
        accepted = self._api.accepted(mail, answer)
        if accepted is not None:
            return accepted
        refusal = self._api.refused(answer)
        reason = self._clean(_reason(answer, refusal))
        match refusal.meaning or _meaning_of(answer.status):
            case Meaning.REFUSED:
                return Rejected(reason)
            case Meaning.LATER:
                return TryLater(self._wait_seconds(answer, _LATER_SECONDS), reason)
            case Meaning.SETTINGS:
                reason = f"look at the settings esp.{self.name} and at the account: {reason}"
                return TryLater(self._wait_seconds(answer, _SETTINGS_SECONDS), reason)
            case Meaning.LOST:
                return Unknown(f"it is not certain what became of it: {reason}")

    def _unanswered(self, what: str, nothing_done: bool) -> Outcome:
        if nothing_done:
            return TryLater(_LATER_SECONDS, self._clean(f"the provider was not reached: {what}"))
        return Unknown(self._clean(f"the answer was lost: {what}"))

    def _wait_seconds(self, answer: Answer, default_seconds: float) -> float:
        now_ms = self._clock()
        found = retry_after_seconds(answer.headers.get("Retry-After", ""), now_ms)
        if found is None:
            found = _seconds_until(answer.headers.get("X-RateLimit-Reset", ""), now_ms)
        return default_seconds if found is None else min(max(found, _MIN_SECONDS), _MAX_SECONDS)

    def _clean(self, reason: str) -> str:
        """A reason that may stand in the ledger and in logs: short, without secrets and addresses of people."""
        for secret in self._secrets:
            reason = reason.replace(secret, "...")
        reason = _ADDRESS.sub("(address)", _CONTROL.sub(" ", reason))
        return reason if len(reason) <= _MAX_REASON_CHARACTERS else f"{reason[:_MAX_REASON_CHARACTERS]}..."


def custom_headers(mail: Mail, without: Collection[str] = ()) -> dict[str, str]:
    """The headers of a mail as names and values that a provider writes into the message.

    Raises ValueError for one that would end its line: the rest of it would become a header of its own.
    """
    for name, value in mail.headers.items():
        if not _HEADER_NAME.fullmatch(name) or _CONTROL.search(value):
            raise ValueError(f"the header {name!r} cannot be written")
    return {name: value for name, value in mail.headers.items() if name not in without}


def _clients(how_many: int) -> LifoQueue[httpx.Client]:
    """Clients with one connection each, the one used last first.

    A pool of connections for all threads may close one that a thread has just begun to use, and the mail would be in
    doubt for nothing: to httpcore 1.0 an answer that comes at once looks like a server that hung up.
    """
    found: LifoQueue[httpx.Client] = LifoQueue()
    context, limits = httpx.create_ssl_context(), httpx.Limits(max_connections=1)
    for _ in range(how_many):
        found.put(httpx.Client(verify=context, limits=limits, follow_redirects=False))
    return found


def _step(container: Any, step: str | int) -> Any:
    if isinstance(step, str):
        return container.get(step) if isinstance(container, dict) else None
    return container[step] if isinstance(container, list) and len(container) > step else None


def _meaning_of(status: int) -> Meaning:
    """A 5xx is no proof: a gateway may have passed the request on before it gave up."""
    if status in _WRONG_SETTINGS:
        return Meaning.SETTINGS
    if status in _NOT_NOW:
        return Meaning.LATER
    return Meaning.REFUSED if status in _REFUSED else Meaning.LOST


def _reason(answer: Answer, refusal: Refusal) -> str:
    said = ": ".join(part for part in (refusal.code, refusal.message) if part)
    return f"HTTP {answer.status} {said or 'without a readable body'}"


def _described(error: httpx.TransportError) -> str:
    return f"{type(error).__name__} {error}".strip()


def _seconds_until(value: str, now_ms: int) -> float | None:
    """The same for a header that holds seconds since 1970, as `X-RateLimit-Reset` does."""
    seconds = retry_after_seconds(value, now_ms)
    return None if seconds is None or seconds < _FIRST_EPOCH_SECONDS else seconds - now_ms / 1000
