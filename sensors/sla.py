"""Judges the service levels every few seconds, and reports what has changed."""

import time

import dagster as dg

from orchestration.sla_checks import evaluation, key_of, look, severity
from wakeline.clock import system_clock
from wakeline.errors import WakelineError
from wakeline.sla.judging import Judgement

#: What has not changed is said again after so long, so that a check shows when it was judged last.
_AGAIN_SECONDS = 300.0
#: When this process began to look: what is late from before, as after a stop of everything, is not known yet.
_since_ms: list[int] = []


@dg.sensor(
    # Dagster looks every 5 s; an interval of 10 s would leave out every second look that comes a moment early.
    minimum_interval_seconds=8,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Judges the service levels and reports them as asset checks, when one changes and every few minutes.",
)
def sla_sensor(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    if not _since_ms:
        _since_ms.append(system_clock())
    try:
        found, faults = look(_since_ms[0])
    except WakelineError as error:
        found, faults = [], [str(error)]
    for fault in faults:
        context.log.error(fault)
    known = [one for one in found if one.is_known]
    _report(context.instance, known)
    missed = [one.description for one in known if not one.passed]
    return dg.SkipReason(" ".join([*faults, *missed]) or "All service levels are kept.")


def _report(instance: dg.DagsterInstance, judgements: list[Judgement]) -> None:
    told = instance.event_log_storage.get_latest_asset_check_execution_by_key([key_of(one) for one in judgements])
    for one in judgements:
        if not _is_told(one, told.get(key_of(one))):
            instance.report_runless_asset_event(evaluation(one))


def _is_told(judgement: Judgement, record: object) -> bool:
    """Whether the latest evaluation, by whatever process, is recent and says the same."""
    event = getattr(record, "event", None)
    if event is None or event.dagster_event is None or time.time() - event.timestamp > _AGAIN_SECONDS:
        return False
    said = event.dagster_event.event_specific_data
    if not isinstance(said, dg.AssetCheckEvaluation) or said.passed != judgement.passed:
        return False
    return judgement.passed or said.severity == severity(judgement)
