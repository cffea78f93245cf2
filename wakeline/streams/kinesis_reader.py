"""Reads any number of shards at once, each no more often than Kinesis allows."""

from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from wakeline.errors import StreamError
from wakeline.streams.kinesis_client import Api
from wakeline.streams.kinesis_cursor import Cursor
from wakeline.streams.kinesis_errors import FAULTS, explained, is_transient
from wakeline.streams.kinesis_pages import Page, Place, fetch
from wakeline.streams.kinesis_positions import Positions
from wakeline.streams.kinesis_shards import Shards
from wakeline.streams.protocol import Record
from wakeline.streams.sharing import share_out

_MAX_PAGE_RECORDS = 10_000
# Small batches must not make small calls: a shard allows five a second, whatever they bring.
_MIN_PAGE_RECORDS = 1_000


class Reader:
    """One cursor per shard; for one thread at a time.

    Calls go on in threads of their own while nobody waits for them: a shard that does not answer holds up no other,
    and no lease either.
    """

    def __init__(self, api: Api, shards: Shards, positions: Positions, pool: ThreadPoolExecutor) -> None:
        self._api = api
        self._shards = shards
        self._positions = positions
        self._cursors: dict[int, Cursor] = {}
        self._pool = pool

    def read(self, starts: Mapping[int, int], max_rows: int, max_bytes: int, max_wait_seconds: float) -> list[Record]:
        """As `EventStream.read`."""
        self._api.require_open()
        for partition, start in starts.items():
            self._move(partition, start)
        now = self._api.waiting.monotonic
        until = now() + max_wait_seconds
        while True:
            self._go_on(starts, max_rows)
            filled = [partition for partition in starts if self._cursors[partition].has_records()]
            if filled:
                return share_out(filled, self._take, max_rows, max_bytes)
            if now() >= until:
                return []
            self._pause(starts, until)

    def is_at_end(self, partition: int, offset: int) -> bool:
        """Whether a closed shard was read to its end here, and that is the offset."""
        cursor = self._cursors.get(partition)
        return cursor is not None and cursor.ended and cursor.next == offset

    def _move(self, partition: int, start: int) -> None:
        cursor = self._cursors.get(partition)
        if cursor is None or not cursor.covers(start):
            moved = Cursor(partition, self._place(partition, start), start)
            moved.due_at = cursor.due_at if cursor else moved.due_at
            self._cursors[partition] = cursor = moved
        cursor.skip_to(start)

    def _place(self, partition: int, start: int) -> Place:
        shard = self._shards.known(partition)
        number = require_position(self._api, self._positions, partition, start)
        return Place(self._api.settings.stream, shard.id, number)

    def _take(self, partition: int, rows: int, size: int) -> list[Record]:
        return self._cursors[partition].head(rows, size)

    def _go_on(self, starts: Mapping[int, int], max_rows: int) -> None:
        """Take what has come, and ask those again that have nothing left and may be asked."""
        for partition in starts:
            cursor = self._cursors[partition]
            if cursor.fetching is not None and cursor.fetching.done():
                self._take_page(cursor, cursor.fetching)
            if self._is_due(cursor):
                self._ask(cursor, max_rows)

    def _is_due(self, cursor: Cursor) -> bool:
        idle = cursor.fetching is None and not cursor.ended and not cursor.has_records()
        return idle and cursor.due_at <= self._api.waiting.monotonic()

    def _ask(self, cursor: Cursor, max_rows: int) -> None:
        limit = min(_MAX_PAGE_RECORDS, max(_MIN_PAGE_RECORDS, max_rows))
        cursor.due_at = self._api.waiting.monotonic() + self._api.settings.read_seconds
        place = cursor.place
        cursor.fetching = self._pool.submit(lambda: fetch(self._api.ready(), place, limit))

    def _take_page(self, cursor: Cursor, fetched: "Future[Page]") -> None:
        cursor.fetching = None
        try:
            cursor.add(fetched.result())
        except FAULTS as error:
            self._bear(cursor, error)
        if cursor.ended:
            self._shards.forget()

    def _bear(self, cursor: Cursor, error: Exception) -> None:
        """Ask again later what may go better then, but say so when it has not for too long."""
        waiting = self._api.waiting
        if not cursor.failures:
            cursor.failing_since = waiting.monotonic()
        if not is_transient(error) or waiting.monotonic() - cursor.failing_since >= self._api.settings.append_seconds:
            cursor.failures = 0
            raise explained(error, self._api.settings) from error
        pause = self._api.settings.read_seconds + waiting.backoff(cursor.failures)
        cursor.due_at = waiting.monotonic() + pause
        cursor.failures += 1

    def _pause(self, starts: Mapping[int, int], until: float) -> None:
        """Returns when a call is through, or another one may be made, or the time is over."""
        cursors = [self._cursors[partition] for partition in starts]
        dues = [cursor.due_at for cursor in cursors if cursor.fetching is None and not cursor.ended]
        seconds = max(0.0, min([until, *dues]) - self._api.waiting.monotonic())
        under_way = [cursor.fetching for cursor in cursors if cursor.fetching is not None]
        if under_way:
            wait(under_way, seconds, FIRST_COMPLETED)
        else:
            self._api.waiting.sleep(seconds)


def require_position(api: Api, positions: Positions, partition: int, start: int) -> str:
    """The sequence number after which `start` comes; empty for a shard's first. Raises StreamError if nobody knows."""
    position = positions.position(partition, start - 1) if start > 0 else ""
    if start == 0 or position:
        return position
    raise StreamError(
        f"Partition {partition} of the event stream {api.settings.stream} cannot be read on: {start} is the next to"
        " process, but landing does not hold the event before it. Restore the warehouse, or give the stream another"
        " stream.name: it is then read from its first event, and what was processed before counts as a repetition."
    )
