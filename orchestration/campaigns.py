"""Pausing a campaign and letting it go on, from Dagster's UI."""

import dagster as dg
from pydantic import Field

from orchestration.auditing import ByHand, audited_run
from orchestration.configuration import KIND_TAG, settings
from wakeline.activation.control import open_control
from wakeline.clock import system_clock, to_iso

CAMPAIGN_TAG = "wakeline/campaign"


class PauseConfig(ByHand):
    """Which campaign is paused, and why."""

    campaign: str = Field(description="Folder name under campaigns/; another name fails the run and changes nothing.")
    reason: str = Field(description="Why; shown to whoever resumes it.")


class ResumeConfig(ByHand):
    """Which campaign goes on."""

    campaign: str = Field(description="Folder name under campaigns/; its held mails go out as well, within seconds.")


@dg.op(description="Holds every mail of a campaign from now on; a pause that is in force already stays as it is.")
def pause(context: dg.OpExecutionContext, config: PauseConfig) -> None:
    _tag(context, config.campaign)
    asked = {"campaign": config.campaign, "reason": config.reason}
    with audited_run(context, settings(), system_clock, config.by, asked) as result:
        with open_control(settings(), system_clock) as control:
            paused = control.pause(config.campaign, config.by or context.job_name, config.reason)
        since = to_iso(paused["paused_at_ms"])
        result |= {"since": since, "by": paused["paused_by"], "reason": paused["reason"]}


@dg.op(description="Lets the mails of a campaign go on.")
def resume(context: dg.OpExecutionContext, config: ResumeConfig) -> None:
    _tag(context, config.campaign)
    asked = {"campaign": config.campaign}
    with (
        audited_run(context, settings(), system_clock, config.by, asked) as result,
        open_control(settings(), system_clock) as control,
    ):
        result["was_paused"] = control.resume(config.campaign, config.by or context.job_name)


@dg.job(
    executor_def=dg.in_process_executor,
    tags={KIND_TAG: "campaign"},
    description="Holds the mails of a campaign until it is resumed, transactional ones as well; what expires meanwhile"
    " is skipped.",
)
def pause_campaign() -> None:
    pause()


@dg.job(
    executor_def=dg.in_process_executor,
    tags={KIND_TAG: "campaign"},
    description="Lets the mails of a paused campaign go on, those held as well.",
)
def resume_campaign() -> None:
    resume()


def _tag(context: dg.OpExecutionContext, campaign: str) -> None:
    context.instance.add_run_tags(context.run_id, {CAMPAIGN_TAG: campaign})
