"""Segment messages as tests write them, and the records they become."""

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from support.clocks import NOW_MS
from wakeline.clock import to_iso
from wakeline.events import Envelope, encode, stream_key
from wakeline.pipeline.classify import LandingRow, classify
from wakeline.streams.protocol import EventStream, Record

Message = dict[str, Any]

MAX_EVENT_BYTES = 262_144


def track(
    event: str, message_id: str, *, user: str = "", device: str = "", at_ms: int = NOW_MS, **properties: Any
) -> Message:
    """A `track` message that happened at `at_ms`."""
    return {**_common("track", message_id, user, device, at_ms), "event": event, "properties": properties}


def preferences(message_id: str, *, user: str = "", device: str = "", at_ms: int = NOW_MS, **said: bool) -> Message:
    """The statement of somebody who changes preferences."""
    return with_consent(
        track("Segment Consent Preference Updated", message_id, user=user, device=device, at_ms=at_ms), **said
    )


def identify(
    message_id: str,
    *,
    user: str = "",
    device: str = "",
    at_ms: int = NOW_MS,
    marketing: bool | None = None,
    **traits: str,
) -> Message:
    """An `identify` message, with a word on marketing unless it is None."""
    message = {**_common("identify", message_id, user, device, at_ms), "traits": traits}
    return message if marketing is None else with_consent(message, marketing=marketing)


def with_consent(message: Message, **preferences: bool) -> Message:
    """The message with the consent that was in force when it was sent, as the Segment consent spec has it."""
    consent = {"consent": {"categoryPreferences": preferences}}
    return {**message, "context": {**message.get("context", {}), **consent}}


def record(
    message: Message | bytes,
    partition: int = 0,
    offset: int = 0,
    received_at_ms: int = NOW_MS,
    sent_at: Any = None,
    source: str = "default",
) -> Record:
    """The stream's record of a message that arrived at `received_at_ms`."""
    raw = message if isinstance(message, bytes) else orjson.dumps(message)
    value = encode(Envelope(received_at_ms, source, sent_at, raw))
    return Record(partition, offset, received_at_ms, "key", value)


def rows(*messages: Message | bytes, partition: int = 0, first: int = 0, source: str = "default") -> list[LandingRow]:
    """The landing rows of messages that stand one after the other in a partition."""
    return [
        classify(record(message, partition, offset, source=source), MAX_EVENT_BYTES)
        for offset, message in enumerate(messages, start=first)
    ]


def event(message: Mapping[str, Any], received_at_ms: int = NOW_MS, source: str = "default") -> tuple[str, bytes]:
    """Key and value of a message as the collector appends it."""
    return stream_key(dict(message)), encode(Envelope(received_at_ms, source, None, orjson.dumps(message)))


def append(
    stream: EventStream, messages: Iterable[Message], received_at_ms: int = NOW_MS, source: str = "default"
) -> None:
    """Append messages that arrived at `received_at_ms`."""
    stream.append([event(message, received_at_ms, source) for message in messages])


def _common(kind: str, message_id: str, user: str, device: str, at_ms: int) -> Message:
    ids = {"userId": user, "anonymousId": device}
    given = {field: value for field, value in ids.items() if value}
    return {"type": kind, "messageId": message_id, **given, "timestamp": to_iso(at_ms)}
