"""How sends and what people said are kept in DynamoDB.

Everything about an id or an address is under one partition key, with an item `version`: whoever writes something that
a decision on a send goes by counts it up in the same transaction.
"""

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from hashlib import sha256
from typing import Any

import orjson
import sqlalchemy as sa

from wakeline.activation.deliverability import DeliveryReport
from wakeline.activation.gates import DEFERRED, HELD
from wakeline.activation.ledger.states import CLAIMED, COUNTED, NO_ADDRESS, RETRY, SKIPPED
from wakeline.database import sends
from wakeline.dynamodb import Key
from wakeline.events import address_subject, normalised

#: Of a person with more ids only so many are versioned: a transaction has room for no more. Two runs that know most of
#: the same ids have some of these in common.
MOST_IDS = 40
#: Index partitions of sends that wait for their time: AWS takes a thousand writes a second in one.
SHARDS = ("0", "1", "2", "3")

#: What counts whenever it was claimed.
_ALWAYS_MS = 2**53
_JSON_COLUMNS = tuple(column.name for column in sends.columns if isinstance(column.type, sa.JSON))
_PLAIN_COLUMNS = tuple(column.name for column in sends.columns if column.name not in _JSON_COLUMNS)
_NULLABLE = frozenset(column.name for column in sends.columns if column.nullable)
_DEFAULTS: Mapping[str, Any] = {"reason": "", "next_attempt_at_ms": 0, "provider_id": "", "esp": "", "priority": 0}
# Sort keys may take 1,024 bytes.
_LONGEST_PURPOSE = 900


def of_id(id_: str) -> str:
    """The partition key of an id, or of the address `email:...`."""
    return f"id#{id_}"


def version_key(id_: str) -> Key:
    """Counts the changes of what decisions go by."""
    return of_id(id_), "version"


def send_key(profile_id: str, key: str) -> Key:
    """The send itself."""
    return of_id(profile_id), f"send#{key}"


def owner_key(key: str) -> Key:
    """Tells whose the send of a key is; or what was reported on it before it was decided on."""
    return f"key#{key}", "owner"


def owner_of(items: Mapping[Key, Mapping[str, Any]], key: str) -> str:
    """The profile id of the send of a key, '' where nothing is decided on it."""
    return str(items.get(owner_key(key), {}).get("profile_id", ""))


def packed_report(report: DeliveryReport) -> str:
    """A report as it is kept in the item of its key."""
    return orjson.dumps(asdict(report)).decode()


def early_report(items: Mapping[Key, Mapping[str, Any]], key: str) -> DeliveryReport | None:
    """What was reported on a send before it was decided on."""
    packed = items.get(owner_key(key), {}).get("report")
    return DeliveryReport(**orjson.loads(packed)) if packed else None


def said_key(subject: str, purpose: str, stamp: bool) -> Key:
    """The latest word of an id or address on a purpose."""
    kind, raw = "stamp#" if stamp else "consent#", purpose.encode()
    return of_id(subject), kind + (purpose if len(raw) <= _LONGEST_PURPOSE else sha256(raw).hexdigest())


def suppression_key(address: str) -> Key:
    """Why an address is not mailed."""
    return of_id(address_subject(address)), "suppression"


def address_key(subject: str, address: str) -> Key:
    """An address of another system's record."""
    return of_id(subject), f"address#{address}"


def subjects_of(ids: Iterable[str], address: str) -> list[str]:
    """Who may have said something about a send."""
    known = normalised(address)
    return [*ids, *([address_subject(known)] if known else [])]


def versioned(ids: Iterable[str]) -> list[str]:
    """The ids of a person whose versions a decision depends on."""
    return sorted(set(ids))[:MOST_IDS]


def item_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """The item of a send's row, with what the indexes need of it."""
    full = {**_DEFAULTS, **row}
    data = orjson.dumps({name: full.get(name) for name in _JSON_COLUMNS}, default=str, option=orjson.OPT_NON_STR_KEYS)
    item = {name: full.get(name) for name in _PLAIN_COLUMNS}
    return {**item, "data": zlib.compress(data), "revision": full["revision"], **_counted(full), **_open(full)}


def row_of(item: Mapping[str, Any]) -> dict[str, Any]:
    """The row of a send's item, by the names of the columns of `wakeline.database.sends`."""
    data = orjson.loads(zlib.decompress(item["data"]))
    return {**{name: item.get(name) for name in _PLAIN_COLUMNS}, **data, "revision": item["revision"]}


def is_reopenable(row: Mapping[str, Any]) -> bool:
    """Skipped for want of an address, which may be known by now."""
    return bool(row["state"] == SKIPPED and row["reason"] == NO_ADDRESS)


def claimed_kind(lane: str) -> str:
    """The open sends that a lane has claimed, by fencing token."""
    return f"claimed#{lane}"


def timed_kind(shard: str) -> str:
    """The open sends that wait for their time."""
    return f"timed#{shard}"


def until(now_ms: int) -> str:
    """The end of the order of those whose time has come."""
    return f"{now_ms:016d}$"  # "$" comes after "#".


HELD_KIND = "held"


def occurred_at(open_order: str) -> int:
    """When that occurred which a send that waits is about, in epoch milliseconds."""
    return int(open_order.split("#")[2])


def due_order(row: Mapping[str, Any]) -> tuple[int, int, int, str]:
    """Oldest first, then what has priority."""
    return row["next_attempt_at_ms"], -row["priority"], row["occurred_at_ms"], row["idempotency_key"]


def _counted(row: Mapping[str, Any]) -> dict[str, int]:
    if row["state"] in COUNTED:
        return {"counted_at_ms": row["claimed_at_ms"]}
    return {"counted_at_ms": _ALWAYS_MS} if row["state"] in (RETRY, DEFERRED) else {}


def _open(row: Mapping[str, Any]) -> dict[str, str]:
    key = row["idempotency_key"]
    if row["state"] == CLAIMED:
        return {"open_kind": claimed_kind(row["lane"]), "open_order": f"{row['fencing_token']:016d}#{key}"}
    if row["state"] not in (RETRY, DEFERRED, HELD):
        return {}
    due_ms, priority, occurred_ms, _ = due_order(row)
    order = f"{due_ms:016d}#{priority + 10**9:010d}#{occurred_ms:016d}#{key}"
    shard = SHARDS[int(key[0], 16) % len(SHARDS)]
    return {"open_kind": HELD_KIND if row["state"] == HELD else timed_kind(shard), "open_order": order}
