"""The archive of every received event, and the way back from it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg
from clickhouse_connect.driver.client import Client
from dagster_aws.s3 import S3Resource
from pydantic import Field

from orchestration.auditing import ByHand, audited_run
from orchestration.columns import archive_columns
from orchestration.configuration import KIND_TAG, settings
from orchestration.streaming import TEAM
from wakeline.archive.begun import open_begun_parts
from wakeline.archive.factory import open_store
from wakeline.archive.hours import HOUR_MS, hour_start
from wakeline.archive.leases import Leases
from wakeline.archive.restoring import Restored, Restorer
from wakeline.archive.store import Store
from wakeline.archive.writing import archive_hours as write_hours
from wakeline.clock import system_clock
from wakeline.engines import Database, open_database
from wakeline.pipeline.factory import lane_store, open_ledger
from wakeline.warehouse.client import connect

ARCHIVE = dg.AssetKey("archive")


class ArchiveConfig(dg.Config):
    """What a run of `archive_hours` looks at."""

    hours_back: int | None = Field(
        None, description="How many hours back rows are looked for that the archive lacks; empty: archive.hours_back."
    )


class RestoreConfig(ByHand):
    """What a run of `restore_hours` restores."""

    from_hour: str = Field(description="First hour to restore, UTC, e.g. 2026-11-25T14:00; by the time of the append.")
    to_hour: str = Field(description="Last hour to restore; the same as from_hour for one hour.")
    dry_run: bool = Field(
        True, description="true only says, for every hour, how many rows the archive and landing have; false inserts."
    )


def s3_resource() -> S3Resource:
    """S3 as the settings have it; credentials are those of the AWS environment. Asked only for a bucket."""
    archive = settings().archive
    return S3Resource(region_name=archive.region or None, endpoint_url=archive.endpoint_url or None)


@dg.asset(
    key=ARCHIVE,
    deps=[dg.AssetKey("landing")],
    group_name="archive",
    kinds={"parquet"},
    owners=[TEAM],
    description="Every received event as Parquet, one file for each hour of the stream; again when rows come late.",
)
def archive(context: dg.AssetExecutionContext, config: ArchiveConfig, s3: S3Resource) -> dg.MaterializeResult[None]:
    hours_back = config.hours_back or settings().archive.hours_back
    end_ms = system_clock() + HOUR_MS
    with _parts(s3.get_client) as (client, store), _open_database() as database:
        if not settings().archive.enabled:
            context.log.info("Nothing is archived: archive.enabled is false")
            return dg.MaterializeResult(metadata={"hours": 0})
        first_ms = end_ms - end_ms % HOUR_MS - hours_back * HOUR_MS
        leases = _leases(database, context.run.run_id)
        written = list(write_hours(client, store, leases, first_ms, end_ms, context.log.info))
    rows, size = sum(one.rows for one in written), sum(one.size for one in written)
    return dg.MaterializeResult(metadata={"hours": len(written), "rows": rows, "bytes": size, "archive": str(store)})


def described_archive() -> dg.AssetsDefinition:
    """The asset with its columns, which are those that were deployed."""
    return archive.map_asset_specs(lambda spec: spec.merge_attributes(metadata=archive_columns()))


@dg.op(description="Inserts what the archive has of some hours and landing lacks, or only says how much that is.")
def restore(context: dg.OpExecutionContext, config: RestoreConfig, s3: S3Resource) -> None:
    asked = {"from_hour": config.from_hour, "to_hour": config.to_hour, "dry_run": config.dry_run}
    with audited_run(context, settings(), system_clock, config.by, asked) as result:
        first_ms, last_ms = hour_start(config.from_hour), hour_start(config.to_hour)
        with _parts(s3.get_client) as (client, store), _restorer(client, store, context) as restorer:
            restored = list(restorer.restore(first_ms, last_ms + HOUR_MS, config.dry_run))
        result |= _totals(restored)


@dg.job(
    executor_def=dg.in_process_executor,
    tags={KIND_TAG: "archive"},
    description="Restores landing, and all that follows from it, from the archive: first as a dry run, then for real."
    " Sends nothing and moves no offset.",
)
def restore_hours() -> None:
    restore()


archive_hours = dg.define_asset_job(
    "archive_hours",
    selection=dg.AssetSelection.assets(ARCHIVE),
    description="Writes the hours of landing that the archive does not have yet, or not all of.",
    executor_def=dg.in_process_executor,
    tags={KIND_TAG: "archive"},
)

archive_schedule = dg.ScheduleDefinition(
    name="archive_schedule",
    job=archive_hours,
    cron_schedule="7 * * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Starts archive_hours every hour.",
)


@contextmanager
def _parts(s3_client: Callable[[], Any]) -> Iterator[tuple[Client, Store]]:
    client = connect(settings().warehouse)
    try:
        yield client, open_store(settings(), s3_client)
    finally:
        client.close()


@contextmanager
def _restorer(client: Client, store: Store, context: dg.OpExecutionContext) -> Iterator[Restorer]:
    with _open_database() as database:
        yield Restorer(
            client,
            store,
            open_begun_parts(database),
            _leases(database, context.run_id),
            open_ledger(database, 0),
            settings().trusted_sources,
            settings().double_opt_in,
            settings().stream.name,
            context.log.info,
        )


@contextmanager
def _open_database() -> Iterator[Database]:
    database = open_database(settings())
    try:
        yield database
    finally:
        database.dispose()


def _leases(database: Database, run_id: str) -> Leases:
    lease_ms = round(settings().lane.lease_seconds * 1000)
    return Leases(lane_store(settings(), database), run_id, system_clock, lease_ms)


def _totals(restored: list[Restored]) -> dict[str, int]:
    return {
        "hours": len(restored),
        "archived": sum(one.archived for one in restored),
        "landed": sum(one.landed for one in restored),
        "inserted": sum(one.inserted for one in restored),
    }
