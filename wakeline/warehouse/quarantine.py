"""Moves rows out of quarantine; the views are dbt's."""

from base64 import b64decode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from clickhouse_connect.driver.client import Client

from wakeline.clock import to_datetime, to_epoch_ms
from wakeline.errors import WarehouseError
from wakeline.warehouse.client import FAULTS, first_line

#: Rows that are read, repaired and appended at a time.
PAGE_ROWS = 2_000

_REASONS = """
    SELECT reason, count() FROM quarantine
    WHERE stream = {stream:String} AND replayed_at IS NULL GROUP BY reason ORDER BY reason
"""
# The driver takes text for UTF-8, which what is in quarantine need not be.
_ROWS = """
    SELECT partition, offset, source, base64Encode(message), received_at, sent_at FROM quarantine
    WHERE stream = {stream:String} AND replayed_at IS NULL
      AND ({reason:String} = '' OR reason = {reason:String})
      AND (partition, offset) > ({partition:Int32}, {offset:Int64})
    ORDER BY partition, offset LIMIT {rows:UInt32}
"""
_MARK = ["stream", "partition", "offset", "run_id", "replayed_at"]


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A row that was not replayed yet."""

    partition: int
    offset: int
    source: str
    message: bytes
    received_at_ms: int
    #: Of the batch, as the client wrote it.
    sent_at: str | None


class Quarantine:
    """The quarantine of one stream."""

    def __init__(self, client: Client, stream: str) -> None:
        self._client = client
        self._stream = stream

    def reasons(self) -> dict[str, int]:
        """Reason -> rows that were not replayed yet."""
        return {reason: int(rows) for reason, rows in self._ask(_REASONS, {})}

    def pages(self, reason: str) -> Iterator[list[Quarantined]]:
        """The rows of a reason ("" for all) that were not replayed yet, a page at a time, in the stream's order."""
        partition, offset = 0, -1
        while True:
            wanted = {"reason": reason, "partition": partition, "offset": offset, "rows": PAGE_ROWS}
            page = [
                Quarantined(number, place, source, b64decode(message), to_epoch_ms(received_at), sent_at or None)
                for number, place, source, message, received_at, sent_at in self._ask(_ROWS, wanted)
            ]
            if not page:
                return
            yield page
            partition, offset = page[-1].partition, page[-1].offset

    def mark(self, rows: Sequence[Quarantined], run_id: str, now_ms: int) -> None:
        """They were appended to the stream again."""
        values = [[self._stream, row.partition, row.offset, run_id, to_datetime(now_ms)] for row in rows]
        try:
            self._client.insert("quarantine_replays", values, column_names=_MARK)
        except FAULTS as error:
            raise WarehouseError(f"ClickHouse did not take what was replayed: {first_line(error)}") from error

    def _ask(self, query: str, parameters: dict[str, Any]) -> Sequence[Sequence[Any]]:
        asked = {"stream": self._stream, **parameters}
        try:
            return self._client.query(query, asked).result_rows
        except FAULTS as error:
            raise WarehouseError(f"ClickHouse did not answer about quarantine: {first_line(error)}") from error
