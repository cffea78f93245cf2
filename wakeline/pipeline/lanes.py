"""Who may process a lane, and how far it is: leases with fencing tokens, batch intents, committed offsets.

A lease is a row with an expiry; each new holder gets the next fencing token. Every write names its token and fails
with LeaseLostError when it is no longer the newest, so a holder that was paused cannot do harm when it wakes up.

A lane reads the partitions whose number, divided by the number of lanes, leaves the lane's own. When that number is
changed, lanes of the old number must end before one of the new begins, and what they had begun is done first.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from wakeline.errors import ConfigError, LeaseLostError, StreamError

#: Offset ranges of one micro-batch: partition -> (first, end), end exclusive.
Ranges = Mapping[int, tuple[int, int]]
#: What is kept of a lane, by the names of the columns of `wakeline.database.lanes`.
Row = Mapping[str, Any]

#: There is always this one.
FIRST_LANE = "0"
#: No lanes, but names under which one run at a time holds something: the archive, the right to rebuild profiles, and
#: the right to let all lanes stand still.
ARCHIVE = "archive"
REBUILD = "rebuild"
STANDSTILL = "standstill"
NO_LANES = (ARCHIVE, REBUILD, STANDSTILL)


@dataclass(frozen=True, slots=True)
class LaneState:
    """What the supervisor sees of a lane."""

    holder: str
    fencing_token: int
    held_since_ms: int
    expires_at_ms: int
    successor: str
    successor_seen_ms: int
    evaluated_until_ms: int


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to process a lane, one of `lane_count`, until it expires or a newer token exists."""

    lane: str
    holder: str
    fencing_token: int
    lane_count: int


@dataclass(frozen=True, slots=True)
class LanePause:
    """Who holds a lane, why and since when.

    What was appended until `after_ms` is to be processed before (0: nothing, or all of it is).
    """

    lane: str
    paused_by: str
    reason: str
    paused_at_ms: int
    after_ms: int


NOBODY = LaneState("", 0, 0, 0, "", 0, 0)


class LaneStore(ABC):
    """Leases, intents and offsets of one stream's lanes; `lane_count` is how many there are."""

    def __init__(self, stream: str, lane_count: int) -> None:
        self._stream = stream
        self.lane_count = lane_count

    def names(self) -> list[str]:
        """The lanes: "0", "1" and so on."""
        return [str(number) for number in range(self.lane_count)]

    def partitions_of(self, lane: str, partitions: Iterable[int]) -> list[int]:
        """Those of the partitions that are the lane's."""
        return [partition for partition in partitions if self.is_of(lane, partition)]

    def is_of(self, lane: str, partition: int) -> bool:
        """Whether a partition is the lane's."""
        return partition % self.lane_count == int(lane)

    @abstractmethod
    def state(self, lane: str) -> LaneState:
        """The lane's row; all zero for a lane nobody has held yet."""

    def acquire(
        self, lane: str, holder: str, now_ms: int, lease_ms: int, *, despite_pause: bool = False
    ) -> Lease | None:
        """The lease if the lane is free or its holder's lease has expired, else None.

        None as well while the lane is paused, and while lanes of another number are at work, or have begun a batch that
        is theirs to do again. `despite_pause` is for those who need that nobody processes the lane. Raises ConfigError
        when there is no such lane.
        """
        self.require_lane(lane)
        if not despite_pause and self.is_paused(lane):
            return None
        return self._acquire(lane, holder, now_ms, lease_ms)

    @abstractmethod
    def _acquire(self, lane: str, holder: str, now_ms: int, lease_ms: int) -> Lease | None:
        """The same of a lane that there is and that may be taken."""

    def is_paused(self, lane: str) -> bool:
        """Whether no run may process the lane: it is paused, and nothing is to be processed before."""
        pause = self.pauses().get(lane)
        return pause is not None and not pause.after_ms

    @abstractmethod
    def pause(self, pause: LanePause) -> None:
        """Let no run process a lane from now on, instead of an earlier pause. Raises ConfigError without such a lane.

        Its present run ends after the batch that it is at.
        """

    @abstractmethod
    def resume(self, lane: str) -> bool:
        """Let a lane go on; whether it was paused."""

    @abstractmethod
    def end_drain(self, lease: Lease, drain: LanePause) -> bool:
        """What was to be processed before the pause is: no run may process the lane any more.

        False, and nothing is changed, when the lane was resumed or paused anew since the pause was looked at. Raises
        LeaseLostError when the lease is gone.
        """

    @abstractmethod
    def pauses(self) -> dict[str, LanePause]:
        """The pauses in force, by lane."""

    def acquire_archive(self, holder: str, now_ms: int, lease_ms: int) -> Lease | None:
        """The right to write the archive or to restore from it; None while another run has it."""
        return self._acquire_named(ARCHIVE, holder, now_ms, lease_ms)

    def acquire_rebuild(self, holder: str, now_ms: int, lease_ms: int) -> Lease | None:
        """The right to rebuild profiles; None while another run has it."""
        return self._acquire_named(REBUILD, holder, now_ms, lease_ms)

    def acquire_standstill(self, holder: str, now_ms: int, lease_ms: int) -> Lease | None:
        """Asks all resident runs to give their lanes back after the batch they are at, and to take none.

        As long as the lease lives; None while another run has it.
        """
        return self._acquire_named(STANDSTILL, holder, now_ms, lease_ms)

    def stand_still(self, now_ms: int) -> bool:
        """Whether somebody lets all lanes stand still."""
        state = self.state(STANDSTILL)
        return bool(state.holder) and state.expires_at_ms > now_ms

    @abstractmethod
    def _acquire_named(self, name: str, holder: str, now_ms: int, lease_ms: int) -> Lease | None:
        """The lease of one of NO_LANES; None while another run has it."""

    @abstractmethod
    def wait_as_successor(self, lane: str, holder: str, now_ms: int) -> None:
        """Tell the holder that somebody stands by; said again at every look, so a dead successor is seen as dead."""

    @abstractmethod
    def renew(self, lease: Lease, now_ms: int, lease_ms: int) -> None:
        """Extend the lease; raises LeaseLostError when it is gone."""

    @abstractmethod
    def release(self, lease: Lease) -> None:
        """Give the lane back at once; nothing happens when it was lost before."""

    @abstractmethod
    def begin(self, lease: Lease, ranges: Ranges, now_ms: int, lease_ms: int) -> None:
        """Record the batch about to be ingested, so that a crash is followed by exactly the same batch."""

    @abstractmethod
    def to_redo(self, lease: Lease) -> dict[int, tuple[int, int]]:
        """A batch that was begun and not committed, of this lane or of lanes of another number; empty without one.

        It is the lease's own from then on. Until all of these are done the other lanes wait.
        """

    @abstractmethod
    def commit(
        self, lease: Lease, ranges: Ranges, evaluated_until_ms: int, expires_at_ms: int, read_until_ms: int = 0
    ) -> None:
        """The batch is done: offsets, watermarks and intent move together, or LeaseLostError.

        `evaluated_until_ms` is later than the stream was read; whatever was appended to the lane's partitions until
        `read_until_ms` has been read.
        """

    @abstractmethod
    def note_read(self, lease: Lease, now_ms: int) -> None:
        """The stream was read, and had nothing; raises LeaseLostError when the lease is gone."""

    @abstractmethod
    def read_until(self) -> dict[str, int]:
        """Until when each lane has read what was appended to its partitions; 0 for one that never began."""

    @abstractmethod
    def last_read_ms(self) -> int | None:
        """When the lane that has read the stream least lately did so; None when no lane ever has."""

    @abstractmethod
    def begun_batches(self) -> list[dict[int, tuple[int, int]]]:
        """The batches that lanes have begun, and will ingest again from the stream if they were cut off."""

    @abstractmethod
    def holders_so_far(self) -> int:
        """How often a lane has changed hands."""

    @abstractmethod
    def committed(self) -> dict[int, int]:
        """The first unprocessed offset of each partition that was ever committed."""

    @abstractmethod
    def starts(self) -> dict[int, int]:
        """The offset at which each partition was first read."""

    @abstractmethod
    def begin_at(self, lease: Lease, starts: Mapping[int, int]) -> None:
        """Remember where partitions that were never read begin: what leaves the stream from there on is missed."""

    @abstractmethod
    def correct_offsets(self, lease: Lease, committed: Mapping[int, int]) -> None:
        """Set the committed offsets to what the warehouse holds, which is the truth."""

    def require_identity(self, identity: str) -> None:
        """The stream must be the one that the offsets belong to; the first one seen is. Raises StreamError."""
        known = self._first_identity(identity)
        if known != identity:
            raise StreamError(
                f"The event stream '{self._stream}' was deleted and made anew (it is {identity}, and was {known}): its"
                " offsets start again and mean other events. Give the new one another stream.name."
            )

    @abstractmethod
    def _first_identity(self, identity: str) -> str:
        """The identity that was seen first, which this one may be."""

    def require_lane(self, lane: str) -> None:
        """Raises ConfigError when there is no such lane."""
        if lane not in self.names():
            raise ConfigError(f"There is no lane {lane}: lane.count is {self.lane_count}.")

    def _is_in_the_way(self, row: Row, lane: str, now_ms: int) -> bool:
        """A live holder of the lane or of lanes of another number, or what these had begun: the first lane does it."""
        alive = is_alive(row, now_ms)
        if row["lane_count"] == self.lane_count:
            return alive and row["lane"] == lane
        return alive or (bool(self._begun(row)) and lane != FIRST_LANE)

    def _begun(self, row: Row) -> Any:
        """The batch that a lane had begun; none of another stream, whose offsets mean other events."""
        return row["intent"] if row["intent_stream"] in ("", self._stream) else None

    def _is_laid_out(self, rows: Mapping[str, Row]) -> bool:
        return all(name in rows and rows[name]["lane_count"] == self.lane_count for name in self.names())

    def _slowest(self, rows: Mapping[str, Row]) -> dict[str, int]:
        """When their number has changed, all lanes begin where the slowest was: its wake-ups are anybody's now."""
        names = ("evaluated_until_ms", "read_at_ms", "read_until_ms")
        return {name: min((row[name] for row in rows.values() if row[name]), default=0) for name in names}

    def _to_adopt(self, rows: Mapping[str, Row], lane: str) -> Row | None:
        """What lanes of another number have begun is the first lane's to do."""
        others = [row for row in rows.values() if row["lane_count"] != self.lane_count and self._begun(row)]
        return others[0] if lane == FIRST_LANE and others else None


def is_alive(row: Row, now_ms: int) -> bool:
    """Whether somebody's lease has not expired."""
    return bool(row["holder"]) and row["expires_at_ms"] > now_ms


def intent_of(ranges: Ranges) -> dict[str, list[int]]:
    """Offset ranges as they are kept."""
    return {str(partition): list(bounds) for partition, bounds in ranges.items()}


def ranges_of_intent(intent: Mapping[str, Any]) -> dict[int, tuple[int, int]]:
    """Offset ranges that were kept."""
    return {int(partition): (int(first), int(end)) for partition, (first, end) in intent.items()}


def lease_lost(lease: Lease) -> LeaseLostError:
    """What a holder is told whose lane another one has."""
    return LeaseLostError(
        f"Run {lease.holder} no longer holds lane {lease.lane}: a newer run has taken it, nothing more is written."
    )
