"""Judges the service levels every few seconds, and reports what has changed."""

import time

import dagster as dg

from orchestration.check_reports import report_checks
from orchestration.sla_checks import evaluation, look
from wakeline.clock import system_clock
from wakeline.errors import WakelineError

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
    report_checks(context.instance, map(evaluation, known), time.time())
    missed = [one.description for one in known if not one.passed]
    return dg.SkipReason(" ".join([*faults, *missed]) or "All service levels are kept.")
