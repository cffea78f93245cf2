"""Who may process a lane, and how far it is: leases with fencing tokens, batch intents, committed offsets.

A lease is a row with an expiry; each new holder gets the next fencing token. Every write names its token and fails
with LeaseLostError when it is no longer the newest, so a holder that was paused cannot do harm when it wakes up.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.engine import Connection, Engine

from wakeline.database import lanes, offsets
from wakeline.errors import LeaseLostError

#: Offset ranges of one micro-batch: partition -> (first, end), end exclusive.
Ranges = Mapping[int, tuple[int, int]]


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
    """The right to process a lane until it expires or a newer token exists."""

    lane: str
    holder: str
    fencing_token: int


class LaneStore:
    """Leases, intents and offsets of one stream's lanes."""

    def __init__(self, engine: Engine, stream: str) -> None:
        self._engine = engine
        self._stream = stream

    def state(self, lane: str) -> LaneState:
        """The lane's row; all zero for a lane nobody has held yet."""
        with self._reading() as connection:
            row = connection.execute(sa.select(lanes).where(lanes.c.lane == lane)).mappings().first()
        if row is None:
            return LaneState("", 0, 0, 0, "", 0, 0)
        return LaneState(**{name: row[name] for name in LaneState.__slots__})

    def acquire(self, lane: str, holder: str, now_ms: int, lease_ms: int) -> Lease | None:
        """The lease if the lane is free or its holder's lease has expired, else None."""
        with self._engine.begin() as connection:
            connection.execute(insert(lanes).values(lane=lane).on_conflict_do_nothing())
            row = connection.execute(sa.select(lanes).where(lanes.c.lane == lane)).mappings().one()
            if row["holder"] and row["expires_at_ms"] > now_ms:
                return None
            lease = Lease(lane, holder, row["fencing_token"] + 1)
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
            _update(connection, lease, intent=intent, expires_at_ms=now_ms + lease_ms)

    def intent(self, lane: str) -> dict[int, tuple[int, int]]:
        """The batch that was begun and not committed, empty when there is none."""
        with self._reading() as connection:
            intent = connection.execute(sa.select(lanes.c.intent).where(lanes.c.lane == lane)).scalar()
        return {int(partition): (first, end) for partition, (first, end) in (intent or {}).items()}

    def commit(self, lease: Lease, ranges: Ranges, evaluated_until_ms: int, expires_at_ms: int) -> None:
        """The batch is done: offsets, wake-up watermark and intent move together, or LeaseLostError."""
        with self._engine.begin() as connection:
            _update(
                connection,
                lease,
                intent=sa.null(),
                evaluated_until_ms=evaluated_until_ms,
                expires_at_ms=expires_at_ms,
            )
            self._set_offsets(connection, {partition: end for partition, (_, end) in ranges.items()})

    def committed(self) -> dict[int, int]:
        """The first unprocessed offset of each partition that was ever committed."""
        query = sa.select(offsets.c.partition, offsets.c.committed).where(offsets.c.stream == self._stream)
        with self._reading() as connection:
            return {row.partition: row.committed for row in connection.execute(query)}

    def correct_offsets(self, lease: Lease, committed: Mapping[int, int]) -> None:
        """Set the committed offsets to what the warehouse holds, which is the truth."""
        with self._engine.begin() as connection:
            require(connection, lease)
            self._set_offsets(connection, committed)

    def _set_offsets(self, connection: Connection, committed: Mapping[int, int]) -> None:
        for partition, end in committed.items():
            row = {"stream": self._stream, "partition": partition, "committed": end}
            connection.execute(
                insert(offsets)
                .values(row)
                .on_conflict_do_update(index_elements=["stream", "partition"], set_={"committed": end})
            )

    def _reading(self) -> Connection:
        return self._engine.connect().execution_options(read_only=True)


def require(connection: Connection, lease: Lease) -> None:
    """Raise LeaseLostError unless the lease's token is the newest; part of the caller's transaction."""
    token = connection.execute(sa.select(lanes.c.fencing_token).where(lanes.c.lane == lease.lane)).scalar()
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
