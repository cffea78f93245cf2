"""What somebody wants decided again, from the job that found it to the lane that decides it.

The job that is started by hand sends nothing. It leaves parts in this queue, each of one campaign; the lanes take them
between two batches, under their lease, and decide as they always do.
"""

import zlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import orjson
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from wakeline.database import replay_requests
from wakeline.dynamodb import ChangedError, Table, delete, put
from wakeline.engines import Database
from wakeline.pipeline.lanes import FIRST_LANE, Lease, lease_lost
from wakeline.pipeline.lanes_dynamodb import fence
from wakeline.pipeline.lanes_sql import require
from wakeline.pipeline.triggers import Occurrence

_REQUESTS = "replay_requests"
_PACKED = ("occurrences", "failed")


@dataclass(frozen=True, slots=True)
class Request:
    """A part: occurrences of one campaign, and failed sends of it, each (profile id, key), that are tried again."""

    request_id: str
    lane: str
    #: Parts are taken in the order of these texts.
    position: str
    run_id: str
    campaign: str
    occurrences: Sequence[Occurrence]
    failed: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Part:
    """A part as people see it: the run that asked for it, its campaign, and how many sends are to be decided."""

    run_id: str
    campaign: str
    sends: int


class ReplayRequests(Protocol):
    """The queue of one deployment."""

    def add(self, requests: Sequence[Request]) -> None:
        """Leave these for the lanes."""

    def next(self, lane: str, lane_count: int, campaigns: Collection[str]) -> Request | None:
        """The first part that is the lane's and of a campaign that it knows; what no lane has is the first lane's."""

    def remove(self, lease: Lease, request: Request) -> None:
        """It is decided. Raises LeaseLostError when the lane was taken over: the new holder does it again."""

    def waiting(self, run_id: str = "") -> dict[str, int]:
        """Lane -> how many parts wait for it, of one run or of all; without the lanes that have none."""

    def parts(self) -> list[Part]:
        """All that wait."""

    def withdraw(self, run_id: str = "", campaign: str = "") -> list[Part]:
        """Take parts out, of one run, of one campaign, or all ("" and ""); those that were still there.

        A part that a lane is at is decided all the same.
        """


class SqlReplayRequests:
    """On SQLite or Postgres."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add(self, requests: Sequence[Request]) -> None:
        """Leave these for the lanes."""
        if requests:
            with self._engine.begin() as connection:
                connection.execute(sa.insert(replay_requests), [_row(one) for one in requests])

    def next(self, lane: str, lane_count: int, campaigns: Collection[str]) -> Request | None:
        """The first part that is the lane's and of a campaign that it knows; what no lane has is the first lane's."""
        table = replay_requests.c
        own = table.lane == lane
        if lane == FIRST_LANE:
            own |= table.lane.not_in([str(number) for number in range(lane_count)])
        query = sa.select(replay_requests).where(own, table.campaign.in_(sorted(campaigns)))
        with self._engine.connect().execution_options(read_only=True) as connection:
            row = connection.execute(query.order_by(table.position).limit(1)).mappings().first()
        return _request(dict(row)) if row else None

    def remove(self, lease: Lease, request: Request) -> None:
        """It is decided. Raises LeaseLostError when the lane was taken over: the new holder does it again."""
        with self._engine.begin() as connection:
            require(connection, lease)
            connection.execute(sa.delete(replay_requests).where(replay_requests.c.request_id == request.request_id))

    def waiting(self, run_id: str = "") -> dict[str, int]:
        """Lane -> how many parts wait for it, of one run or of all; without the lanes that have none."""
        lane = replay_requests.c.lane
        query = sa.select(lane, sa.func.count()).group_by(lane).order_by(lane)
        if run_id:
            query = query.where(replay_requests.c.run_id == run_id)
        with self._engine.connect().execution_options(read_only=True) as connection:
            return {row[0]: row[1] for row in connection.execute(query)}

    def parts(self) -> list[Part]:
        """All that wait."""
        with self._engine.connect().execution_options(read_only=True) as connection:
            return [_part(dict(row)) for row in connection.execute(sa.select(replay_requests)).mappings()]

    def withdraw(self, run_id: str = "", campaign: str = "") -> list[Part]:
        """Take parts out, of one run, of one campaign, or all ("" and ""); those that were still there."""
        statement = sa.delete(replay_requests)
        if run_id:
            statement = statement.where(replay_requests.c.run_id == run_id)
        if campaign:
            statement = statement.where(replay_requests.c.campaign == campaign)
        with self._engine.begin() as connection:
            rows = connection.execute(statement.returning(*replay_requests.c)).mappings()
            return [_part(dict(row)) for row in rows]


class DynamoReplayRequests:
    """On DynamoDB."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def add(self, requests: Sequence[Request]) -> None:
        """Leave these for the lanes."""
        for one in requests:
            self._table.write([put((_REQUESTS, one.position), {**_row(one), **_packed(one)})])

    def next(self, lane: str, lane_count: int, campaigns: Collection[str]) -> Request | None:
        """The first part that is the lane's and of a campaign that it knows; what no lane has is the first lane's."""
        for item in self._table.query(_REQUESTS):
            owner = item["lane"] if int(item["lane"]) < lane_count else FIRST_LANE
            if owner == lane and item["campaign"] in campaigns:
                return _request(_unpacked(item))
        return None

    def remove(self, lease: Lease, request: Request) -> None:
        """It is decided. Raises LeaseLostError when the lane was taken over: the new holder does it again."""
        try:
            self._table.write([fence(lease), delete((_REQUESTS, request.position))])
        except ChangedError as changed:
            raise lease_lost(lease) from changed

    def waiting(self, run_id: str = "") -> dict[str, int]:
        """Lane -> how many parts wait for it, of one run or of all; without the lanes that have none."""
        found = (item["lane"] for item in self._table.query(_REQUESTS) if run_id in ("", item["run_id"]))
        return dict(sorted(Counter(found).items()))

    def parts(self) -> list[Part]:
        """All that wait."""
        return [_part(_unpacked(item)) for item in self._table.query(_REQUESTS)]

    def withdraw(self, run_id: str = "", campaign: str = "") -> list[Part]:
        """Take parts out, of one run, of one campaign, or all ("" and ""); those that were still there."""
        items = (item for item in self._table.query(_REQUESTS) if run_id in ("", item["run_id"]))
        return [_part(_unpacked(item)) for item in items if campaign in ("", item["campaign"]) if self._take(item)]

    def _take(self, item: Mapping[str, Any]) -> bool:
        try:
            self._table.write([delete((item["pk"], item["sk"]), {"request_id": item["request_id"]})])
        except ChangedError:
            return False  # A lane was faster.
        return True


def open_requests(database: Database) -> ReplayRequests:
    """The queue in a ledger's database."""
    return DynamoReplayRequests(database) if isinstance(database, Table) else SqlReplayRequests(database)


def _row(one: Request) -> dict[str, Any]:
    return {
        "request_id": one.request_id,
        "lane": one.lane,
        "position": one.position,
        "run_id": one.run_id,
        "campaign": one.campaign,
        "occurrences": [asdict(occurrence) for occurrence in one.occurrences],
        "failed": [list(pair) for pair in one.failed],
    }


def _request(row: Mapping[str, Any]) -> Request:
    occurrences = [Occurrence(**one) for one in row["occurrences"]]
    failed = [(profile_id, key) for profile_id, key in row["failed"]]
    return Request(**{**row, "occurrences": occurrences, "failed": failed})


def _part(row: Mapping[str, Any]) -> Part:
    return Part(row["run_id"], row["campaign"], len(row["occurrences"]) + len(row["failed"]))


def _packed(one: Request) -> dict[str, bytes]:
    row = _row(one)
    # An item may have 400 KB.
    return {name: zlib.compress(orjson.dumps(row[name], default=str)) for name in _PACKED}


def _unpacked(item: Mapping[str, Any]) -> dict[str, Any]:
    row = {name: item[name] for name in Request.__slots__}
    return {**row, **{name: orjson.loads(zlib.decompress(row[name])) for name in _PACKED}}
