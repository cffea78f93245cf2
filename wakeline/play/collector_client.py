"""The HTTP side of playing: the batch call of Segment's HTTP API, gzipped, with the write key by basic auth."""

import gzip
from http import HTTPStatus
from types import TracebackType
from typing import Self

import httpx
import orjson

from wakeline.clock import Clock
from wakeline.errors import ConfigError
from wakeline.play.delivery import Answer
from wakeline.retry_after import retry_after_seconds

_TIMEOUT_SECONDS = 30.0
_QUOTE_CHARACTERS = 300
# JSON of events shrinks tenfold at the fastest level already; more only takes time from the schedule.
_GZIP_LEVEL = 1
_HEADERS = {"Content-Type": "application/json", "Content-Encoding": "gzip"}


class CollectorClient:
    """One keep-alive connection to a collector.

    Raises ConfigError if `url` is not an http:// or https:// address with a host.
    """

    def __init__(self, url: str, write_key: str, clock: Clock) -> None:
        self._url = f"{_checked(url)}/v1/batch"
        self._clock = clock
        limits = httpx.Limits(max_connections=1)
        self._client = httpx.Client(auth=(write_key, ""), timeout=_TIMEOUT_SECONDS, limits=limits)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def post(self, body: bytes) -> Answer:
        """Send a batch once; a connection that fails is an answer with status 0."""
        packed = gzip.compress(body, _GZIP_LEVEL, mtime=0)
        try:
            response = self._client.post(self._url, content=packed, headers=_HEADERS)
        except httpx.RequestError as error:
            return Answer(0, f"{self._url}: {error or type(error).__name__}")
        pause_seconds = retry_after_seconds(response.headers.get("Retry-After", ""), self._clock()) or 0.0
        return Answer(response.status_code, _quoted(response), pause_seconds)


def _checked(url: str) -> str:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ConfigError(f"The collector's address {url!r} is not a URL: {error}.") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ConfigError(f"The collector's address {url!r} must look like http://host:port.")
    return url.rstrip("/")


def _quoted(response: httpx.Response) -> str:
    status = response.status_code
    phrase = HTTPStatus(status).phrase if status in set(HTTPStatus) else ""
    text = " ".join(_reason(response).split())[:_QUOTE_CHARACTERS]
    return ": ".join(part for part in (f"{status} {phrase}".strip(), text) if part)


def _reason(response: httpx.Response) -> str:
    """The collector says `{"error": ...}`; what stands between it and us may say anything."""
    try:
        body = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        return response.text
    return str(body["error"]) if isinstance(body, dict) and "error" in body else response.text
