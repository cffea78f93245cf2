"""Repairing a quarantined message: pure functions."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

_TIMES = ("timestamp", "originalTimestamp", "sentAt")


@dataclass(frozen=True, slots=True)
class Repair:
    """What is changed in every message before it is tried again; nothing by default."""

    #: A JSON merge patch (RFC 7396): values are set, null takes a field away.
    merge_patch: Mapping[str, Any] = field(default_factory=dict)
    #: Take the client's times away: the event then happened when it was received.
    times_of_receipt: bool = False
    #: Give a message without an id one that is always the same for the same row.
    give_message_ids: bool = False


def repaired(message: bytes, row_id: str, repair: Repair) -> bytes:
    """The message as it is tried again; one that is no JSON object stays as it is."""
    if repair == Repair():
        return message
    try:
        content = orjson.loads(message)
    except orjson.JSONDecodeError:
        return message
    if not isinstance(content, dict):
        return message
    changed = merged(content, repair.merge_patch)
    if repair.times_of_receipt:
        changed = {name: value for name, value in changed.items() if name not in _TIMES}
    if repair.give_message_ids and not changed.get("messageId"):
        changed["messageId"] = row_id
    return orjson.dumps(changed)


def merged(content: Any, patch: Any) -> Any:
    """The content after a JSON merge patch, https://www.rfc-editor.org/rfc/rfc7396."""
    if not isinstance(patch, Mapping):
        return patch
    kept = dict(content) if isinstance(content, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            kept.pop(name, None)
        else:
            kept[name] = merged(kept.get(name), value)
    return kept
