"""Pausing lanes, letting them go on and draining them, from Dagster's UI."""

import time

import dagster as dg
from pydantic import Field

from orchestration.auditing import ByHand, audited_run
from orchestration.configuration import KIND_TAG, settings
from wakeline.clock import system_clock, to_iso
from wakeline.replay.lane_control import open_lane_control


class PauseLaneConfig(ByHand):
    """Which lane is paused, and why."""

    lane: str = Field(description='Number of the lane, "0" for the first; see `wakeline lanes`.')
    reason: str = Field(description="Why; shown to whoever resumes it.")


class ResumeLaneConfig(ByHand):
    """Which lane goes on."""

    lane: str = Field(description='Number of the lane, "0" for the first; it goes on where it was.')


class DrainConfig(ByHand):
    """How long a run of `drain_and_stop` waits."""

    reason: str = Field("drained", description="Why; shown to whoever resumes the lanes.")
    wait_seconds: float = Field(
        600, description="After this long the run fails; lanes that need longer stop later by themselves."
    )


@dg.op(description="Lets no run process a lane until it is resumed; its present run ends after its batch.")
def hold_lane(context: dg.OpExecutionContext, config: PauseLaneConfig) -> None:
    asked = {"lane": config.lane, "reason": config.reason}
    with (
        audited_run(context, settings(), system_clock, config.by, asked) as result,
        open_lane_control(settings(), system_clock, time.sleep) as control,
    ):
        pause = control.pause(config.lane, config.by or context.job_name, config.reason)
        result["since"] = to_iso(pause.paused_at_ms)


@dg.op(description="Lets a lane go on where it was.")
def release_lane(context: dg.OpExecutionContext, config: ResumeLaneConfig) -> None:
    with (
        audited_run(context, settings(), system_clock, config.by, {"lane": config.lane}) as result,
        open_lane_control(settings(), system_clock, time.sleep) as control,
    ):
        result["was_paused"] = control.resume(config.lane)


@dg.op(description="Lets every lane process what is in the stream now, and waits until all stand still.")
def drain_lanes(context: dg.OpExecutionContext, config: DrainConfig) -> None:
    asked = {"reason": config.reason, "wait_seconds": config.wait_seconds}
    with (
        audited_run(context, settings(), system_clock, config.by, asked) as result,
        open_lane_control(settings(), system_clock, time.sleep) as control,
    ):
        until_ms = control.drain(config.by or context.job_name, config.reason, config.wait_seconds)
        result["processed_until"] = to_iso(until_ms)


@dg.job(
    executor_def=dg.in_process_executor,
    tags={KIND_TAG: "lane"},
    description="Holds a lane: events wait in the stream, and nothing of the lane is sent until it is resumed.",
)
def pause_lane() -> None:
    hold_lane()


@dg.job(
    executor_def=dg.in_process_executor,
    tags={KIND_TAG: "lane"},
    description="Lets a paused or drained lane go on where it was.",
)
def resume_lane() -> None:
    release_lane()


@dg.job(
    executor_def=dg.in_process_executor,
    tags={KIND_TAG: "lane"},
    description="Before an upgrade: lanes process what is in the stream up to now, then stand still until each is"
    " resumed. The collector goes on taking events.",
)
def drain_and_stop() -> None:
    drain_lanes()
