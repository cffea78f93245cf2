"""What stands in a shard after a record: a look that moves nothing, for lag, checks and ends of shards."""

from collections.abc import Callable
from dataclasses import dataclass

from wakeline.streams.kinesis_pages import Page, Place, arrived_at_ms
from wakeline.streams.kinesis_shards import Shard

# The record itself and the one after it.
_LIMIT = 2
# Kinesis gives empty pages on the way to records that lie far apart.
_MOST_PAGES = 10


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen: whether the record itself is still `held`, and when the oldest after it arrived, if there is one.

    `behind_ms` tells of records that lie further on than was looked; `ended` when a closed shard has no more.
    """

    held: bool
    unread_at_ms: int | None
    behind_ms: int
    ended: bool

    def seconds(self, now_ms: int) -> float:
        """How old the oldest record is that follows; 0 when none does, and more than 0 when one does."""
        if self.unread_at_ms is None:
            return self.behind_ms / 1000
        return max(1, now_ms - self.unread_at_ms) / 1000


def place_of(stream: str, shard: Shard, position: str) -> Place:
    """Where to look from: the record at `position`, or the shard's beginning if that is empty."""
    return Place(stream, shard.id, position, "AT_SEQUENCE_NUMBER")


def look_after(
    turn_page: Callable[[Place, int], Page], place: Place, position: str, closed: bool
) -> tuple[Look, Place]:
    """What follows the record at `position`, and the place from which to look on where that was not found out.

    `turn_page` gives so many records from a place on; what it raises is raised. Each page is one of the five reads that
    a shard allows in a second.
    """
    held = not position
    for _ in range(_MOST_PAGES):
        page = turn_page(place, _LIMIT)
        held = held or any(record["SequenceNumber"] == position for record in page.records)
        unread = [record for record in page.records if record["SequenceNumber"] != position]
        if unread or page.ended or not (page.behind_ms or closed):
            break
        place = page.place
    return Look(held, arrived_at_ms(unread[0]) if unread else None, page.behind_ms, page.ended), place
