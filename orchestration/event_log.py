"""Deletes what Dagster need not remember. Open source has no retention but for ticks: runs go by the stock
`delete_run`, and what that leaves behind, or has no run, by what is below.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import dagster as dg
import sqlalchemy as sa
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable, SqlEventLogStorageTable
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager

_FINISHED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
_PAGE = 200
#: Events that were reported without a run are kept as those of a run without a name.
_NO_RUN = ""
#: The repository that Dagster makes of a code location; ticks write their logs below its name.
_REPOSITORY = "__repository__"
#: A file is compacted when more than this share of it is empty, which takes as long as copying the rest.
_EMPTY_SHARE = 0.5


def old_runs(instance: dg.DagsterInstance, before: datetime, job_name: str | None = None) -> list[str]:
    """Ids of the ended runs that were created before then."""
    chosen = dg.RunsFilter(statuses=_FINISHED, created_before=before, job_name=job_name)
    return [run.run_id for run in instance.get_runs(chosen)]


def latest_of_assets(instance: dg.DagsterInstance) -> set[str]:
    """The run that each asset was last materialized by: without it the asset would seem never to have been."""
    # Not `last_run_id`: that is of the last run which was to materialize it, and may have failed before it did.
    made = [record.asset_entry.last_materialization for record in instance.get_asset_records()]
    return {one.run_id for one in made if one is not None and one.run_id}


def delete_runs(instance: dg.DagsterInstance, run_ids: Iterable[str]) -> None:
    """Delete runs with their events, logs and, on SQLite, the file that each has."""
    storage = instance.event_log_storage
    for run_id in run_ids:
        instance.delete_run(run_id)
        instance.compute_log_manager.delete_logs(prefix=[run_id])
        if isinstance(storage, SqliteEventLogStorage):
            for suffix in ("", "-wal", "-shm"):
                Path(storage.path_for_shard(run_id) + suffix).unlink(missing_ok=True)


def delete_checks(instance: dg.DagsterInstance, before: datetime, dry_run: bool) -> int:
    """Delete results of checks from before then, but for the latest of each; how many."""
    table = AssetCheckExecutionsTable
    latest = sa.select(sa.func.max(table.c.id)).group_by(table.c.asset_key, table.c.check_name, table.c.partition)
    old = sa.and_(table.c.evaluation_event_timestamp < _naive(before), table.c.id.not_in(latest))
    with _storage(instance).index_connection() as connection:
        return _delete(connection, table, old, dry_run)


def delete_events(instance: dg.DagsterInstance, before: datetime, dry_run: bool) -> int:
    """Delete events without a run from before then, but for the latest of each asset and kind; how many."""
    table = SqlEventLogStorageTable
    mine = table.c.run_id == _NO_RUN
    latest = sa.select(sa.func.max(table.c.id)).where(mine).group_by(table.c.asset_key, table.c.dagster_event_type)
    old = sa.and_(mine, table.c.timestamp < _naive(before), table.c.id.not_in(latest))
    storage = _storage(instance)
    with storage.run_connection(_NO_RUN) as connection:
        deleted = _delete(connection, table, old, dry_run)
    if isinstance(storage, SqliteEventLogStorage):  # Keeps each twice.
        with storage.index_connection() as connection:
            _delete(connection, table, old, dry_run)
    return deleted


def delete_tick_logs(instance: dg.DagsterInstance, before: datetime, empty_before: datetime, dry_run: bool) -> int:
    """Delete the file that each tick writes its log to; most are empty, as most ticks have nothing to say."""
    old = [
        path
        for path in _tick_logs(instance)
        if (found := path.stat()).st_mtime < before.timestamp()
        or (found.st_size == 0 and found.st_mtime < empty_before.timestamp())
    ]
    for path in [] if dry_run else old:
        path.unlink()
    return len(old)


def compact(instance: dg.DagsterInstance) -> None:
    """Give the space of what was deleted back to the disk; Postgres does so by itself, in time."""
    storage = instance.event_log_storage
    if not isinstance(storage, SqliteEventLogStorage):
        return
    for name in ("index", _NO_RUN):
        with closing(sqlite3.connect(storage.path_for_shard(name), timeout=60)) as connection:
            [[pages]], [[empty]] = (connection.execute(f"PRAGMA {one}") for one in ("page_count", "freelist_count"))
            if empty > pages * _EMPTY_SHARE:
                connection.execute("VACUUM")


def size_bytes(instance: dg.DagsterInstance) -> int:
    """Size of the event log, with all of its tables and files."""
    storage = _storage(instance)
    if isinstance(storage, SqliteEventLogStorage):
        folder = Path(storage.path_for_shard("index")).parent
        return sum(path.stat().st_size for path in _files(folder))
    with storage.index_connection() as connection:
        sizes = sa.text("SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relname = ANY(:names)")
        names = ["event_logs", "asset_keys", "asset_event_tags", "asset_check_executions"]
        return int(connection.execute(sizes, {"names": names}).scalar_one())


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if path.is_file())


def _tick_logs(instance: dg.DagsterInstance) -> Sequence[Path]:
    manager = instance.compute_log_manager
    if not isinstance(manager, LocalComputeLogManager):
        return ()
    folder = Path(manager.get_captured_local_path([_REPOSITORY, "any"], "err")).parent
    return list(folder.glob("*/*.err"))


def _storage(instance: dg.DagsterInstance) -> SqlEventLogStorage:
    storage = instance.event_log_storage
    if not isinstance(storage, SqlEventLogStorage):
        raise TypeError(f"{type(storage).__name__} is no database of which rows could be deleted")
    return storage


def _delete(connection: Any, table: sa.Table, old: sa.ColumnElement[bool], dry_run: bool) -> int:
    if dry_run:
        return int(connection.execute(sa.select(sa.func.count()).select_from(table).where(old)).scalar_one())
    return int(connection.execute(sa.delete(table).where(old)).rowcount)


def _naive(moment: datetime) -> datetime:
    """Dagster's tables have UTC without a zone."""
    return moment.replace(tzinfo=None)
