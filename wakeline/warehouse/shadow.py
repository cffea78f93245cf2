"""A second set of the tables behind landing, in a database of its own: filled apart, then exchanged for the first.

dbt creates the tables and their views there as it does in the real database. Landing itself is there a table that
keeps nothing: what is inserted into it goes through the views, as it did when it came in.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clickhouse_connect.driver.binding import quote_identifier
from clickhouse_connect.driver.client import Client

from wakeline.warehouse.landed import warehouse_errors, within
from wakeline.warehouse.spans import Span

#: A view of dbt-clickhouse is called like its table with this behind.
_VIEW = "{}_mv"
# Nothing is repeated: a rebuild that was cut off begins anew. And the tables must know the tokens of lanes only. A
# block goes through all views at once: 262,144 rows took more than the gigabyte that the embedded server gives a query.
FILL_SETTINGS = {
    "insert_deduplicate": 0,
    "deduplicate_blocks_in_dependent_materialized_views": 0,
    "min_insert_block_size_rows": 65_536,
    "min_insert_block_size_bytes": 67_108_864,
    "max_execution_time": 0,
}
_NO_SIZE_LIMIT = {"max_table_size_to_drop": 0, "max_partition_size_to_drop": 0}
_LEFTOVERS = """
    SELECT name FROM system.databases WHERE match(name, concat('^', regexpQuoteMeta({prefix:String}), '[0-9]+$'))
"""
_LEFTOVER_BYTES = """
    SELECT sum(total_bytes) FROM system.tables
    WHERE match(database, concat('^', regexpQuoteMeta({prefix:String}), '[0-9]+$'))
"""
_TABLES = """
    SELECT name, toString(uuid), total_rows, total_bytes FROM system.tables
    WHERE database = {database:String} AND name IN {names:Array(String)}
"""
_VIEWS = "SELECT name, as_select FROM system.tables WHERE database = {database:String} AND engine = 'MaterializedView'"
_COLUMNS = """
    SELECT table, arraySort(groupArray((name, type))) FROM system.columns WHERE database = {database:String}
    GROUP BY table
"""
_FREE = "SELECT min(unreserved_space) FROM system.disks WHERE type = 'Local' OR type = 'local'"


@dataclass(frozen=True, slots=True)
class Table:
    """A table as ClickHouse has it."""

    uuid: str
    rows: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Shadow:
    """The database `name` beside the database `live`; `client` is connected to the latter."""

    client: Client
    live: str
    name: str

    def create(self) -> None:
        """The database and its landing; dbt makes the rest."""
        with warehouse_errors("did not create the shadow tables"):
            self.client.command(f"CREATE DATABASE {self._shadow}")
            self.client.command(f"CREATE TABLE {self._shadow}.landing AS {self._live}.landing ENGINE = Null")

    def mute(self, table: str) -> None:
        """The table hands on to the views behind it what it is given, and keeps nothing."""
        name, empty = (
            f"{self._shadow}.{quote_identifier(table)}",
            f"{self._shadow}.{quote_identifier(table + '__mute')}",
        )
        with warehouse_errors("did not create the shadow tables"):
            self.client.command(f"CREATE TABLE {empty} AS {name} ENGINE = Null")
            self.client.command(f"EXCHANGE TABLES {name} AND {empty}")
            self.client.command(f"DROP TABLE {empty} SYNC")

    def fill(self, spans: Sequence[Span]) -> None:
        """Bring these rows of landing into every shadow table; twice is twice."""
        condition, parameters = within(spans)
        insert = f"INSERT INTO {self._shadow}.landing SELECT * FROM {self._live}.landing WHERE {condition}"  # noqa: S608
        with warehouse_errors("did not fill the shadow tables"):
            self.client.command(insert, parameters, settings=FILL_SETTINGS)

    def tables(self, names: Sequence[str]) -> dict[str, Table]:
        """The shadow tables of these names."""
        return tables(self.client, self.name, names)

    def exchange(self, wanted: Mapping[str, str]) -> None:
        """Let these tables, which are the shadow's by their UUIDs, be the live ones; those that are already stay so.

        One statement: only if ClickHouse itself dies in it can some be exchanged and others not. Calling again does
        the rest.
        """
        with warehouse_errors("did not exchange the tables"):
            now = tables(self.client, self.live, list(wanted))
            pairs = [
                f"{self._live}.{quote_identifier(name)} AND {self._shadow}.{quote_identifier(name)}"
                for name, uuid in wanted.items()
                if now[name].uuid != uuid
            ]
            if pairs:
                self.client.command(f"EXCHANGE TABLES {', '.join(pairs)}")

    def redefined(self, names: Sequence[str]) -> dict[str, str]:
        """View -> its SQL here, where the live view of a table has another."""
        with warehouse_errors("did not answer about the views"):
            shadow, live = self.view_queries(self.name), self.view_queries(self.live)
        views = [_VIEW.format(name) for name in names]
        return {view: shadow[view] for view in views if shadow[view] != live.get(view)}

    def redefine(self, queries: Mapping[str, str]) -> None:
        """Give live views their SQL."""
        with warehouse_errors("did not change the views"):
            for view, query in queries.items():
                self.client.command(f"ALTER TABLE {self._live}.{quote_identifier(view)} MODIFY QUERY {query}")

    def view_queries(self, database: str) -> dict[str, str]:
        """View -> its SQL, as if it were in the live database."""
        rows = self.client.query(_VIEWS, {"database": database}).result_rows
        return {name: query.replace(self.name, self.live) for name, query in rows}

    def changed_columns(self, names: Sequence[str]) -> list[str]:
        """Tables that have other columns here than there."""
        with warehouse_errors("did not answer about columns"):
            shadow, live = self._columns(self.name), self._columns(self.live)
        return [name for name in names if shadow[name] != live.get(name)]

    def drop(self) -> None:
        """Everything in it, at once."""
        _drop(self.client, self.name)

    def _columns(self, database: str) -> dict[str, list[Any]]:
        return dict(self.client.query(_COLUMNS, {"database": database}).result_rows)  # type: ignore[arg-type]

    @property
    def _shadow(self) -> str:
        return quote_identifier(self.name)

    @property
    def _live(self) -> str:
        return quote_identifier(self.live)


def prefix_of(live: str) -> str:
    """What the names of shadow databases begin with; a number follows."""
    return f"{live}_rebuild_"


def drop_leftovers(client: Client, live: str) -> None:
    """Shadow tables of rebuilds that were cut off. What still writes to them fails from then on."""
    with warehouse_errors("did not answer about databases"):
        names = [name for [name] in client.query(_LEFTOVERS, {"prefix": prefix_of(live)}).result_rows]
    for name in names:
        _drop(client, name)


def leftover_bytes(client: Client, live: str) -> int:
    """The room that shadow tables take, of rebuilds that were cut off and of one that is under way."""
    with warehouse_errors("did not answer about databases"):
        return int(client.query(_LEFTOVER_BYTES, {"prefix": prefix_of(live)}).result_rows[0][0] or 0)


def tables(client: Client, database: str, names: Sequence[str]) -> dict[str, Table]:
    """The tables of these names that there are."""
    with warehouse_errors("did not answer about tables"):
        rows = client.query(_TABLES, {"database": database, "names": list(names)}).result_rows
    return {name: Table(uuid, rows or 0, size or 0) for name, uuid, rows, size in rows}


def free_bytes(client: Client) -> int | None:
    """The room on ClickHouse's disk; None where its data are not on a disk."""
    with warehouse_errors("did not answer about disks"):
        free = client.query(_FREE).result_rows[0][0]
    return int(free) or None


def _drop(client: Client, database: str) -> None:
    with warehouse_errors("did not drop shadow tables"):
        client.command(f"DROP DATABASE IF EXISTS {quote_identifier(database)} SYNC", settings=_NO_SIZE_LIMIT)
