"""What landing holds, by stream and partition: asked when all of it is read again."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from clickhouse_connect.driver.client import Client

from wakeline.errors import WarehouseError
from wakeline.settings import HEARTBEAT_SOURCE
from wakeline.warehouse.client import FAULTS, first_line
from wakeline.warehouse.spans import Offsets, Place, Span

#: Of each partition: how many rows, and what their offsets come to.
Digest = Mapping[Place, tuple[int, int]]

_EXTENT = """
    SELECT stream, partition, min(offset), max(offset) + 1, count(), toUnixTimestamp64Milli(min(received_at))
    FROM landing GROUP BY stream, partition
"""
_ENDS = "SELECT stream, partition, max(offset) + 1 FROM landing WHERE {beyond} GROUP BY stream, partition"
_DIGEST = """
    SELECT stream, partition, count(), groupBitXor(sipHash64(offset)) FROM landing WHERE {within}
    GROUP BY stream, partition
"""
# Ids of heartbeats are not remembered. Both tables are written by the same insert, and of the lanes' own stream only
# what is committed is compared.
_FORGOTTEN = """
    WITH (
        SELECT count() FROM landing
        WHERE status = 'accepted' AND source != {heartbeats:String}
          AND (stream != {stream:String} OR offset < transform(partition, {partitions:Array(UInt16)}, {ends:Array(UInt64)}, 0))
    ) AS landed
    SELECT count() - landed FROM landing_message_ids
    WHERE stream != {stream:String} OR offset < transform(partition, {partitions:Array(UInt16)}, {ends:Array(UInt64)}, 0)
"""  # noqa: E501


@dataclass(frozen=True, slots=True)
class Extent:
    """Where the rows of each partition begin and end, how many there are, and when the oldest came in, if any."""

    firsts: Offsets
    ends: Offsets
    rows: int
    oldest_received_at_ms: int | None


class Landed:
    """The landing table with the rows of all streams."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def extent(self) -> Extent:
        """Of everything; reads the key columns of the whole table."""
        rows = self._ask(_EXTENT, {})
        return Extent(
            firsts={(stream, partition): first for stream, partition, first, *_ in rows},
            ends={(stream, partition): end for stream, partition, _, end, *_ in rows},
            rows=sum(count for *_, count, _ in rows),
            oldest_received_at_ms=min((received_at_ms for *_, received_at_ms in rows), default=None),
        )

    def ends_beyond(self, ends: Offsets) -> Offsets:
        """Where each partition ends by now; quick, as only what comes behind the known `ends` is looked for."""
        parameters = {"streams": [stream for stream, _ in ends], "partitions": [number for _, number in ends]}
        unknown = "(stream, partition) NOT IN arrayZip({streams:Array(String)}, {partitions:Array(UInt16)})"
        spans = [Span(*place, end, 2**63) for place, end in ends.items()]
        condition, bounds = within(spans)
        rows = self._ask(_ENDS.format(beyond=f"{condition} OR {unknown}"), {**parameters, **bounds})
        return {**ends, **{(stream, partition): end for stream, partition, end in rows}}

    def digest(self, spans: Sequence[Span]) -> Digest:
        """What these spans hold: another one when rows have come or gone."""
        condition, parameters = within(spans)
        rows = self._ask(_DIGEST.format(within=condition), parameters)
        return {(stream, partition): (count, digest) for stream, partition, count, digest in rows}

    def forgotten(self, stream: str, committed: Mapping[int, int]) -> int:
        """How many accepted events landing no longer has, though it remembers their message ids."""
        parameters = {
            "stream": stream,
            "heartbeats": HEARTBEAT_SOURCE,
            "partitions": list(committed),
            "ends": list(committed.values()),
        }
        return max(0, int(self._ask(_FORGOTTEN, parameters)[0][0])) if committed else 0

    def _ask(self, query: str, parameters: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        with warehouse_errors("did not answer about landing"):
            return self._client.query(query, dict(parameters)).result_rows


def within(spans: Sequence[Span]) -> tuple[str, dict[str, Any]]:
    """A condition on rows of landing, and its parameters; by the table's key, so that nothing else is read."""
    conditions: list[str] = []
    parameters: dict[str, Any] = {}
    for number, span in enumerate(spans):
        conditions.append(
            f"(stream = {{s{number}:String}} AND partition = {{p{number}:UInt16}}"
            f" AND offset >= {{f{number}:UInt64}} AND offset < {{e{number}:UInt64}})"
        )
        parameters |= {f"s{number}": span.stream, f"p{number}": span.partition}
        parameters |= {f"f{number}": span.first, f"e{number}": span.end}
    return " OR ".join(conditions) or "false", parameters


def together(digests: Sequence[Digest]) -> dict[Place, tuple[int, int]]:
    """The digest of several spans that have no row in common."""
    found: dict[Place, tuple[int, int]] = {}
    for digest in digests:
        for place, (count, bits) in digest.items():
            known_count, known_bits = found.get(place, (0, 0))
            found[place] = (known_count + count, known_bits ^ bits)
    return found


@contextmanager
def warehouse_errors(what: str) -> Iterator[None]:
    """Raise what ClickHouse says as one sentence: 'ClickHouse <what>: <its words>'."""
    try:
        yield
    except FAULTS as error:
        raise WarehouseError(f"ClickHouse {what}: {first_line(error)}") from error
