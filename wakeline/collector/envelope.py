"""From a request's body to the events that go into the stream; pure functions.

Only a body that cannot be taken apart is refused. A message that is wrong in itself goes into the stream as
it came: landing puts it into quarantine with the reason, and nothing is lost.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import orjson

from wakeline.collector.deep import READ_LEVELS, WRITE_LEVELS, deep_recursion
from wakeline.collector.refused import RefusedError
from wakeline.collector.wellformed import utf8
from wakeline.events import Envelope, encode, stream_key

# The header repeats sentAt in every event of the batch; what is longer than any time is not one.
MAX_SENT_AT_CHARACTERS = 64

#: The Segment limit.
MAX_BATCH_MESSAGES = 2_500

#: A batch's context becomes part of each message: together they may come to so many times a body's largest size.
MAX_CONTEXT_GROWTH = 8


@dataclass(frozen=True, slots=True)
class Batch:
    """The messages of one request; `sent_at` is the client's word for all of them."""

    messages: list[Any]
    sent_at: str | None


def parse_json(body: bytes) -> object:
    """The JSON that a body is, whatever its Content-Type says; raises RefusedError (400)."""
    try:
        return _load(body)
    except RecursionError as error:
        raise RefusedError(400, "The body is nested too deeply.") from error
    except ValueError as error:
        raise RefusedError(400, f"The body is not valid JSON: {error}.") from error


def parse_object(body: bytes) -> dict[str, Any]:
    """The JSON object that a body is; raises RefusedError (400)."""
    content = parse_json(body)
    if not isinstance(content, dict):
        raise RefusedError(400, "The body is not a JSON object.")
    return content


def parse_batch(content: dict[str, Any], max_bytes: int) -> Batch:
    """Take apart `{"batch": [...], "sentAt": ..., "context": ...}`; raises RefusedError (400) with what is wrong.

    `max_bytes` is the largest size of a body; a context that would make many times that of it is refused (413).

    A context of the batch goes for every message, as far as the message has none of its own
    (https://segment.com/docs/connections/sources/catalog/libraries/server/http-api/#batch).
    """
    messages = content.get("batch")
    if not isinstance(messages, list):
        raise RefusedError(400, "The body has no list 'batch'.")
    messages = messages_of(messages)
    context = content.get("context")
    if isinstance(context, dict):
        _require_sound(context, len(messages), max_bytes)
        messages = [_with_context(message, context) for message in messages]
    return Batch(messages, _sent_at(content))


def parse_message(content: dict[str, Any], message_type: str) -> Batch:
    """A body that is one message, of `message_type` unless it says otherwise."""
    if content.get("type") is None:
        content["type"] = message_type
    return Batch(messages_of([content]), _sent_at(content))


def messages_of(messages: list[Any]) -> list[Any]:
    """The messages without their write key: it is no part of the event; raises RefusedError (413) for too many."""
    if len(messages) > MAX_BATCH_MESSAGES:
        raise RefusedError(413, f"The batch has {len(messages)} messages; at most {MAX_BATCH_MESSAGES} are taken.")
    for message in messages:
        if isinstance(message, dict):
            message.pop("writeKey", None)
    return messages


def _require_sound(context: dict[str, Any], messages: int, max_bytes: int) -> None:
    # It becomes part of every message: one that landing cannot read would put them all into quarantine.
    written = _dump({"context": context})
    if len(written) * messages > MAX_CONTEXT_GROWTH * max_bytes:
        raise RefusedError(413, "The batch's context is too large for its many messages; send smaller batches.")
    try:
        orjson.loads(written)
    except ValueError as error:
        raise RefusedError(400, f"The batch's context is not valid JSON: {error}.") from error


def _with_context(message: Any, context: dict[str, Any]) -> Any:
    own = message.get("context") or {} if isinstance(message, dict) else None
    return {**message, "context": {**context, **own}} if isinstance(own, dict) else message


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
        key = utf8(stream_key(message))
    return key, encode(Envelope(received_at_ms, source, sent_at, _dump(message)))


def _load(body: bytes) -> object:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        # orjson refuses lone surrogates, but a browser sends one whenever a title is cut within an emoji.
        with deep_recursion(READ_LEVELS):
            return json.loads(body, parse_constant=_refuse_constant)


def _dump(message: object) -> bytes:
    try:
        return orjson.dumps(message)
    except orjson.JSONEncodeError:  # A lone surrogate, a huge number, or nested deeper than orjson writes.
        with deep_recursion(WRITE_LEVELS):
            text = json.dumps(message, separators=(",", ":"), ensure_ascii=False)
        return text.encode(errors="replace")  # A title cut within an emoji ends in a question mark.


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _sent_at(content: dict[str, Any]) -> str | None:
    value = content.get("sentAt")
    if isinstance(value, str) and len(value) <= MAX_SENT_AT_CHARACTERS:
        return utf8(value)
    return None
