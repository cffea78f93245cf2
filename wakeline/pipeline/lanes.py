"""Who may process a lane, and how far it is: leases with fencing tokens, batch intents, committed offsets.

A lease is a row with an expiry; each new holder gets the next fencing token. Every write names its token and fails
with LeaseLostError when it is no longer the newest, so a holder that was paused cannot do harm when it wakes up.

A lane reads the partitions whose number, divided by the number of lanes, leaves the lane's own. When that number is
changed, lanes of the old number must end before one of the new begins, and what they had begun is done first.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from wakeline.database import lanes, offsets, partition_starts, streams
from wakeline.engines import insert, lock_lanes
from wakeline.errors import ConfigError, LeaseLostError, StreamError

#: Offset ranges of one micro-batch: partition -> (first, end), end exclusive.
Ranges = Mapping[int, tuple[int, int]]
Row = sa.RowMapping

#: There is always this one.
FIRST_LANE = "0"


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


class LaneStore:
    """Leases, intents and offsets of one stream's lanes; `lane_count` is how many there are."""

    def __init__(self, engine: Engine, stream: str, lane_count: int = 1) -> None:
        self._engine = engine
        self._stream = stream
        self.lane_count = lane_count

    def names(self) -> list[str]:
        """The lanes: "0", "1" and so on."""
        return [str(number) for number in range(self.lane_count)]

    def partitions_of(self, lane: str, partitions: Iterable[int]) -> list[int]:
        """Those of the partitions that are the lane's."""
        return [partition for partition in partitions if partition % self.lane_count == int(lane)]

    def state(self, lane: str) -> LaneState:
        """The lane's row; all zero for a lane nobody has held yet."""
        with self._reading() as connection:
            row = connection.execute(sa.select(lanes).where(lanes.c.lane == lane)).mappings().first()
        if row is None:
            return LaneState("", 0, 0, 0, "", 0, 0)
        return LaneState(**{name: row[name] for name in LaneState.__slots__})

    def acquire(self, lane: str, holder: str, now_ms: int, lease_ms: int) -> Lease | None:
        """The lease if the lane is free or its holder's lease has expired, else None.

        None as well while lanes of another number are at work, or have begun a batch that is theirs to do again.
        Raises ConfigError when there is no such lane.
        """
        if lane not in self.names():
            raise ConfigError(f"There is no lane {lane}: lane.count is {self.lane_count}.")
        with self._engine.begin() as connection:
            lock_lanes(connection)
            rows = _locked_rows(connection)
            if any(self._is_in_the_way(row, lane, now_ms) for row in rows.values()):
                return None
            self._lay_out(connection, rows)
            row = connection.execute(sa.select(lanes).where(lanes.c.lane == lane)).mappings().one()
            lease = Lease(lane, holder, row["fencing_token"] + 1, self.lane_count)
            connection.execute(
                sa.update(lanes)
                .where(lanes.c.lane == lane)
                .values(
                    holder=holder,
                    fencing_token=lease.fencing_token,
                    held_since_ms=now_ms,
                    expires_at_ms=now_ms + lease_ms,
                    successor="",
                    successor_seen_ms=0,
                )
            )
        return lease

    def _is_in_the_way(self, row: Row, lane: str, now_ms: int) -> bool:
        """A live holder of the lane or of lanes of another number, or what these had begun: the first lane does it."""
        alive = bool(row["holder"]) and row["expires_at_ms"] > now_ms
        if row["lane_count"] == self.lane_count:
            return alive and row["lane"] == lane
        return alive or (bool(self._begun(row)) and lane != FIRST_LANE)

    def _begun(self, row: Row) -> Any:
        """The batch that a lane had begun; none of another stream, whose offsets mean other events."""
        return row["intent"] if row["intent_stream"] in ("", self._stream) else None

    def _lay_out(self, connection: Connection, rows: Mapping[str, Row]) -> None:
        """When their number has changed, all lanes begin where the slowest was: its wake-ups are anybody's now.

        Nobody holds a lane of the old number any more, also not who was paused and wakes up.
        """
        if all(name in rows and rows[name]["lane_count"] == self.lane_count for name in self.names()):
            return
        evaluated = [row["evaluated_until_ms"] for row in rows.values() if row["evaluated_until_ms"]]
        read = [row["read_until_ms"] for row in rows.values() if row["evaluated_until_ms"]]
        fenced = {"fencing_token": lanes.c.fencing_token + 1, "holder": "", "expires_at_ms": 0}
        connection.execute(sa.update(lanes).values(fenced))
        for name in self.names():
            row = {"lane": name, "lane_count": self.lane_count}
            connection.execute(insert(connection, lanes).values(row).on_conflict_do_nothing())
            connection.execute(
                sa.update(lanes)
                .where(lanes.c.lane == name)
                .values(evaluated_until_ms=min(evaluated, default=0), read_until_ms=min(read, default=0))
            )
        # Rows stay for their fencing tokens: a lane that comes back must not give out an old one again.
        gone = sa.update(lanes).where(lanes.c.lane.not_in(self.names()))
        connection.execute(gone.values(evaluated_until_ms=0))
        idle = [name for name in self.names() if name not in rows or not self._begun(rows[name])]
        idle += [name for name, row in rows.items() if name not in self.names() and not self._begun(row)]
        connection.execute(sa.update(lanes).where(lanes.c.lane.in_(idle)).values(lane_count=self.lane_count))

    def wait_as_successor(self, lane: str, holder: str, now_ms: int) -> None:
        """Tell the holder that somebody stands by; said again at every look, so a dead successor is seen as dead."""
        with self._engine.begin() as connection:
            connection.execute(
                sa.update(lanes).where(lanes.c.lane == lane).values(successor=holder, successor_seen_ms=now_ms)
            )

    def renew(self, lease: Lease, now_ms: int, lease_ms: int) -> None:
        """Extend the lease; raises LeaseLostError when it is gone."""
        with self._engine.begin() as connection:
            _update(connection, lease, expires_at_ms=now_ms + lease_ms)

    def release(self, lease: Lease) -> None:
        """Give the lane back at once; nothing happens when it was lost before."""
        with self._engine.begin() as connection:
            connection.execute(_held(lease).values(holder="", expires_at_ms=0))

    def begin(self, lease: Lease, ranges: Ranges, now_ms: int, lease_ms: int) -> None:
        """Record the batch about to be ingested, so that a crash is followed by exactly the same batch."""
        intent = {str(partition): list(bounds) for partition, bounds in ranges.items()}
        with self._engine.begin() as connection:
            _update(connection, lease, intent=intent, intent_stream=self._stream, expires_at_ms=now_ms + lease_ms)

    def to_redo(self, lease: Lease) -> dict[int, tuple[int, int]]:
        """A batch that was begun and not committed, of this lane or of lanes of another number; empty without one.

        It is the lease's own from then on. Until all of these are done the other lanes wait.
        """
        with self._engine.begin() as connection:
            rows = _locked_rows(connection)
            require(connection, lease)
            intent = self._begun(rows[lease.lane])
            if intent:
                return _ranges(intent)
            others = [row for row in rows.values() if row["lane_count"] != self.lane_count and self._begun(row)]
            if lease.lane == FIRST_LANE and others:
                return _ranges(self._adopt(connection, lease, others[0]))
            _update(connection, lease, intent=sa.null(), lane_count=self.lane_count)
        return {}

    def _adopt(self, connection: Connection, lease: Lease, row: Row) -> Any:
        # With the old number the others see that there is something to wait for, whatever becomes of this run.
        _update(connection, lease, intent=row["intent"], intent_stream=self._stream, lane_count=row["lane_count"])
        done = {"intent": sa.null(), "lane_count": self.lane_count}
        connection.execute(sa.update(lanes).where(lanes.c.lane == row["lane"]).values(**done))
        return row["intent"]

    def commit(
        self, lease: Lease, ranges: Ranges, evaluated_until_ms: int, expires_at_ms: int, read_until_ms: int = 0
    ) -> None:
        """The batch is done: offsets, watermarks and intent move together, or LeaseLostError.

        Whatever was appended to the lane's partitions until `read_until_ms` has been read.
        """
        with self._engine.begin() as connection:
            _update(
                connection,
                lease,
                intent=sa.null(),
                evaluated_until_ms=evaluated_until_ms,
                expires_at_ms=expires_at_ms,
                read_until_ms=read_until_ms,
            )
            self._set_offsets(connection, {partition: end for partition, (_, end) in ranges.items()})

    def note_read(self, lease: Lease, read_until_ms: int) -> None:
        """Whatever was appended until then has been read, and there was nothing to commit."""
        with self._engine.begin() as connection:
            _update(connection, lease, read_until_ms=read_until_ms)

    def read_until(self) -> dict[str, int]:
        """Until when each lane has read what was appended to its partitions; 0 for one that never began."""
        with self._reading() as connection:
            known = {row.lane: row.read_until_ms for row in connection.execute(sa.select(lanes))}
        return {name: known.get(name, 0) for name in self.names()}

    def committed(self) -> dict[int, int]:
        """The first unprocessed offset of each partition that was ever committed."""
        query = sa.select(offsets.c.partition, offsets.c.committed).where(offsets.c.stream == self._stream)
        with self._reading() as connection:
            return {row.partition: row.committed for row in connection.execute(query)}

    def starts(self) -> dict[int, int]:
        """The offset at which each partition was first read."""
        query = sa.select(partition_starts).where(partition_starts.c.stream == self._stream)
        with self._reading() as connection:
            return {row.partition: row.first for row in connection.execute(query)}

    def begin_at(self, lease: Lease, starts: Mapping[int, int]) -> None:
        """Remember where partitions that were never read begin: what leaves the stream from there on is missed."""
        with self._engine.begin() as connection:
            require(connection, lease)
            for partition, first in starts.items():
                row = {"stream": self._stream, "partition": partition, "first": first}
                connection.execute(insert(connection, partition_starts).values(row).on_conflict_do_nothing())

    def require_identity(self, identity: str) -> None:
        """The stream must be the one that the offsets belong to; the first one seen is. Raises StreamError."""
        query = sa.select(streams.c.identity).where(streams.c.stream == self._stream)
        with self._reading() as connection:
            known = connection.execute(query).scalar()
        if known is None:
            with self._engine.begin() as connection:
                row = {"stream": self._stream, "identity": identity}
                connection.execute(insert(connection, streams).values(row).on_conflict_do_nothing())
                known = connection.execute(query).scalar_one()
        if known != identity:
            raise StreamError(
                f"The event stream '{self._stream}' was deleted and made anew (it is {identity}, and was {known}): its"
                " offsets start again and mean other events. Give the new one another stream.name."
            )

    def correct_offsets(self, lease: Lease, committed: Mapping[int, int]) -> None:
        """Set the committed offsets to what the warehouse holds, which is the truth."""
        with self._engine.begin() as connection:
            require(connection, lease)
            self._set_offsets(connection, committed)

    def _set_offsets(self, connection: Connection, committed: Mapping[int, int]) -> None:
        for partition, end in committed.items():
            row = {"stream": self._stream, "partition": partition, "committed": end}
            connection.execute(
                insert(connection, offsets)
                .values(row)
                .on_conflict_do_update(index_elements=["stream", "partition"], set_={"committed": end})
            )

    def _reading(self) -> Connection:
        return self._engine.connect().execution_options(read_only=True)


def _ranges(intent: Mapping[str, tuple[int, int]]) -> dict[int, tuple[int, int]]:
    return {int(partition): (first, end) for partition, (first, end) in intent.items()}


def _locked_rows(connection: Connection) -> dict[str, Row]:
    """Every lane's row, which nobody else changes until the end of the transaction."""
    query = sa.select(lanes).order_by(lanes.c.lane).with_for_update()
    return {row["lane"]: row for row in connection.execute(query).mappings()}


def require(connection: Connection, lease: Lease) -> None:
    """Raise LeaseLostError unless the lease's token is the newest; part of the caller's transaction.

    Until that ends nobody takes the lane over. Comes before any other lock but those of lanes.
    """
    query = sa.select(lanes.c.fencing_token).where(lanes.c.lane == lease.lane).with_for_update()
    token = connection.execute(query).scalar()
    if token != lease.fencing_token:
        raise _lost(lease)


def _held(lease: Lease) -> sa.Update:
    return sa.update(lanes).where(
        lanes.c.lane == lease.lane,
        lanes.c.fencing_token == lease.fencing_token,
        lanes.c.holder == lease.holder,
    )


def _update(connection: Connection, lease: Lease, **values: object) -> None:
    if connection.execute(_held(lease).values(**values)).rowcount != 1:
        raise _lost(lease)


def _lost(lease: Lease) -> LeaseLostError:
    return LeaseLostError(
        f"Run {lease.holder} no longer holds lane {lease.lane}: a newer run has taken it, nothing more is written."
    )
