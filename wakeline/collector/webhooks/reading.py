"""Reading JSON of which nothing is certain: what is missing or of another type is empty, never an error."""

import hashlib
import json
import re
from datetime import datetime
from typing import Any

from wakeline.clock import to_epoch_ms
from wakeline.collector.refused import RefusedError
from wakeline.collector.visitor import truncated_ip
from wakeline.collector.wellformed import utf8

#: No provider nests a tenth of it; what is nested deeper than about 1,000 cannot be written again.
_MAX_DEPTH = 100
#: End of the year 2299, the last that ClickHouse's DateTime64 holds.
_LAST_SECOND = 10_413_791_999
_LIKE_AN_IP = re.compile(r"[0-9a-fA-F]*[.:][0-9a-fA-F.:]{1,43}")


def truncate_ips(document: Any) -> None:
    """Cut every IP address in a JSON document down to its network, in place: none may reach the stream in full.

    Raises RefusedError (400) when the document is nested too deeply.
    """
    waiting = [(document, 1)]
    while waiting:
        container, depth = waiting.pop()
        if depth > _MAX_DEPTH:
            raise RefusedError(400, "The body is nested too deeply.")
        for name, value in _entries(container):
            if isinstance(value, dict | list):
                waiting.append((value, depth + 1))
            elif isinstance(value, str) and _LIKE_AN_IP.fullmatch(value):
                container[name] = truncated_ip(value) or value


def at(value: Any, *path: str) -> Any:
    """What stands at a path of keys; None when there is nothing."""
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def text_at(value: Any, *path: str) -> str:
    """The text or the whole number at a path, as text; empty when there is none."""
    found = at(value, *path)
    if isinstance(found, str):
        return utf8(found)
    return str(found) if isinstance(found, int) and not isinstance(found, bool) else ""


def object_at(value: Any, *path: str) -> dict[str, Any]:
    """The object at a path; empty when there is none."""
    found = at(value, *path)
    return found if isinstance(found, dict) else {}


def list_at(value: Any, *path: str) -> list[Any]:
    """The list at a path; empty when there is none."""
    found = at(value, *path)
    return found if isinstance(found, list) else []


def address_at(value: Any, *path: str) -> str:
    """The e-mail address at a path, without the name it may carry; empty when there is none."""
    found = text_at(value, *path).strip()
    if found.endswith(">"):
        found = found.rpartition("<")[2].removesuffix(">").strip()
    return found if "@" in found else ""


def ms_of_iso(value: object) -> int | None:
    """Epoch milliseconds of an ISO 8601 text; None for what is no time between 1970 and 2299."""
    if not isinstance(value, str):
        return None
    try:
        found = to_epoch_ms(datetime.fromisoformat(value))
    except (ValueError, OverflowError):
        return None
    return found if 0 <= found <= _LAST_SECOND * 1_000 else None


def ms_of_seconds(value: object) -> int | None:
    """Epoch milliseconds of seconds since 1970, a number or its digits; None for what is no time up to 2299."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= len(str(_LAST_SECOND)):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LAST_SECOND:
        return None
    return round(value * 1_000)


def digest(*parts: Any) -> str:
    """32 hex digits that stand for JSON values; the order of an object's keys does not matter."""
    written = json.dumps(parts, sort_keys=True)
    return hashlib.sha256(written.encode()).hexdigest()[:32]


def _entries(container: Any) -> list[tuple[Any, Any]]:
    if isinstance(container, dict):
        return list(container.items())
    return list(enumerate(container)) if isinstance(container, list) else []
