"""How a batch is shared among partitions that each have more than it can hold."""

from collections.abc import Callable, Sequence

from wakeline.streams.protocol import Record

#: (partition, most rows, most bytes) -> its next records.
Take = Callable[[int, int, int], list[Record]]


def share_out(partitions: Sequence[int], take: Take, max_rows: int, max_bytes: int) -> list[Record]:
    """The next records of all partitions, each its fair share; what one does not need the next ones get.

    `partitions` are those that have something.
    """
    records: list[Record] = []
    for index, partition in enumerate(partitions):
        rows = max(1, (max_rows - len(records)) // (len(partitions) - index))
        records += take(partition, rows, max_bytes // len(partitions))
    return records
