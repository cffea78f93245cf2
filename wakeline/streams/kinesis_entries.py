"""What is put into Kinesis: one entry per event, within the limits of a call.

Limits are from https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecords.html.
"""

from collections.abc import Iterable, Iterator
from hashlib import blake2b
from typing import TYPE_CHECKING

from wakeline.errors import EventRefusedError

if TYPE_CHECKING:
    from mypy_boto3_kinesis.type_defs import PutRecordsRequestEntryTypeDef

MAX_CALL_RECORDS = 500
#: Of keys and values together.
MAX_CALL_BYTES = 5 * 1_048_576
MAX_RECORD_BYTES = 1_048_576

# Kinesis takes no empty key: this one stands for it, and is doubled where a key begins with it.
_MARK = "-"
# 256 UTF-16 units; so many characters never have more.
_MAX_KEY_UNITS = 256
_CUT_KEY_CHARACTERS = 128


def entry(key: str, value: bytes) -> "PutRecordsRequestEntryTypeDef":
    """An event for PutRecords. Raises EventRefusedError when it is too large.

    An event without a key goes where the digest of its value says, so that no shard gets them all; a key too long for
    Kinesis is cut, and goes where the digest of the whole says.
    """
    partition_key = _MARK + key if not key or key.startswith(_MARK) else key
    _require_small(partition_key, value)
    is_long = len(partition_key.encode("utf-16-le")) // 2 > _MAX_KEY_UNITS
    if key and not is_long:
        return {"Data": value, "PartitionKey": partition_key}
    digest = _hash_key(key.encode() or value)
    return {"Data": value, "PartitionKey": partition_key[:_CUT_KEY_CHARACTERS], "ExplicitHashKey": digest}


def key_of(partition_key: str) -> str:
    """The key that an event was appended with."""
    return partition_key.removeprefix(_MARK)


def in_calls(events: Iterable[tuple[str, bytes]]) -> Iterator[list["PutRecordsRequestEntryTypeDef"]]:
    """The entries of the events in order, as many as one call may have at a time."""
    call: list[PutRecordsRequestEntryTypeDef] = []
    size = 0
    for key, value in events:
        added = entry(key, value)
        bytes_ = len(value) + len(added["PartitionKey"].encode())
        if len(call) == MAX_CALL_RECORDS or size + bytes_ > MAX_CALL_BYTES:
            yield call
            call, size = [], 0
        call.append(added)
        size += bytes_
    if call:
        yield call


def _require_small(partition_key: str, value: bytes) -> None:
    size = len(partition_key.encode()) + len(value)
    if size > MAX_RECORD_BYTES:
        raise EventRefusedError(
            f"An event of {size} bytes is larger than the {MAX_RECORD_BYTES} that Kinesis takes; lower"
            " collector.max_event_bytes."
        )


def _hash_key(content: bytes) -> str:
    return str(int.from_bytes(blake2b(content, digest_size=16).digest()))
