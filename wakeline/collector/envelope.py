"""From a request's body to the events that go into the stream; pure functions.

Only a body that cannot be taken apart is refused. A message that is wrong in itself goes into the stream as
it came: landing puts it into quarantine with the reason, and nothing is lost.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import orjson

from wakeline.collector.refused import RefusedError
from wakeline.events import Envelope, encode, stream_key

# The header repeats sentAt in every event of the batch; what is longer than any time is not one.
MAX_SENT_AT_CHARACTERS = 64


@dataclass(frozen=True, slots=True)
class Batch:
    """The messages of one request; `sent_at` is the client's word for all of them."""

    messages: list[Any]
    sent_at: str | None


def parse_batch(body: bytes) -> Batch:
    """Take apart `{"batch": [...], "sentAt": ...}`; raises RefusedError (400) with what is wrong."""
    content = _object(body)
    messages = content.get("batch")
    if not isinstance(messages, list):
        raise RefusedError(400, "The body has no list 'batch'.")
    return Batch(messages, _sent_at(content))


def parse_message(body: bytes, message_type: str) -> Batch:
    """A body that is one message, of `message_type` unless it says otherwise; raises RefusedError (400)."""
    message = _object(body)
    if message.get("type") is None:
        message["type"] = message_type
    return Batch([message], _sent_at(message))


def to_events(batch: Batch, received_at_ms: int, source: str, new_id: Callable[[], str]) -> list[tuple[str, bytes]]:
    """(stream key, envelope) of each message, in order; a message without messageId gets one."""
    return [_event(message, batch.sent_at, received_at_ms, source, new_id) for message in batch.messages]


def _event(
    message: object, sent_at: str | None, received_at_ms: int, source: str, new_id: Callable[[], str]
) -> tuple[str, bytes]:
    key = ""
    if isinstance(message, dict):
        if message.get("messageId") in (None, ""):
            message["messageId"] = new_id()
        sent_at = sent_at or _sent_at(message)
        key = _utf8(stream_key(message))
    return key, encode(Envelope(received_at_ms, source, sent_at, _dump(message)))


def _object(body: bytes) -> dict[str, Any]:
    try:
        content = _load(body)
    except RecursionError as error:
        raise RefusedError(400, "The body is nested too deeply.") from error
    except ValueError as error:
        raise RefusedError(400, f"The body is not valid JSON: {error}.") from error
    if not isinstance(content, dict):
        raise RefusedError(400, "The body is not a JSON object.")
    return content


def _load(body: bytes) -> object:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        # orjson refuses lone surrogates, but a browser sends one whenever a title is cut within an emoji.
        return json.loads(body, parse_constant=_refuse_constant)


def _dump(message: object) -> bytes:
    try:
        return orjson.dumps(message)
    except orjson.JSONEncodeError:  # A lone surrogate, or nested deeper than orjson writes.
        return json.dumps(message, separators=(",", ":")).encode()


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _sent_at(content: dict[str, Any]) -> str | None:
    value = content.get("sentAt")
    if isinstance(value, str) and len(value) <= MAX_SENT_AT_CHARACTERS:
        return _utf8(value)
    return None


def _utf8(text: str) -> str:
    """The text with lone surrogates replaced, as the stream's keys and headers must be UTF-8."""
    return text.encode(errors="replace").decode()
