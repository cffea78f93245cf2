"""The event envelope: what the collector appends to the stream and what ingest reads back.

The message inside is the Segment spec's (https://segment.com/docs/connections/spec/common/), kept as it came.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

#: What the id of an address begins with.
ADDRESS_KIND = "email:"

#: End of the year 2299, the last that ClickHouse's DateTime64 holds.
_LAST_MS = 10_413_791_999_999


@dataclass(frozen=True, slots=True)
class Envelope:
    """A message with what the collector knows about its arrival.

    `message` is the raw JSON of one Segment message; `sent_at` is the batch's sentAt as the client wrote it.
    """

    received_at_ms: int
    source: str
    sent_at: str | None
    message: bytes


def encode(envelope: Envelope) -> bytes:
    """The bytes that go into the stream: one JSON header line, then the message untouched."""
    header = {"receivedAt": envelope.received_at_ms, "source": envelope.source, "sentAt": envelope.sent_at}
    return orjson.dumps(header) + b"\n" + envelope.message


def decode(value: bytes) -> Envelope:
    """The reverse of `encode`. Raises ValueError, KeyError or TypeError for bytes that `encode` did not make."""
    header_line, _, message = value.partition(b"\n")
    header = orjson.loads(header_line)
    received_at_ms, source, sent_at = header["receivedAt"], header["source"], header["sentAt"]
    if type(received_at_ms) is not int or not 0 <= received_at_ms <= _LAST_MS:
        raise ValueError("receivedAt is no time")
    if not isinstance(source, str) or not isinstance(sent_at, str | None):
        raise TypeError("source and sentAt are text")
    return Envelope(received_at_ms, source, sent_at, message)


def stream_key(message: dict[str, Any]) -> str:
    """What a message is partitioned by: the device while there is one, so a login does not change it.

    A message with no id at all (it will be quarantined) goes by its messageId.
    """
    for field in ("anonymousId", "userId", "messageId"):
        value = message.get(field)
        if isinstance(value, str | int) and value != "":
            return str(value)
    return ""


def address_of(message: Mapping[str, Any]) -> str:
    """The e-mail address a message is about, empty when it names none."""
    for path in (("properties", "email"), ("context", "traits", "email"), ("traits", "email")):
        found: Any = message
        for part in path:
            found = found.get(part) if isinstance(found, Mapping) else None
        if isinstance(found, str) and found.strip():
            return found
    return ""


def normalised(address: str) -> str:
    """Addresses are compared without case and surrounding blanks."""
    return address.strip().lower()


def address_subject(address: str) -> str:
    """The id of an address that nobody has tied to a person: `email:ann@example.com`."""
    return f"{ADDRESS_KIND}{normalised(address)}"


def subject_fields(profile_id: str) -> tuple[dict[str, str], dict[str, str]]:
    """The ids and the properties that make a message that of a profile, `user:ann` for one.

    Raises ValueError when the profile id is none.
    """
    kind, _, value = profile_id.partition(":")
    if kind == "email":
        return {}, {"email": value}
    fields = {"user": "userId", "anonymous": "anonymousId"}
    if kind not in fields:
        raise ValueError("A profile id starts with user:, anonymous: or email:.")
    return {fields[kind]: value}, {}
