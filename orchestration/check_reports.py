"""Reports results of asset checks that a sensor has found, so that the Checks tab shows them.

Dagster shows a result as "Not evaluated" once its asset was materialized again, unless one run has reported both
(`AssetCheckExecutionRecord.targets_latest_materialization`). A resident run materializes its assets all the time: so
while it goes on, results are reported in its name. Dagster keeps one result of each run, the latest.
"""

from collections.abc import Callable, Iterable, Mapping, Set
from typing import Any

import dagster as dg
from dagster._core.events import DagsterEvent, DagsterEventType
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecord

#: What has not changed is said again after so long, so that a check shows when it was judged last.
_AGAIN_SECONDS = 600.0
#: Results of a check that are looked through for an older one of the same run.
_LOOKED_THROUGH = 100

Results = Mapping[dg.AssetCheckKey, AssetCheckExecutionRecord]


def result(evaluation: dg.AssetCheckEvaluation) -> Any:
    """What a check says, whatever its figures are."""
    return evaluation.passed or evaluation.severity


def text(evaluation: dg.AssetCheckEvaluation) -> Any:
    """The same, and in which words."""
    return evaluation.passed, evaluation.description


def report_checks(
    instance: dg.DagsterInstance,
    found: Iterable[dg.AssetCheckEvaluation],
    now_seconds: float,
    compare: Callable[[dg.AssetCheckEvaluation], Any] = result,
) -> None:
    """Report what `compare` tells apart from what was said last, by whatever process, and what shows no more."""
    checks = {one.asset_check_key: one for one in found}
    told: Results = instance.event_log_storage.get_latest_asset_check_execution_by_key(list(checks))
    made = _materializations(instance, {key.asset_key for key in checks})
    for key, one in checks.items():
        record, by_asset = told.get(key), made.get(key.asset_key)
        shown = _shown(record, by_asset, now_seconds)
        if shown is None or compare(shown) != compare(one):
            _report(instance, one, record, by_asset)


def _materializations(instance: dg.DagsterInstance, assets: Set[dg.AssetKey]) -> dict[dg.AssetKey, dg.EventLogEntry]:
    records = instance.get_asset_records(list(assets))
    entries = {one.asset_entry.asset_key: one.asset_entry.last_materialization for one in records}
    return {key: entry for key, entry in entries.items() if entry is not None}


def _shown(
    record: AssetCheckExecutionRecord | None, made: dg.EventLogEntry | None, now_seconds: float
) -> dg.AssetCheckEvaluation | None:
    """The result that the tab shows, if it is recent; while somebody runs the check by hand there is none."""
    if record is None or record.event is None or not isinstance(record.evaluation, dg.AssetCheckEvaluation):
        return None
    is_recent = now_seconds - record.event.timestamp <= _AGAIN_SECONDS
    return record.evaluation if is_recent and _targets(record, made) else None


def _targets(record: AssetCheckExecutionRecord, made: dg.EventLogEntry | None) -> bool:
    """Whether Dagster takes a result to be of the latest materialization."""
    if made is None or made.run_id == record.run_id:
        return True
    return not record.run_id and made.timestamp < record.create_timestamp


def _report(
    instance: dg.DagsterInstance,
    evaluation: dg.AssetCheckEvaluation,
    told: AssetCheckExecutionRecord | None,
    made: dg.EventLogEntry | None,
) -> None:
    if made is None or not _is_to_say(instance, made.run_id, evaluation.asset_check_key, told):
        instance.report_runless_asset_event(evaluation)
        return
    kind = DagsterEventType.ASSET_CHECK_EVALUATION.value
    event = DagsterEvent(kind, made.job_name or "", event_specific_data=evaluation)
    instance.report_dagster_event(event, run_id=made.run_id)


def _is_to_say(
    instance: dg.DagsterInstance, run_id: str, key: dg.AssetCheckKey, told: AssetCheckExecutionRecord | None
) -> bool:
    """Whether a result in the run's name would be the latest: the run goes on, and has not said one before another."""
    run = instance.get_run_by_id(run_id) if run_id else None
    if run is None or run.is_finished:
        return False
    if told is None or told.run_id == run_id:
        return True
    earlier = instance.event_log_storage.get_asset_check_execution_history(key, limit=_LOOKED_THROUGH)
    return all(one.run_id != run_id for one in earlier)
