"""Pauses a campaign by itself when too many of its mails bounce or are marked as spam."""

import dagster as dg

from orchestration.configuration import settings
from orchestration.deliverability_checks import CHECK, WATCH, evaluation, verdicts
from orchestration.streaming import campaign_key
from wakeline.activation.control import Control, open_control
from wakeline.activation.watch import Counts, Verdict
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
        said = [_act(instance, control, name, *found) for name, found in verdicts(control.ledger).items()]
    return " ".join(filter(None, said)) or "The mails of every campaign arrive."


def _act(instance: dg.DagsterInstance, control: Control, campaign: str, verdict: Verdict, counts: Counts) -> str:
    """Pause first: whoever is told must find it paused."""
    if not verdict.passed:
        control.pause(campaign, WATCH, verdict.reason)
    if _passed_last(instance, campaign) != verdict.passed:  # A report is worth an event only when something changes.
        instance.report_runless_asset_event(evaluation(campaign, verdict, counts))
    return "" if verdict.passed else f"{campaign} is paused: {verdict.reason}."


def _passed_last(instance: dg.DagsterInstance, campaign: str) -> bool | None:
    """What was said of the campaign last, by this process or an earlier one; None when nothing was."""
    key = dg.AssetCheckKey(campaign_key(campaign), CHECK)
    record = instance.event_log_storage.get_latest_asset_check_execution_by_key([key]).get(key)
    if record is None or record.event is None or record.event.dagster_event is None:
        return None
    found = record.event.dagster_event.event_specific_data
    return found.passed if isinstance(found, dg.AssetCheckEvaluation) else None
