"""Parts of a restore that were begun: kept in the ledger's database until they are through."""

from collections.abc import Mapping
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from wakeline.archive.hours import hour_of
from wakeline.archive.parts import Part
from wakeline.database import restores
from wakeline.dynamodb import Table, delete, put
from wakeline.engines import Database
from wakeline.errors import ArchiveError

_RESTORES = "restores"


class BegunParts:
    """What has to be done again, exactly so, when a restore was cut off."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add(self, part: Part, inserts_before: int) -> None:
        """Note a part down before it is inserted; `inserts_before` is how many inserts landing had seen."""
        row = _row(part, inserts_before)
        with self._engine.begin() as connection:
            connection.execute(sa.insert(restores).values(row))

    def remove(self, part: Part) -> None:
        """It is in every table."""
        with self._engine.begin() as connection:
            connection.execute(sa.delete(restores).where(restores.c.token == part.token))

    def all(self) -> list[tuple[Part, int]]:
        """The parts that were begun, each with its `inserts_before`."""
        with self._engine.connect().execution_options(read_only=True) as connection:
            rows = connection.execute(sa.select(restores)).mappings().all()
        return [(_part(dict(row)), row["inserts_before"]) for row in rows]


class DynamoBegunParts:
    """The same on DynamoDB."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def add(self, part: Part, inserts_before: int) -> None:
        """Note a part down before it is inserted; `inserts_before` is how many inserts landing had seen."""
        row = _row(part, inserts_before)
        self._table.write([put((_RESTORES, part.token), {**row, "ranges": orjson.dumps(row["ranges"]).decode()})])

    def remove(self, part: Part) -> None:
        """It is in every table."""
        self._table.write([delete((_RESTORES, part.token))])

    def all(self) -> list[tuple[Part, int]]:
        """The parts that were begun, each with its `inserts_before`."""
        items = self._table.query(_RESTORES)
        return [(_part({**one, "ranges": orjson.loads(one["ranges"])}), one["inserts_before"]) for one in items]


def open_begun_parts(database: Database) -> BegunParts | DynamoBegunParts:
    """The parts noted down in a ledger's database."""
    return DynamoBegunParts(database) if isinstance(database, Table) else BegunParts(database)


def _row(part: Part, inserts_before: int) -> dict[str, Any]:
    return {
        "token": part.token,
        "file": part.hour.file,
        "stream": part.hour.stream,
        "ranges": [list(one) for one in part.ranges],
        "inserts_before": inserts_before,
    }


def _part(row: Mapping[str, Any]) -> Part:
    hour = hour_of(row["file"])
    if hour is None:
        raise ArchiveError(f"The ledger's table restores names {row['file']}, which is no file of an archive.")
    return Part(hour, [(partition, low, high) for partition, low, high in row["ranges"]])
