"""Parts of a restore that were begun: kept in the ledger's database until they are through."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from wakeline.archive.hours import hour_of
from wakeline.archive.parts import Part
from wakeline.database import lanes, restores
from wakeline.errors import ArchiveError


class BegunParts:
    """What has to be done again, exactly so, when a restore was cut off."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add(self, part: Part, inserts_before: int) -> None:
        """Note a part down before it is inserted; `inserts_before` is how many inserts landing had seen."""
        row = {
            "token": part.token,
            "file": part.hour.file,
            "stream": part.hour.stream,
            "ranges": [list(one) for one in part.ranges],
            "inserts_before": inserts_before,
        }
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
        return [(_part(row), row["inserts_before"]) for row in rows]

    def batches(self) -> list[dict[int, tuple[int, int]]]:
        """Offset ranges that lanes have begun to ingest, and will ingest again from the stream if they were cut off."""
        with self._engine.connect().execution_options(read_only=True) as connection:
            intents: Sequence[Any] = connection.execute(sa.select(lanes.c.intent)).scalars().all()
        begun: list[dict[str, tuple[int, int]]] = [intent for intent in intents if intent]
        return [{int(name): (first, end) for name, (first, end) in intent.items()} for intent in begun]


def _part(row: sa.RowMapping) -> Part:
    hour = hour_of(row["file"])
    if hour is None:
        raise ArchiveError(f"The ledger's table restores names {row['file']}, which is no file of an archive.")
    return Part(hour, [(partition, low, high) for partition, low, high in row["ranges"]])
