"""Lanes in a SQL database: each call is one transaction that begins with the lane's row."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from wakeline.database import lane_pauses, lanes, offsets, partition_starts, streams
from wakeline.engines import insert, lock_lanes
from wakeline.pipeline.lanes import (
    NO_LANES,
    NOBODY,
    LanePause,
    LaneState,
    LaneStore,
    Lease,
    Ranges,
    Row,
    intent_of,
    is_alive,
    lease_lost,
    ranges_of_intent,
)


class SqlLaneStore(LaneStore):
    """The lanes of one stream on SQLite or Postgres."""

    def __init__(self, engine: Engine, stream: str, lane_count: int = 1) -> None:
        super().__init__(stream, lane_count)
        self._engine = engine

    def state(self, lane: str) -> LaneState:
        with self._reading() as connection:
            row = connection.execute(sa.select(lanes).where(lanes.c.lane == lane)).mappings().first()
        if row is None:
            return NOBODY
        return LaneState(**{name: row[name] for name in LaneState.__slots__})

    def _acquire(self, lane: str, holder: str, now_ms: int, lease_ms: int) -> Lease | None:
        with self._engine.begin() as connection:
            lock_lanes(connection)
            rows = _locked_rows(connection)
            if any(self._is_in_the_way(row, lane, now_ms) for row in rows.values()):
                return None
            self._lay_out(connection, rows)
            return self._give(connection, lane, holder, now_ms, lease_ms)

    def _acquire_named(self, name: str, holder: str, now_ms: int, lease_ms: int) -> Lease | None:
        with self._engine.begin() as connection:
            lock_lanes(connection)
            connection.execute(insert(connection, lanes).values(lane=name).on_conflict_do_nothing())
            row = connection.execute(sa.select(lanes).where(lanes.c.lane == name)).mappings().one()
            if is_alive(dict(row), now_ms):
                return None
            return self._give(connection, name, holder, now_ms, lease_ms)

    def pause(self, pause: LanePause) -> None:
        self.require_lane(pause.lane)
        row = asdict(pause)
        with self._engine.begin() as connection:
            statement = insert(connection, lane_pauses).values(row)
            connection.execute(statement.on_conflict_do_update(index_elements=["lane"], set_=row))

    def resume(self, lane: str) -> bool:
        self.require_lane(lane)
        with self._engine.begin() as connection:
            return connection.execute(sa.delete(lane_pauses).where(lane_pauses.c.lane == lane)).rowcount > 0

    def end_drain(self, lease: Lease, drain: LanePause) -> bool:
        is_same = [lane_pauses.c[name] == value for name, value in asdict(drain).items()]
        with self._engine.begin() as connection:
            require(connection, lease)
            return connection.execute(sa.update(lane_pauses).where(*is_same).values(after_ms=0)).rowcount > 0

    def pauses(self) -> dict[str, LanePause]:
        with self._reading() as connection:
            rows = connection.execute(sa.select(lane_pauses)).mappings()
            return {row["lane"]: LanePause(**row) for row in rows}

    def _give(self, connection: Connection, lane: str, holder: str, now_ms: int, lease_ms: int) -> Lease:
        given = {
            "holder": holder,
            "fencing_token": lanes.c.fencing_token + 1,
            "held_since_ms": now_ms,
            "expires_at_ms": now_ms + lease_ms,
            "successor": "",
            "successor_seen_ms": 0,
        }
        statement = sa.update(lanes).where(lanes.c.lane == lane).values(given).returning(lanes.c.fencing_token)
        return Lease(lane, holder, connection.execute(statement).scalar_one(), self.lane_count)

    def _lay_out(self, connection: Connection, rows: Mapping[str, Row]) -> None:
        """When their number has changed, all lanes begin where the slowest was: its wake-ups are anybody's now.

        Nobody holds a lane of the old number any more, also not who was paused and wakes up.
        """
        if self._is_laid_out(rows):
            return
        fenced = {"fencing_token": lanes.c.fencing_token + 1, "holder": "", "expires_at_ms": 0}
        connection.execute(sa.update(lanes).where(lanes.c.lane.not_in(NO_LANES)).values(fenced))
        for name in self.names():
            row = {"lane": name, "lane_count": self.lane_count}
            connection.execute(insert(connection, lanes).values(row).on_conflict_do_nothing())
            connection.execute(sa.update(lanes).where(lanes.c.lane == name).values(self._slowest(rows)))
        # Rows stay for their fencing tokens: a lane that comes back must not give out an old one again.
        gone = sa.update(lanes).where(lanes.c.lane.not_in([*self.names(), *NO_LANES]))
        connection.execute(gone.values(evaluated_until_ms=0, read_at_ms=0))
        idle = [name for name in self.names() if name not in rows or not self._begun(rows[name])]
        idle += [name for name, row in rows.items() if name not in self.names() and not self._begun(row)]
        connection.execute(sa.update(lanes).where(lanes.c.lane.in_(idle)).values(lane_count=self.lane_count))

    def wait_as_successor(self, lane: str, holder: str, now_ms: int) -> None:
        with self._engine.begin() as connection:
            connection.execute(
                sa.update(lanes).where(lanes.c.lane == lane).values(successor=holder, successor_seen_ms=now_ms)
            )

    def renew(self, lease: Lease, now_ms: int, lease_ms: int) -> None:
        with self._engine.begin() as connection:
            _update(connection, lease, expires_at_ms=now_ms + lease_ms)

    def release(self, lease: Lease) -> None:
        with self._engine.begin() as connection:
            connection.execute(_held(lease).values(holder=""))

    def begin(self, lease: Lease, ranges: Ranges, now_ms: int, lease_ms: int) -> None:
        intent = intent_of(ranges)
        with self._engine.begin() as connection:
            _update(connection, lease, intent=intent, intent_stream=self._stream, expires_at_ms=now_ms + lease_ms)

    def to_redo(self, lease: Lease) -> dict[int, tuple[int, int]]:
        with self._engine.begin() as connection:
            rows = _locked_rows(connection)
            require(connection, lease)
            intent = self._begun(rows[lease.lane])
            if intent:
                return ranges_of_intent(intent)
            if other := self._to_adopt(rows, lease.lane):
                return ranges_of_intent(self._adopt(connection, lease, other))
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
        with self._engine.begin() as connection:
            _update(
                connection,
                lease,
                intent=sa.null(),
                evaluated_until_ms=evaluated_until_ms,
                read_at_ms=evaluated_until_ms,
                expires_at_ms=expires_at_ms,
                read_until_ms=read_until_ms,
            )
            self._set_offsets(connection, {partition: end for partition, (_, end) in ranges.items()})

    def note_read(self, lease: Lease, now_ms: int) -> None:
        with self._engine.begin() as connection:
            _update(connection, lease, read_at_ms=now_ms, read_until_ms=now_ms)

    def read_until(self) -> dict[str, int]:
        with self._reading() as connection:
            known = {row.lane: row.read_until_ms for row in connection.execute(sa.select(lanes))}
        return {name: known.get(name, 0) for name in self.names()}

    def last_read_ms(self) -> int | None:
        query = sa.select(lanes.c.read_at_ms).where(lanes.c.lane.in_(self.names()), lanes.c.read_at_ms > 0)
        with self._reading() as connection:
            return min(connection.execute(query).scalars(), default=None)

    def committed(self) -> dict[int, int]:
        query = sa.select(offsets.c.partition, offsets.c.committed).where(offsets.c.stream == self._stream)
        with self._reading() as connection:
            return {row.partition: row.committed for row in connection.execute(query)}

    def starts(self) -> dict[int, int]:
        query = sa.select(partition_starts).where(partition_starts.c.stream == self._stream)
        with self._reading() as connection:
            return {row.partition: row.first for row in connection.execute(query)}

    def begin_at(self, lease: Lease, starts: Mapping[int, int]) -> None:
        with self._engine.begin() as connection:
            require(connection, lease)
            for partition, first in starts.items():
                row = {"stream": self._stream, "partition": partition, "first": first}
                connection.execute(insert(connection, partition_starts).values(row).on_conflict_do_nothing())

    def _first_identity(self, identity: str) -> str:
        query = sa.select(streams.c.identity).where(streams.c.stream == self._stream)
        with self._reading() as connection:
            known = connection.execute(query).scalar()
        if known is None:
            with self._engine.begin() as connection:
                row = {"stream": self._stream, "identity": identity}
                connection.execute(insert(connection, streams).values(row).on_conflict_do_nothing())
                known = connection.execute(query).scalar_one()
        return str(known)

    def begun_batches(self) -> list[dict[int, tuple[int, int]]]:
        with self._reading() as connection:
            rows = connection.execute(sa.select(lanes)).mappings().all()
        return [ranges_of_intent(intent) for row in rows if (intent := self._begun(dict(row)))]

    def holders_so_far(self) -> int:
        query = sa.select(sa.func.sum(lanes.c.fencing_token)).where(lanes.c.lane.not_in(NO_LANES))
        with self._reading() as connection:
            return int(connection.execute(query).scalar() or 0)

    def correct_offsets(self, lease: Lease, committed: Mapping[int, int]) -> None:
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


def _locked_rows(connection: Connection) -> dict[str, Row]:
    """The rows of every lane that there is or was; nobody else changes them until the end of the transaction."""
    query = sa.select(lanes).where(lanes.c.lane.not_in(NO_LANES)).order_by(lanes.c.lane).with_for_update()
    return {row["lane"]: dict(row) for row in connection.execute(query).mappings()}


def require(connection: Connection, lease: Lease) -> None:
    """Raise LeaseLostError unless the lease's token is the newest; part of the caller's transaction.

    Until that ends nobody takes the lane over. Comes before any other lock but those of lanes.
    """
    query = sa.select(lanes.c.fencing_token).where(lanes.c.lane == lease.lane).with_for_update()
    token = connection.execute(query).scalar()
    if token != lease.fencing_token:
        raise lease_lost(lease)


def _held(lease: Lease) -> sa.Update:
    return sa.update(lanes).where(
        lanes.c.lane == lease.lane,
        lanes.c.fencing_token == lease.fencing_token,
        lanes.c.holder == lease.holder,
    )


def _update(connection: Connection, lease: Lease, **values: object) -> None:
    if connection.execute(_held(lease).values(**values)).rowcount != 1:
        raise lease_lost(lease)
