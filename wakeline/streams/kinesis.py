"""Amazon Kinesis Data Streams as an event stream: a shard is a partition, numbered as in its id.

Kinesis names records by sequence numbers with gaps. Readers number them as they read, from a shard's first record on,
and landing keeps both: so offsets are dense here too, and after a crash reading goes on behind what landing holds.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from wakeline.clock import Clock, to_epoch_ms, to_iso
from wakeline.settings import Settings
from wakeline.streams.kinesis_append import put_all
from wakeline.streams.kinesis_client import THREADS, Api, open_client
from wakeline.streams.kinesis_lineage import Lineage
from wakeline.streams.kinesis_look import Look, look_after, place_of
from wakeline.streams.kinesis_pages import Page, Place, fetch
from wakeline.streams.kinesis_positions import LandingPositions, Positions
from wakeline.streams.kinesis_reader import Reader, require_position
from wakeline.streams.kinesis_shards import Shard, Shards
from wakeline.streams.kinesis_verify import HOUR_MS, require_kept, require_succeeded
from wakeline.streams.kinesis_waiting import Waiting
from wakeline.streams.protocol import Facts, Lag, Record, every

if TYPE_CHECKING:
    from mypy_boto3_kinesis.type_defs import StreamDescriptionSummaryTypeDef

# A look takes one of the five reads a second that a shard allows, and readers want four.
_LAG_SECONDS = 1.0


def open_kinesis(settings: Settings, clock: Clock, positions: Positions | None = None) -> "KinesisStream":
    """The stream of the settings; nothing is asked before its first use. Raises StreamError for a wrong setting.

    Without `positions`, landing is asked over a connection made when it is needed.
    """
    stream = settings.stream
    api = Api(open_client(stream.kinesis), stream.kinesis, stream.partitions, Waiting())
    return KinesisStream(api, stream.name, clock, positions or LandingPositions(settings))


class KinesisStream:
    """An `EventStream`. Any thread may append; the rest is for one thread at a time. Not to be carried over a fork."""

    def __init__(self, api: Api, name: str, clock: Clock, positions: Positions) -> None:
        self.name = name
        self._api = api
        self._clock = clock
        self._positions = positions
        self._shards = Shards(api)
        self._pool = ThreadPoolExecutor(THREADS, "kinesis")
        self._reader = Reader(api, self._shards, positions, self._pool)
        self._lineage = Lineage(api, self._shards, positions, self._reader, self._pool)
        self._lag = Lag(None, 0.0)
        self._lag_of: Mapping[int, int] | None = None
        self._lag_until = float("-inf")

    def append(self, events: Sequence[tuple[str, bytes]]) -> None:
        """Append (key, value) pairs; returns only once Kinesis holds them all.

        Raises StreamFullError when it has refused some for `append_seconds`, else StreamError. Events of one key that
        are appended together may change places when some are refused and put again.
        """
        put_all(self._api, events)

    def partitions(self) -> list[int]:
        """The shards that may be read: a new one once landing holds all of those it took over from."""
        return self._lineage.readable()

    def earliest(self, partition: int) -> int:
        """Always 0: offsets count from the first record that is found. Raises StreamError for an unknown partition."""
        self._shards.known(partition)
        return 0

    def read(
        self, starts: Mapping[int, int], max_rows: int, max_bytes: int, max_wait_seconds: float = 0
    ) -> list[Record]:
        """Records of each partition from its start on, each with its sequence number as `position`.

        Raises StreamError for a start before which landing holds no record.
        """
        return self._reader.read(starts, max_rows, max_bytes, max_wait_seconds)

    def commit(self, committed: Mapping[int, int]) -> None:
        """Nothing to tell: Kinesis knows no readers."""

    def lag(self, committed: Mapping[int, int], is_meant: Callable[[int], bool] = every) -> Lag:
        """The age of the oldest unread event; Kinesis does not count them. Of all partitions a second old at most."""
        if is_meant is not every:
            return self._asked_lag(committed, is_meant)
        if self._lag_of != committed or self._api.waiting.monotonic() >= self._lag_until:
            self._lag = self._asked_lag(committed, every)
            self._lag_of = dict(committed)
            self._lag_until = self._api.waiting.monotonic() + _LAG_SECONDS
        return self._lag

    def facts(self) -> Facts:
        """The stream's ARN and the time it was made, its open shards, and how long it keeps events."""
        summary = self._summary()
        identity = f"{summary['StreamARN']} of {to_iso(to_epoch_ms(summary['StreamCreationTimestamp']))}"
        open_ = tuple(shard.partition for shard in self._shards.listed().values() if not shard.closed)
        return Facts(identity, open_, summary["RetentionPeriodHours"])

    def verify(self, committed: Mapping[int, int], last_read_ms: int | None = None) -> None:
        """Raises StreamError when events may have expired unprocessed, or landing lacks all of what was processed.

        Reading goes on behind what landing holds, whatever was committed.
        """
        name = self._api.settings.stream
        shards = self._shards.listed()
        ends = {**committed, **{partition: end for partition, (end, _) in self._positions.ends().items()}}
        begun = [shard for shard in self._unfinished() if ends.get(shard.partition, 0)]
        looks = self._looks(begun, ends)
        gone = {partition: look for partition, look in looks.items() if not look.held}
        retention_ms = self._summary()["RetentionPeriodHours"] * HOUR_MS if gone else 0
        for partition, look in gone.items():
            if look.ended and look.unread_at_ms is None:
                require_succeeded(name, partition, shards, ends)
            else:
                require_kept(name, partition, look, self._clock(), retention_ms, last_read_ms)
        for partition in ends:
            if partition not in shards:
                require_succeeded(name, partition, shards, ends)

    def retain(self, committed: Mapping[int, int], before_ms: int) -> int:
        """Nothing happens: Kinesis drops records by its own retention."""
        return 0

    def close(self) -> None:
        """Returns when no call is under way any more; later calls raise StreamError."""
        self._pool.shutdown(cancel_futures=True)
        self._api.close()

    def _asked_lag(self, committed: Mapping[int, int], is_meant: Callable[[int], bool]) -> Lag:
        looks = self._looks([shard for shard in self._unfinished() if is_meant(shard.partition)], committed)
        return Lag(None, max((look.seconds(self._clock()) for look in looks.values()), default=0.0))

    def _summary(self) -> "StreamDescriptionSummaryTypeDef":
        name = self._api.settings.stream
        answer = self._api.ask(lambda client: client.describe_stream_summary(StreamName=name))
        return answer["StreamDescriptionSummary"]

    def _unfinished(self) -> list[Shard]:
        return [shard for shard in self._shards.listed().values() if not self._lineage.is_finished(shard.partition)]

    def _looks(self, shards: Sequence[Shard], committed: Mapping[int, int]) -> dict[int, Look]:
        """Partition -> what follows its committed offset; all are looked at at the same time."""
        self._api.require_open()
        places = {
            shard: require_position(self._api, self._positions, shard.partition, committed.get(shard.partition, 0))
            for shard in shards
        }
        looks = self._pool.map(self._look, places, places.values())
        return {shard.partition: look for shard, look in zip(places, looks, strict=True)}

    def _look(self, shard: Shard, position: str) -> Look:
        def turn_page(place: Place, limit: int) -> Page:
            return self._api.ask(lambda client: fetch(client, place, limit))

        place = place_of(self._api.settings.stream, shard, position)
        look, _ = look_after(turn_page, place, position, shard.closed)
        return look
