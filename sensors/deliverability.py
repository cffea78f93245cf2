"""Pauses a campaign by itself when too many of its mails bounce or are marked as spam."""

import time

import dagster as dg

from orchestration.check_reports import report_checks
from orchestration.configuration import settings
from orchestration.deliverability_checks import WATCH, evaluation, verdicts
from wakeline.activation.control import Control, open_control
from wakeline.activation.watch import Verdict
from wakeline.clock import system_clock
from wakeline.errors import WakelineError


@dg.sensor(
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Pauses a campaign of whose mails too large a share bounces hard or is marked as spam, and says so in"
    " the check mails_arrive; resumes none.",
)
def deliverability_sensor(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    try:
        return dg.SkipReason(_look(context.instance))
    except WakelineError as error:
        context.log.error(str(error))
        return dg.SkipReason(str(error))


def _look(instance: dg.DagsterInstance) -> str:
    with open_control(settings(), system_clock) as control:
        found = verdicts(control.ledger)
        said = [_act(control, name, verdict) for name, (verdict, _) in found.items()]
    report_checks(instance, (evaluation(name, *one) for name, one in found.items()), time.time())
    return " ".join(filter(None, said)) or "The mails of every campaign arrive."


def _act(control: Control, campaign: str, verdict: Verdict) -> str:
    """Pause first: whoever is told must find it paused."""
    if verdict.passed:
        return ""
    control.pause(campaign, WATCH, verdict.reason)
    return f"{campaign} is paused: {verdict.reason}."
