"""The message that `wakeline send` makes of its options, or reads as JSON lines."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from wakeline.clock import to_epoch_ms, to_iso
from wakeline.errors import WakelineError
from wakeline.shipping.refusals import MAX_MESSAGE_BYTES

MESSAGE_TYPES = ("track", "identify", "page", "screen", "group", "alias")
LIBRARY = {"name": "wakeline-send"}


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message, and what a sentence about it calls it: `line 7`."""

    name: str
    message: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Told:
    """What the options tell of a message; what is empty is left out of it."""

    kind: str
    name: str = ""
    user_id: str = ""
    anonymous_id: str = ""
    group_id: str = ""
    previous_id: str = ""
    properties: Mapping[str, Any] | None = None
    traits: Mapping[str, Any] | None = None
    context: Mapping[str, Any] | None = None


def build_message(told: Told, message_id: str, at_ms: int) -> dict[str, Any]:
    """The Segment message (https://segment.com/docs/connections/spec/common/). Raises WakelineError."""
    _check(told)
    fields = {
        "event" if told.kind == "track" else "name": told.name,
        "userId": told.user_id,
        "anonymousId": told.anonymous_id,
        "groupId": told.group_id,
        "previousId": told.previous_id,
        "properties": dict(told.properties or {}),
        "traits": dict(told.traits or {}),
    }
    given = {name: value for name, value in fields.items() if value}
    context = {"library": LIBRARY, **(told.context or {})}
    return {"type": told.kind, "messageId": message_id, "timestamp": to_iso(at_ms), **given, "context": context}


def _check(told: Told) -> None:
    if not told.user_id and not told.anonymous_id:
        raise WakelineError("The message is about nobody; give --user or --anonymous.")
    if told.kind == "track" and not told.name:
        raise WakelineError('A track message needs the event\'s name, as in: wakeline send track "Order Completed".')
    if told.name and told.kind not in ("track", "page", "screen"):
        raise WakelineError(f"A message of type {told.kind} has no name; leave {told.name!r} out.")
    if told.kind == "group" and not told.group_id:
        raise WakelineError("A group message needs --group.")
    if told.kind == "alias" and not told.previous_id:
        raise WakelineError("An alias message needs --previous, the former id.")
    _check_places(told)


def _check_places(told: Told) -> None:
    if told.properties and told.kind not in ("track", "page", "screen"):
        raise WakelineError(f"A message of type {told.kind} has no properties; use --trait or leave them out.")
    if told.traits and told.kind not in ("identify", "group"):
        raise WakelineError(f"A message of type {told.kind} has no traits; use --context traits.NAME=VALUE.")


def pairs(given: Iterable[str], option: str) -> dict[str, Any]:
    """`name=text` and `name:=JSON`, as HTTPie writes them; dots in a name go into objects.

    Raises WakelineError naming the option for anything else.
    """
    found: dict[str, Any] = {}
    for pair in given:
        name, value = _pair(pair, option)
        *outer, last = name.split(".")
        place = found
        for part in outer:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise WakelineError(f"{option} {pair!r}: {part!r} has a value already and cannot hold another.")
        place[last] = value
    return found


def _pair(pair: str, option: str) -> tuple[str, Any]:
    name, equals, value = pair.partition("=")
    is_json = name.endswith(":")
    name = name.removesuffix(":")
    if not equals or not all(name.split(".")):
        raise WakelineError(f"{option} {pair!r} must look like name=text or name:=JSON.")
    if not is_json:
        return name, value
    try:
        return name, orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise WakelineError(f"{option} {pair!r}: what follows := is not JSON ({error}).") from error


def event_time_ms(text: str) -> int:
    """Milliseconds since the Unix epoch of an ISO 8601 time, UTC unless it says otherwise. Raises WakelineError."""
    try:
        return to_epoch_ms(datetime.fromisoformat(text))
    except ValueError as error:
        raise WakelineError(f"--timestamp {text!r} must look like 2026-11-24T09:30:00Z.") from error


def outgoing(name: str, message: dict[str, Any]) -> Outgoing:
    """The message under this name; raises WakelineError, naming it, when it cannot be sent at all."""
    try:
        size = len(orjson.dumps(message))
    except orjson.JSONEncodeError as error:
        raise WakelineError(f"{name.capitalize()} cannot be sent as JSON ({error}); nothing was sent.") from error
    if size > MAX_MESSAGE_BYTES:
        raise WakelineError(
            f"{name.capitalize()} is larger than {MAX_MESSAGE_BYTES:,} bytes ({size:,}); make it smaller. "
            "Nothing was sent."
        )
    return Outgoing(name, message)


def read_messages(lines: Iterable[bytes], new_id: Callable[[], str]) -> Iterator[Outgoing]:
    """Whole messages, one JSON object a line; one without messageId gets one. Raises WakelineError naming the line."""
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            message = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise WakelineError(f"Line {number} is not JSON ({error}); nothing was sent.") from error
        if not isinstance(message, dict) or message.get("type") not in MESSAGE_TYPES:
            kinds = ", ".join(MESSAGE_TYPES)
            raise WakelineError(f"Line {number} is no message: it needs a type of {kinds}; nothing was sent.")
        whole = message if message.get("messageId") else {**message, "messageId": new_id()}
        yield outgoing(f"line {number}", whole)
