"""From a stream record to a landing row: read the envelope, check the message, correct its time.

Nothing is dropped: a message that breaks the contract becomes a quarantined row with its reason and raw bytes.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import orjson

from wakeline.activation.addresses import MAX_ADDRESS_LENGTH
from wakeline.clock import to_epoch_ms
from wakeline.events import Envelope, address_of, address_subject, decode
from wakeline.streams.protocol import Record

SCHEMA_VERSION = 1
MESSAGE_TYPES = frozenset({"track", "page", "screen", "identify", "group", "alias"})
_MAX_ID_LENGTH = 255


class _BreaksContractError(Exception):
    """Carries the reason a message is quarantined for."""


@dataclass(frozen=True, slots=True)
class LandingRow:
    """One row of the `landing` model; `parsed` is the message of an accepted row and is not stored."""

    partition: int
    offset: int
    appended_at_ms: int
    received_at_ms: int
    source: str
    message: bytes
    status: str = "accepted"
    reason: str = ""
    message_id: str = ""
    id: str = ""
    user_id: str = ""
    anonymous_id: str = ""
    type: str = ""
    event: str = ""
    occurred_at_ms: int = 0
    position: str = ""
    #: The batch's sentAt as the client wrote it; stored of quarantined rows, whose time is corrected when tried again.
    sent_at: str = ""
    parsed: dict[str, Any] | None = None


def classify(record: Record, max_event_bytes: int) -> LandingRow:
    """The landing row of a record, accepted or quarantined; duplicates are marked later, by `mark_duplicates`."""
    try:
        envelope = decode(record.value)
    except (ValueError, KeyError, TypeError):
        return LandingRow(
            record.partition,
            record.offset,
            record.appended_at_ms,
            record.appended_at_ms,
            source="",
            message=record.value,
            status="quarantined",
            reason="the envelope is not readable",
            occurred_at_ms=record.appended_at_ms,
            position=record.position,
        )
    row = LandingRow(
        record.partition,
        record.offset,
        record.appended_at_ms,
        envelope.received_at_ms,
        envelope.source,
        envelope.message,
        occurred_at_ms=envelope.received_at_ms,
        position=record.position,
        sent_at=envelope.sent_at or "",
    )
    try:
        return _accepted(row, envelope, max_event_bytes)
    except _BreaksContractError as broken:
        return replace(row, status="quarantined", reason=str(broken))


def mark_duplicates(rows: Iterable[LandingRow], seen: set[str]) -> list[LandingRow]:
    """Accepted rows whose message id was accepted before (`seen`), or stands earlier in `rows`, become duplicates."""
    seen = set(seen)
    marked = []
    for row in rows:
        is_repeated = row.status == "accepted" and row.message_id in seen
        if row.status == "accepted":
            seen.add(row.message_id)
        marked.append(_duplicate(row) if is_repeated else row)
    return marked


def mark_as_landed(
    rows: Sequence[LandingRow], statuses: Mapping[tuple[int, int], str], seen: set[str]
) -> list[LandingRow]:
    """The rows of a batch that landing has already, with the duplicates that it knows: (partition, offset) -> status.

    Another lane may have accepted the same message since: asked again, both were duplicates. Landing can have a part
    of a batch, as one over two months is two parts: the rest is marked as `mark_duplicates` does.
    """
    landed = {row.message_id for row in rows if statuses.get(_place(row)) == "accepted"}
    marked = iter(mark_duplicates([row for row in rows if _place(row) not in statuses], seen | landed))
    return [_as_landed(row, statuses[_place(row)]) if _place(row) in statuses else next(marked) for row in rows]


def _place(row: LandingRow) -> tuple[int, int]:
    return row.partition, row.offset


def _as_landed(row: LandingRow, status: str) -> LandingRow:
    return _duplicate(row) if status == "duplicate" else row


def _duplicate(row: LandingRow) -> LandingRow:
    return replace(row, status="duplicate", reason="the message id was accepted before", parsed=None)


def _accepted(row: LandingRow, envelope: Envelope, max_event_bytes: int) -> LandingRow:
    if len(envelope.message) > max_event_bytes:
        raise _BreaksContractError(f"the message is larger than {max_event_bytes} bytes")
    message = _object(envelope.message)
    kind = _known_type(message)
    user_id, anonymous_id = _text_id(message, "userId"), _text_id(message, "anonymousId")
    return replace(
        row,
        parsed=message,
        message_id=_message_id(message),
        id=_id(message, user_id, anonymous_id),
        user_id=user_id,
        anonymous_id=anonymous_id,
        type=kind,
        event=_event_name(message, kind),
        occurred_at_ms=occurred_at_ms(message, envelope.sent_at, envelope.received_at_ms),
    )


def _object(raw: bytes) -> dict[str, Any]:
    try:
        message = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise _BreaksContractError("the message is not JSON") from error
    if not isinstance(message, dict):
        raise _BreaksContractError("the message is not an object")
    for field in ("properties", "traits", "context"):
        if not isinstance(message.get(field) or {}, dict):
            raise _BreaksContractError(f"{field} is not an object")
    return message


def _known_type(message: dict[str, Any]) -> str:
    kind = message.get("type")
    if not isinstance(kind, str) or kind not in MESSAGE_TYPES:
        raise _BreaksContractError("type is none of the Segment spec's" if kind else "type is missing")
    return kind


def _text_id(message: dict[str, Any], field: str) -> str:
    value = message.get(field)
    if value is None:
        return ""
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise _BreaksContractError(f"{field} is neither text nor a whole number")
    if len(str(value)) > _MAX_ID_LENGTH:
        raise _BreaksContractError(f"{field} is longer than {_MAX_ID_LENGTH} characters")
    return str(value)


def _id(message: dict[str, Any], user_id: str, anonymous_id: str) -> str:
    """Whose message it is. Mail providers and CRMs often know an address and nothing else."""
    if user_id:
        return f"user:{user_id}"
    if anonymous_id:
        return f"anonymous:{anonymous_id}"
    address = address_of(message)
    if not address:
        raise _BreaksContractError("neither userId nor anonymousId, nor an e-mail address")
    if len(address) > MAX_ADDRESS_LENGTH:
        raise _BreaksContractError(f"the e-mail address is longer than {MAX_ADDRESS_LENGTH} characters")
    return address_subject(address)


def _message_id(message: dict[str, Any]) -> str:
    message_id = _text_id(message, "messageId")
    if not message_id:
        raise _BreaksContractError("messageId is missing")
    return message_id


def _event_name(message: dict[str, Any], kind: str) -> str:
    if kind != "track":
        return ""  # A page that is called like an event is not that event.
    name = message.get("event")
    if not (isinstance(name, str) and name):
        raise _BreaksContractError("a track message without an event name")
    return name


def occurred_at_ms(message: dict[str, Any], sent_at: str | None, received_at_ms: int) -> int:
    """Event time corrected for the client's clock: receivedAt - (sentAt - timestamp), never after receipt.

    Source: Segment spec, common fields, "timestamps". Raises when a given timestamp is not a time.
    """
    timestamp = _time(message, "originalTimestamp") or _time(message, "timestamp")
    if timestamp is None:
        return received_at_ms
    sent = _parsed(sent_at) or _time(message, "sentAt")
    corrected = timestamp if sent is None else received_at_ms - (sent - timestamp)
    if corrected < 0:
        raise _BreaksContractError("the event time is before 1970")
    return min(corrected, received_at_ms)


def _time(message: dict[str, Any], field: str) -> int | None:
    value = message.get(field)
    if value is None:
        return None
    parsed = _parsed(value)
    if parsed is None:
        raise _BreaksContractError(f"{field} is not an ISO 8601 time")
    return parsed


def _parsed(value: object) -> int | None:
    if not isinstance(value, str):
        return None
    try:
        return to_epoch_ms(datetime.fromisoformat(value))
    except (ValueError, OverflowError):
        return None
