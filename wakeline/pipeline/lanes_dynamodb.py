"""Lanes on DynamoDB: one item a lane, written only while its fencing token is the writer's.

Every change of an item that a take-over decides by counts its revision, and a take-over is written only if all that it
read has the revision still.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import orjson

from wakeline.dynamodb import MOST_ACTIONS, Action, ChangedError, Item, Key, Table, check, delete, put, update
from wakeline.errors import LedgerError
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

LANES = "lanes"
_LANE = "lane#"
_PAUSES = "lane_pauses"
_LAYOUT: Key = (LANES, "layout")
_ATTEMPTS = 50
#: Of a transaction there must be room for the lane's own item.
_CHUNK = MOST_ACTIONS - 1
_NEW: Row = {
    "holder": "",
    "fencing_token": 0,
    "held_since_ms": 0,
    "expires_at_ms": 0,
    "successor": "",
    "successor_seen_ms": 0,
    "intent": None,
    "intent_stream": "",
    "evaluated_until_ms": 0,
    "read_until_ms": 0,
    "read_at_ms": 0,
    "revision": None,
}


def lane_key(lane: str) -> Key:
    """Where a lane's item is."""
    return LANES, lane if lane in NO_LANES else f"{_LANE}{lane}"


def fence(lease: Lease) -> Action:
    """Nothing of the transaction is written when another run has taken the lane."""
    return check(lane_key(lease.lane), {"fencing_token": lease.fencing_token})


class DynamoLaneStore(LaneStore):
    """The lanes of one stream."""

    def __init__(self, table: Table, stream: str, lane_count: int = 1) -> None:
        super().__init__(stream, lane_count)
        self._table = table

    def state(self, lane: str) -> LaneState:
        found = self._table.get([lane_key(lane)])
        if not found:
            return NOBODY
        row = _row(found[lane_key(lane)])
        return LaneState(**{name: row[name] for name in LaneState.__slots__})

    def _acquire(self, lane: str, holder: str, now_ms: int, lease_ms: int) -> Lease | None:
        for failures in range(_ATTEMPTS):
            layout = self._table.get([_LAYOUT]).get(_LAYOUT, {}).get("revision")
            rows = self._rows()
            if any(self._is_in_the_way(row, lane, now_ms) for row in rows.values()):
                return None
            try:
                return self._take(lane, holder, now_ms, lease_ms, rows, layout)
            except ChangedError:
                self._table.pause(failures)
        raise LedgerError(f"Lane {lane} changes again and again while it is taken over.")

    def _take(
        self, lane: str, holder: str, now_ms: int, lease_ms: int, rows: Mapping[str, Row], layout: int | None
    ) -> Lease:
        laid_out = self._laid_out(rows)
        lease = Lease(lane, holder, laid_out[lane]["fencing_token"] + 1, self.lane_count)
        laid_out[lane] |= _given(lease, now_ms, lease_ms)
        changed = [name for name, row in laid_out.items() if row != rows.get(name)]
        writes = [_put_row(name, laid_out[name]) for name in changed]
        if changed == [lane]:
            writes.append(check(_LAYOUT, {"revision": layout}))
        else:
            writes.append(update(_LAYOUT, {}, {"revision": layout}, {"revision": 1}))
        self._table.write(writes)
        return lease

    def _acquire_named(self, name: str, holder: str, now_ms: int, lease_ms: int) -> Lease | None:
        key = lane_key(name)
        new = {**_NEW, "lane": name, "lane_count": self.lane_count}
        for failures in range(_ATTEMPTS):
            row = {found: _row(item) for found, item in self._table.get([key]).items()}.get(key, new)
            if is_alive(row, now_ms):
                return None
            lease = Lease(name, holder, row["fencing_token"] + 1, self.lane_count)
            try:
                self._table.write([_put_row(name, {**row, **_given(lease, now_ms, lease_ms)})])
                return lease
            except ChangedError:
                self._table.pause(failures)
        raise LedgerError(f"The lease '{name}' changes hands again and again.")

    def pause(self, pause: LanePause) -> None:
        self.require_lane(pause.lane)
        self._table.write([put((_PAUSES, pause.lane), asdict(pause))])

    def resume(self, lane: str) -> bool:
        self.require_lane(lane)
        try:
            self._table.write([delete((_PAUSES, lane), {"lane": lane})])
        except ChangedError:
            return False
        return True

    def end_drain(self, lease: Lease, drain: LanePause) -> bool:
        end = update((_PAUSES, drain.lane), {"after_ms": 0}, asdict(drain))
        try:
            self._table.write([fence(lease), end])
        except ChangedError as changed:
            if 0 in changed.failed:
                raise lease_lost(lease) from changed
            return False
        return True

    def pauses(self) -> dict[str, LanePause]:
        items = self._table.query(_PAUSES)
        return {item["lane"]: LanePause(**{name: item[name] for name in LanePause.__slots__}) for item in items}

    def _laid_out(self, rows: Mapping[str, Row]) -> dict[str, dict[str, Any]]:
        """The rows as they must be; where their number has changed nobody holds a lane of the old one any more."""
        if self._is_laid_out(rows):
            return {name: dict(row) for name, row in rows.items()}
        fresh = {name: {"lane": name, "lane_count": self.lane_count, **_NEW} for name in self.names()}
        # Rows stay for their fencing tokens: a lane that comes back must not give out an old one again.
        fenced = {
            name: {**row, "fencing_token": row["fencing_token"] + 1, "holder": "", "expires_at_ms": 0}
            for name, row in rows.items()
        }
        laid_out = {**fresh, **fenced}
        for name, row in laid_out.items():
            row |= self._slowest(rows) if name in fresh else {"evaluated_until_ms": 0, "read_at_ms": 0}
            row["lane_count"] = row["lane_count"] if self._begun(row) else self.lane_count
        return laid_out

    def wait_as_successor(self, lane: str, holder: str, now_ms: int) -> None:
        values = {"successor": holder, "successor_seen_ms": now_ms}
        try:
            self._table.write([update(lane_key(lane), values, {"lane": lane})])
        except ChangedError:
            return  # Nobody has held it yet: there is nobody to tell.

    def renew(self, lease: Lease, now_ms: int, lease_ms: int) -> None:
        self._write(lease, {"expires_at_ms": now_ms + lease_ms})

    def release(self, lease: Lease) -> None:
        try:
            self._table.write([_own(lease, {"holder": ""})])
        except ChangedError:
            return  # It was lost before.

    def begin(self, lease: Lease, ranges: Ranges, now_ms: int, lease_ms: int) -> None:
        values = {"intent": _json(intent_of(ranges)), "intent_stream": self._stream}
        self._write(lease, {**values, "expires_at_ms": now_ms + lease_ms})

    def to_redo(self, lease: Lease) -> dict[int, tuple[int, int]]:
        rows = self._rows()
        if rows.get(lease.lane, _NEW)["fencing_token"] != lease.fencing_token:
            raise lease_lost(lease)
        if intent := self._begun(rows[lease.lane]):
            return ranges_of_intent(intent)
        other = self._to_adopt(rows, lease.lane)
        if other is None:
            self._write(lease, {"intent": None, "lane_count": self.lane_count})
            return {}
        # With the old number the others see that there is something to wait for, whatever becomes of this run.
        adopted = {"intent": _json(other["intent"]), "intent_stream": self._stream, "lane_count": other["lane_count"]}
        done = {"intent": None, "lane_count": self.lane_count}
        # Nobody holds that lane, so nobody changes it.
        is_same = {"revision": other["revision"]}
        self._write(lease, adopted, [update(lane_key(other["lane"]), done, is_same, {"revision": 1})])
        return ranges_of_intent(other["intent"])

    def commit(
        self, lease: Lease, ranges: Ranges, evaluated_until_ms: int, expires_at_ms: int, read_until_ms: int = 0
    ) -> None:
        offsets = self._offsets({partition: end for partition, (_, end) in ranges.items()})
        # More partitions than a transaction has room for move before the rest: the batch is done again until then.
        last = len(offsets) - len(offsets) % _CHUNK
        self._write_fenced(lease, offsets[:last])
        watermarks = {
            "evaluated_until_ms": evaluated_until_ms,
            "read_at_ms": evaluated_until_ms,
            "read_until_ms": read_until_ms,
        }
        self._write(lease, {"intent": None, "expires_at_ms": expires_at_ms, **watermarks}, offsets[last:])

    def note_read(self, lease: Lease, now_ms: int) -> None:
        self._write(lease, {"read_at_ms": now_ms, "read_until_ms": now_ms})

    def read_until(self) -> dict[str, int]:
        rows = self._rows()
        return {name: rows.get(name, _NEW)["read_until_ms"] for name in self.names()}

    def last_read_ms(self) -> int | None:
        rows = self._rows()
        known = [rows[name]["read_at_ms"] for name in self.names() if name in rows]
        return min((at_ms for at_ms in known if at_ms), default=None)

    def begun_batches(self) -> list[dict[int, tuple[int, int]]]:
        return [ranges_of_intent(intent) for row in self._rows().values() if (intent := self._begun(row))]

    def holders_so_far(self) -> int:
        return sum(row["fencing_token"] for row in self._rows().values())

    def committed(self) -> dict[int, int]:
        return self._numbers("offset#")

    def starts(self) -> dict[int, int]:
        return self._numbers("start#")

    def begin_at(self, lease: Lease, starts: Mapping[int, int]) -> None:
        known = self.starts()
        new = {partition: first for partition, first in starts.items() if partition not in known}
        self._write_fenced(
            lease, [put(self._key("start#", partition), {"number": first}) for partition, first in new.items()]
        )

    def correct_offsets(self, lease: Lease, committed: Mapping[int, int]) -> None:
        self._write_fenced(lease, self._offsets(committed))

    def _first_identity(self, identity: str) -> str:
        key = (f"stream#{self._stream}", "identity")
        try:
            self._table.write([put(key, {"identity": identity}, {"pk": None})])
        except ChangedError:
            return str(self._table.get([key])[key]["identity"])
        return identity

    def _offsets(self, ends: Mapping[int, int]) -> list[Action]:
        return [put(self._key("offset#", partition), {"number": end}) for partition, end in ends.items()]

    def _key(self, kind: str, partition: int) -> Key:
        return f"stream#{self._stream}", f"{kind}{partition}"

    def _numbers(self, kind: str) -> dict[int, int]:
        found = self._table.query(f"stream#{self._stream}", kind)
        return {int(item["sk"].removeprefix(kind)): item["number"] for item in found}

    def _rows(self) -> dict[str, Row]:
        return {item["lane"]: _row(item) for item in self._table.query(LANES, _LANE)}

    def _write(self, lease: Lease, values: Item, others: list[Action] | None = None) -> None:
        try:
            self._table.write([_own(lease, values), *(others or [])])
        except ChangedError as changed:
            raise lease_lost(lease) from changed

    def _write_fenced(self, lease: Lease, actions: list[Action]) -> None:
        """Each transaction with the fence; with nothing to write the lease is looked at all the same."""
        for start in range(0, max(1, len(actions)), _CHUNK):
            try:
                self._table.write([fence(lease), *actions[start : start + _CHUNK]])
            except ChangedError as changed:
                raise lease_lost(lease) from changed


def _given(lease: Lease, now_ms: int, lease_ms: int) -> Row:
    return {
        "holder": lease.holder,
        "fencing_token": lease.fencing_token,
        "held_since_ms": now_ms,
        "expires_at_ms": now_ms + lease_ms,
        "successor": "",
        "successor_seen_ms": 0,
    }


def _own(lease: Lease, values: Item) -> Action:
    is_held = {"fencing_token": lease.fencing_token, "holder": lease.holder}
    return update(lane_key(lease.lane), values, is_held, {"revision": 1})


def _put_row(name: str, row: Row) -> Action:
    item = {**row, "intent": None if row["intent"] is None else _json(row["intent"])}
    return put(lane_key(name), {**item, "revision": (row["revision"] or 0) + 1}, {"revision": row["revision"]})


def _row(item: Item) -> dict[str, Any]:
    row = {name: item.get(name, default) for name, default in _NEW.items()}
    intent = item.get("intent")
    return {**row, "lane": item["lane"], "lane_count": item["lane_count"], "intent": intent and orjson.loads(intent)}


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()
