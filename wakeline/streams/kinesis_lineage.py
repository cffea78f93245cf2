"""Which shards may be read: those that a split or merge made, once the ones they took over from are done."""

from concurrent.futures import Future, ThreadPoolExecutor, wait

from wakeline.streams.kinesis_client import Api
from wakeline.streams.kinesis_errors import FAULTS, explained, is_transient
from wakeline.streams.kinesis_look import Look, look_after, place_of
from wakeline.streams.kinesis_pages import Page, Place, fetch
from wakeline.streams.kinesis_positions import Positions
from wakeline.streams.kinesis_reader import Reader
from wakeline.streams.kinesis_shards import Shard, Shards

# Only while a closed shard is not done; another lane may be reading it.
_LOOK_SECONDS = 1.0
# A look takes milliseconds; one that does not is waited for no longer, and asked after at the next look.
_WAIT_SECONDS = 1.0


class Lineage:
    """Knows of each closed shard whether landing holds all of it; for one thread at a time.

    Shards that others read are looked at in threads of their own: a lane has its lease to look after.
    """

    def __init__(
        self, api: Api, shards: Shards, positions: Positions, reader: Reader, pool: ThreadPoolExecutor
    ) -> None:
        self._api = api
        self._shards = shards
        self._positions = positions
        self._reader = reader
        self._pool = pool
        self._finished: set[int] = set()
        #: Partition -> the offset that a look under way began at, and the look.
        self._looks: dict[int, tuple[int, Future[tuple[Look, Place]]]] = {}
        #: Partition -> the offset that looks began at, and where they have come to: pages can be empty for long.
        self._places: dict[int, tuple[int, Place]] = {}
        #: Partition -> the offset at which a closed shard was seen to go on.
        self._goes_on: dict[int, int] = {}
        self._look_at = float("-inf")

    def readable(self) -> list[int]:
        """The partitions that have something to be read, now or later, and nothing to be read before them."""
        shards = self._shards.listed()
        if self._api.waiting.monotonic() >= self._look_at:
            self._look(shards)
        return [
            shard.partition
            for shard in shards.values()
            if shard.partition not in self._finished and self._may_begin(shard, shards)
        ]

    def is_finished(self, partition: int) -> bool:
        """Whether a closed shard was seen to be done."""
        return partition in self._finished

    def _may_begin(self, shard: Shard, shards: dict[int, Shard]) -> bool:
        # Kinesis drops a closed shard from its list when its last record has expired.
        return all(parent in self._finished or parent not in shards for parent in shard.parents)

    def _look(self, shards: dict[int, Shard]) -> None:
        """Generation after generation, for what is done lets those begin that came after it."""
        if not self._undone(shards):
            return
        ends = self._positions.ends()
        done = {-1}
        while done:
            undone = [(shard, *ends.get(shard.partition, (0, ""))) for shard in self._undone(shards)]
            for shard, end, position in undone:
                self._start(shard, end, position)
            done = {shard.partition for shard, end, _ in undone if self._is_done(shard.partition, end)}
            self._finished |= done
        self._look_at = self._api.waiting.monotonic() + _LOOK_SECONDS

    def _undone(self, shards: dict[int, Shard]) -> list[Shard]:
        closed = [shard for shard in shards.values() if shard.closed and shard.partition not in self._finished]
        return [shard for shard in closed if self._may_begin(shard, shards)]

    def _start(self, shard: Shard, end: int, position: str) -> None:
        """Look what follows the end, unless that is known or being looked at."""
        known = self._goes_on.get(shard.partition) == end or self._reader.is_at_end(shard.partition, end)
        under_way = self._looks.get(shard.partition, (-1, None))[0] == end
        if known or under_way:
            return
        looked_from, place = self._places.get(shard.partition, (-1, None))
        if looked_from != end or place is None:
            place = place_of(self._api.settings.stream, shard, position)
        self._places[shard.partition] = (end, place)
        look = self._pool.submit(look_after, self._turn_page, place, position, shard.closed)
        self._looks[shard.partition] = (end, look)

    def _turn_page(self, place: Place, limit: int) -> Page:
        return fetch(self._api.ready(), place, limit)

    def _is_done(self, partition: int, end: int) -> bool:
        if self._reader.is_at_end(partition, end):
            return True
        look = self._looked(partition)
        if look is not None and look.unread_at_ms is not None:
            self._goes_on[partition] = end
        return look is not None and look.ended and look.unread_at_ms is None

    def _looked(self, partition: int) -> Look | None:
        """What a look has shown; None while there is nothing to be said."""
        end, looking = self._looks.get(partition, (-1, None))
        if looking is None or not wait([looking], _WAIT_SECONDS).done:
            return None
        del self._looks[partition]
        try:
            look, place = looking.result()
            self._places[partition] = (end, place)
            return look
        except FAULTS as error:
            if is_transient(error):
                return None
            raise explained(error, self._api.settings) from error
