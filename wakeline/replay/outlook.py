"""What a rebuild would do, and whether it can be done."""

from collections.abc import Mapping
from dataclasses import dataclass

from clickhouse_connect.driver.client import Client

from wakeline.errors import ConfigError, RebuildError
from wakeline.pipeline.lanes import LaneStore
from wakeline.replay.chain import Chain
from wakeline.warehouse.fence import awaited_models
from wakeline.warehouse.landed import Extent, Landed
from wakeline.warehouse.shadow import Table, free_bytes, leftover_bytes, tables

#: What two idle cores do, roughly; see benchmarks/rebuild.py.
_ROWS_PER_SECOND = 150_000
# Not all parts are merged yet when the tables are exchanged.
_ROOM = 1.5


@dataclass(frozen=True, slots=True)
class Outlook:
    """The tables as they are, what landing has for them, and what landing had once and has no more."""

    tables: Mapping[str, Table]
    extent: Extent
    #: Accepted events that profiles may know, and that a rebuild cannot bring back.
    missing_rows: int
    #: With what a rebuild that was cut off has left there; None where ClickHouse's data are not on a disk.
    free_bytes: int | None
    #: A rebuild that was cut off lets nothing into landing, also nothing from the archive.
    is_closed: bool = False

    @property
    def needed_bytes(self) -> int:
        """Room for the second set of tables."""
        return round(_ROOM * sum(table.bytes for table in self.tables.values()))

    @property
    def estimated_seconds(self) -> int:
        """How long it takes, on two cores."""
        return -(-self.extent.rows // _ROWS_PER_SECOND)

    def require_possible(self, accepted_missing_rows: int) -> None:
        """Raise RebuildError when there is no room, or when events would be lost and nobody has said that they may."""
        if self.free_bytes is not None and self.free_bytes < self.needed_bytes:
            raise RebuildError(
                f"The second set of tables needs about {_gb(self.needed_bytes)} GB, and ClickHouse's disk has"
                f" {_gb(self.free_bytes)} GB free; free some, or rebuild the models one after the other."
            )
        if self.missing_rows != accepted_missing_rows:
            raise RebuildError(
                f"Landing lacks {self.missing_rows} accepted events that it once had, and so would the profiles:"
                f" {self._ways_out}"
                if self.missing_rows
                else "Landing lacks nothing that it once had: leave out accept_missing."
            )

    @property
    def _ways_out(self) -> str:
        if self.is_closed:
            return (
                "type this number as accept_missing. Landing takes nothing until a rebuild is done: restore them from"
                " the archive afterwards (job restore_hours)."
            )
        return (
            "restore them from the archive first (job restore_hours), or confirm the loss by typing this number as"
            " accept_missing."
        )


def outlook(client: Client, lanes: LaneStore, live: str, stream: str, chain: Chain) -> Outlook:
    """Look at everything, change nothing. Raises ConfigError for a model that was never deployed."""
    found = tables(client, live, chain.models)
    absent = [name for name in chain.models if name not in found]
    if absent:
        raise ConfigError(f"Model '{absent[0]}' is not in ClickHouse yet; run 'wakeline deploy' first.")
    landed = Landed(client)
    extent = landed.extent()
    own = {partition: end for (name, partition), end in extent.ends.items() if name == stream}
    missing = landed.forgotten(stream, {**own, **lanes.committed()})
    return Outlook(found, extent, missing, _room(client, live), bool(awaited_models(client)))


def _room(client: Client, live: str) -> int | None:
    """What is free once leftovers are dropped, which is the first that a rebuild does."""
    free = free_bytes(client)
    return None if free is None else free + leftover_bytes(client, live)


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f}"
