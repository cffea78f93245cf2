"""Moves batches into the landing table: the few SQL strings that are not dbt's."""

from collections.abc import Callable, Sequence
from typing import Any

from clickhouse_connect.driver.binding import format_str, quote_identifier
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.external import ExternalData

from wakeline.errors import WarehouseError
from wakeline.pipeline.classify import SCHEMA_VERSION, LandingRow
from wakeline.pipeline.lanes import Ranges
from wakeline.warehouse.client import FAULTS, first_line
from wakeline.warehouse.fence import comment_of, current_epoch, raise_fence, require_open

_COLUMNS = [
    "stream", "partition", "offset", "position", "status", "reason", "schema_version", "message_id", "id", "user_id",
    "anonymous_id", "type", "event", "source", "message", "occurred_at", "received_at", "appended_at",
    "sent_at",
]  # fmt: skip
_TYPES = [
    "LowCardinality(String)", "UInt16", "UInt64", "String", "LowCardinality(String)", "LowCardinality(String)",
    "UInt16", "String", "String", "String", "String", "LowCardinality(String)", "LowCardinality(String)",
    "LowCardinality(String)", "String", "DateTime64(3, 'UTC')", "DateTime64(3, 'UTC')", "DateTime64(3, 'UTC')",
    "String",
]  # fmt: skip

# The batch itself does not count, so that the answer is the same when it is ingested again. All other partitions do:
# where a stream's partitions change, a repetition may stand in another one than the first.
_EARLIER = """
    SELECT message_id
    FROM landing_message_ids
    WHERE message_id IN (SELECT message_id FROM _batch)
      AND NOT (
          stream = {stream:String}
          AND offset >= transform(partition, {partitions:Array(UInt16)}, {firsts:Array(UInt64)}, bitNot(toUInt64(0)))
      )
"""
_STATUSES = """
    SELECT partition, offset, status FROM landing
    WHERE stream = {stream:String} AND partition = {partition:UInt16}
      AND offset >= {first:UInt64} AND offset < {end:UInt64}
"""
_COMMITTED = """
    SELECT partition, max(offset) + 1 FROM landing WHERE stream = {stream:String} GROUP BY partition
"""
_POSITION = """
    SELECT position FROM landing
    WHERE stream = {stream:String} AND partition = {partition:UInt16} AND offset = {offset:UInt64}
"""
# A view adds its name to the token after CREATE and after a restart of the server, but its UUID after any ALTER, as a
# deployment's is one. A batch repeated on the other side of these counted twice in every table behind landing: so each
# view is altered, to what it is.
_VIEWS = """
    SELECT name, comment FROM system.tables WHERE database = currentDatabase() AND engine = 'MaterializedView'
"""

#: The server's start is told in whole seconds, as the difference of two clocks.
_START_JITTER_SECONDS = 2

# ClickHouse refuses a bare carriage return at a line's end, and with it the whole batch.
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


class Landing:
    """The landing table of one stream."""

    def __init__(self, client: Client, stream: str) -> None:
        self._client = client
        self._stream = stream
        self._pinned_start_seconds = 0
        self._comment = ""

    def begin(self) -> None:
        """What a new holder of a lane does before it inserts anything; another one's inserts may be refused since.

        Raises WarehouseError, also when a rebuild was cut off so that nothing may come in until the next.
        """
        require_open(self._client)
        self.pin_view_tokens()
        try:
            self._comment = comment_of(current_epoch(self._client))
        except FAULTS as error:
            raise WarehouseError(f"ClickHouse did not answer about landing: {first_line(error)}") from error

    def refuse_earlier(self, sleep: Callable[[float], None], patience_seconds: float) -> None:
        """Let nothing in any more that a lane began before; returns when no such insert is under way.

        For whoever does with a begun batch anything but to do it again. Others do theirs again after `begin`.
        """
        raise_fence(self._client, sleep, patience_seconds)

    def insert(self, rows: Sequence[LandingRow], ranges: Ranges) -> None:
        """Insert a batch with everything that follows from it in the views; the same ranges count once.

        One block, one token: ClickHouse skips a repeated batch in every table of the view chain that has it.
        """
        self.prepare()
        columns = list(zip(*(_values(self._stream, row) for row in rows), strict=True))
        try:
            self._client.insert(
                "landing",
                columns,
                column_names=_COLUMNS,
                column_type_names=_TYPES,
                column_oriented=True,
                settings={"insert_deduplication_token": token(self._stream, ranges), "log_comment": self._comment},
            )
        except FAULTS as error:
            raise WarehouseError(f"ClickHouse did not take a batch of landing: {first_line(error)}") from error

    def earlier(self, rows: Sequence[LandingRow], ranges: Ranges) -> set[str]:
        """Message ids of the accepted `rows` that were accepted before, in whatever partition."""
        accepted = [row for row in rows if row.status == "accepted"]
        if not accepted:
            return set()
        batch = ExternalData(
            file_name="_batch",
            data="".join(f"{_escaped(row.message_id)}\n" for row in accepted).encode(),
            fmt="TSV",
            structure=["message_id String"],
        )
        parameters = {
            "stream": self._stream,
            "partitions": list(ranges),
            "firsts": [first for first, _ in ranges.values()],
        }
        return {message_id for [message_id] in self._ask(_EARLIER, parameters, batch)}

    def statuses(self, ranges: Ranges) -> dict[tuple[int, int], str]:
        """(partition, offset) -> status of the rows that landing has of these ranges."""
        found: dict[tuple[int, int], str] = {}
        for partition, (first, end) in ranges.items():
            parameters = {"stream": self._stream, "partition": partition, "first": first, "end": end}
            found |= {(number, offset): status for number, offset, status in self._ask(_STATUSES, parameters)}
        return found

    def prepare(self) -> None:
        """To be called before each insert: the server may have been started again since the last."""
        if abs(self._server_start_seconds() - self._pinned_start_seconds) > _START_JITTER_SECONDS:
            self.pin_view_tokens()

    def pin_view_tokens(self) -> None:
        """Let the token of a batch mean the same in all views when the batch is repeated after a restart.

        To be called whenever the server or the views may have changed, before anything is inserted.
        """
        self._pinned_start_seconds = self._server_start_seconds()
        try:
            for name, comment in self._client.query(_VIEWS).result_rows:
                self._client.command(f"ALTER TABLE {quote_identifier(name)} MODIFY COMMENT {format_str(comment)}")
        except FAULTS as error:
            raise WarehouseError(f"ClickHouse did not prepare the views behind landing: {first_line(error)}") from error

    def _server_start_seconds(self) -> int:
        [[start]] = self._ask("SELECT toUnixTimestamp(now()) - uptime()", {})
        return int(start)

    def committed(self) -> dict[int, int]:
        """The first offset of each partition that landing does not hold yet."""
        rows = self._ask(_COMMITTED, {"stream": self._stream})
        return {int(partition): int(end) for partition, end in rows}

    def ends(self) -> dict[int, tuple[int, str]]:
        """The same with the position of the record before it; empty where the stream has none."""
        return {partition: (end, self.position(partition, end - 1)) for partition, end in self.committed().items()}

    def position(self, partition: int, offset: int) -> str:
        """The position of a record; empty where landing does not have it."""
        rows = self._ask(_POSITION, {"stream": self._stream, "partition": partition, "offset": offset})
        return str(rows[0][0]) if rows else ""

    def _ask(
        self, query: str, parameters: dict[str, Any], table: ExternalData | None = None
    ) -> Sequence[Sequence[Any]]:
        try:
            return self._client.query(query, parameters=parameters, external_data=table).result_rows
        except FAULTS as error:
            raise WarehouseError(f"ClickHouse did not answer about landing: {first_line(error)}") from error


def token(stream: str, ranges: Ranges) -> str:
    """The deduplication token of a batch: its stream and offset ranges, nothing else."""
    spans = ",".join(f"{partition}:{first}-{end}" for partition, (first, end) in sorted(ranges.items()))
    return f"{stream}/{spans}"


def _values(stream: str, row: LandingRow) -> tuple[object, ...]:
    return (
        stream, row.partition, row.offset, row.position, row.status, row.reason, SCHEMA_VERSION, row.message_id, row.id,
        row.user_id, row.anonymous_id, row.type, row.event, row.source, row.message, row.occurred_at_ms,
        row.received_at_ms, row.appended_at_ms, row.sent_at if row.status == "quarantined" else "",
    )  # fmt: skip


def _escaped(text: str) -> str:
    return text.translate(_ESCAPES)
