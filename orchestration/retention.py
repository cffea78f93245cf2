"""The nightly job that deletes what is old enough, says how much that was, and what it left and why."""

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

import dagster as dg
from pydantic import Field
from sqlalchemy.engine import Engine

from orchestration import event_log
from orchestration.configuration import KIND_TAG, campaigns, settings
from orchestration.resident import resident_lane
from wakeline.activation.rules import rules_of
from wakeline.clock import system_clock, to_datetime
from wakeline.engines import open_database
from wakeline.replay.withdrawing import withdraw_deleted
from wakeline.retention.sends import Forgotten, copied_sends, forget_sends, require_long_enough
from wakeline.warehouse.client import connect

Say = Callable[[str], None]
Counts = dict[str, int]

_DAY_MS = 86_400_000
#: A tick that had nothing to say leaves an empty file, one every few seconds of each sensor.
_EMPTY_LOGS = timedelta(days=1)


class CleanUpConfig(dg.Config):
    """Whether anything is deleted."""

    dry_run: bool = Field(True, description="true only says what would be deleted; false deletes it, for ever.")


@dg.op(description="Deletes what is older than the settings [retention] say, or only says how much that is.")
def delete_what_is_old(context: dg.OpExecutionContext, config: CleanUpConfig) -> None:
    now, say = to_datetime(system_clock()), context.log.info
    counts = clean_dagster(context.instance, now, config.dry_run, say)
    counts |= clean_ledger(now, config.dry_run, say)
    counts["reactivation_parts"] = withdraw_deleted(settings(), system_clock, campaigns(), config.dry_run, say)
    context.add_output_metadata({"dry_run": config.dry_run, **counts})


@dg.job(
    executor_def=dg.in_process_executor,
    tags={KIND_TAG: "maintenance"},
    description="Deletes runs, events and sends that are older than the settings [retention] say, and what waits for a"
    " campaign that is gone; every night by its schedule. By hand it is a dry run unless told otherwise.",
)
def clean_up() -> None:
    delete_what_is_old()


clean_up_schedule = dg.ScheduleDefinition(
    name="clean_up_schedule",
    job=clean_up,
    cron_schedule="20 4 * * *",
    run_config=dg.RunConfig(ops={"delete_what_is_old": CleanUpConfig(dry_run=False)}),
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Starts clean_up every night (UTC), for real.",
)


def clean_dagster(instance: dg.DagsterInstance, now: datetime, dry_run: bool, say: Say) -> Counts:
    """Delete old runs, results of checks, events without a run, and logs of ticks; what was deleted."""
    kept = settings().retention
    runs_before, checks_before = now - timedelta(days=kept.runs_days), now - timedelta(days=kept.checks_days)
    old = _old_runs(instance, now)
    latest = event_log.latest_of_assets(instance) & old
    if latest:
        say(f"{len(latest)} old runs are left: they are the latest to have materialized an asset.")
    if not dry_run:
        event_log.delete_runs(instance, old - latest)
    counts = {
        "runs": len(old - latest),
        "runs_left": len(latest),
        "check_results": event_log.delete_checks(instance, checks_before, dry_run),
        "events_without_run": event_log.delete_events(instance, checks_before, dry_run),
        "tick_logs": event_log.delete_tick_logs(instance, runs_before, now - _EMPTY_LOGS, dry_run),
    }
    if not dry_run:
        event_log.compact(instance)
    return {**counts, "event_log_bytes": event_log.size_bytes(instance)}


def clean_ledger(now: datetime, dry_run: bool, say: Say) -> Counts:
    """Let the ledger forget settled sends that are old enough; what was deleted. Raises WakelineError."""
    days = settings().retention.sends_days
    if not days:
        say("The ledger keeps every send: retention.sends_days is 0.")
        return {"sends": 0, "sends_left": 0}
    require_long_enough(days, (rules_of(one, settings().activation) for one in campaigns().values()))
    found = _forget(round(now.timestamp() * 1000 - days * _DAY_MS), dry_run)
    if found.not_copied:
        say(f"{found.not_copied} old sends are left: analytics has no copy of them, or an older one.")
    return {"sends": found.deleted, "sends_left": found.not_copied}


def _old_runs(instance: dg.DagsterInstance, now: datetime) -> set[str]:
    kept = settings().retention
    resident = event_log.old_runs(instance, now - timedelta(days=kept.resident_runs_days), resident_lane.name)
    return {*event_log.old_runs(instance, now - timedelta(days=kept.runs_days)), *resident}


def _forget(before_ms: int, dry_run: bool) -> Forgotten:
    client, database = connect(settings().warehouse), open_database(settings())
    try:
        if not isinstance(database, Engine):
            raise TypeError("the settings allow no retention.sends_days for a ledger on DynamoDB")
        return forget_sends(database, partial(copied_sends, client), before_ms, dry_run)
    finally:
        database.dispose()
        client.close()
