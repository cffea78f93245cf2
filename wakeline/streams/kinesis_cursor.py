"""Where reading one shard stands, and what was read of it that the caller has not left behind."""

from collections import deque
from concurrent.futures import Future

from wakeline.streams.kinesis_entries import key_of
from wakeline.streams.kinesis_pages import Page, Place, arrived_at_ms
from wakeline.streams.protocol import Record


class Cursor:
    """One shard from the offset `start` on; for one thread, but for the page that is being fetched."""

    def __init__(self, partition: int, place: Place, start: int) -> None:
        self.place = place
        self.ended = False
        #: The call under way, if there is one.
        self.fetching: Future[Page] | None = None
        #: By the monotonic clock: when the shard may be asked again.
        self.due_at = float("-inf")
        self.failures = 0
        self.failing_since = 0.0
        #: The offset of the next record that is fetched.
        self.next = start
        self._partition = partition
        self._records: deque[Record] = deque()

    def covers(self, start: int) -> bool:
        """Whether reading can go on at `start` from here."""
        return self.next - len(self._records) <= start <= self.next

    def skip_to(self, start: int) -> None:
        """Leave behind what is before `start`."""
        while self._records and self._records[0].offset < start:
            self._records.popleft()

    def has_records(self) -> bool:
        """Whether `head` gives any."""
        return bool(self._records)

    def head(self, max_rows: int, max_bytes: int) -> list[Record]:
        """The first records within the bounds, and in any case one; they stay until they are left behind."""
        taken: list[Record] = []
        for record in self._records:
            max_bytes -= len(record.value)
            if taken and (len(taken) >= max_rows or max_bytes < 0):
                break
            taken.append(record)
        return taken

    def add(self, page: Page) -> None:
        """What was fetched: numbered in reading order, so that every reader gives a record the same offset."""
        for told in page.records:
            key, number = key_of(told["PartitionKey"]), told["SequenceNumber"]
            record = Record(self._partition, self.next, arrived_at_ms(told), key, told["Data"], number)
            self._records.append(record)
            self.next += 1
        self.place, self.ended, self.failures = page.place, page.ended, 0
