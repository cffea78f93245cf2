"""Replay by hand, from Dagster's UI: each job is a dry run unless it is told to execute."""

import time
from dataclasses import asdict
from typing import Any

import dagster as dg
from pydantic import Field

from orchestration.auditing import ByHand, audited_run
from orchestration.configuration import KIND_TAG, settings
from wakeline.clock import system_clock
from wakeline.replay import quarantine, resetting, withdrawing
from wakeline.replay.repair import Repair
from wakeline.replay.window import Asked, Windows

_EXECUTE = "false is a dry run, which says what would be done; true does it."
_CONFIRM = "The number of the dry run, typed in; needed above replay.max_unconfirmed."


class ReplayForm(ByHand):
    """The base of the forms of jobs that are dry runs unless told otherwise."""

    execute: bool = Field(False, description=_EXECUTE)
    confirm_count: int | None = Field(None, description=_CONFIRM)


class WindowConfig(ReplayForm):
    """Which past window is activated again."""

    from_time: str = Field(description="Beginning of the window, UTC, e.g. 2026-11-25T14:00; by arrival of the events.")
    to_time: str = Field(description="End of the window, UTC, not later than now.")
    campaign: str = Field("", description="Folder name under campaigns/; empty: all of them.")
    only_failed: bool = Field(False, description="true leaves out what was missed: only refused sends are tried again.")
    wait_seconds: float = Field(60, ge=0, description="How long the run waits for the lanes, which do the sending.")


@dg.op(description="Finds what was missed or failed in a past window, and has the lanes decide on it.")
def reactivate(context: dg.OpExecutionContext, config: WindowConfig) -> None:
    asked = Asked(**config.model_dump(exclude={"by"}))
    windows = Windows(settings(), system_clock, time.sleep, context.log.info)
    with audited_run(context, settings(), system_clock, config.by, asdict(asked)) as result:
        result |= windows.reactivate(asked, context.run_id)


@dg.job(
    executor_def=dg.in_process_executor,
    tags={KIND_TAG: "replay"},
    description="Activates a past window again: what was missed or failed is decided now, what was sent is never sent"
    " again. A dry run unless told to execute.",
)
def reactivate_window() -> None:
    reactivate()


class WithdrawConfig(ByHand):
    """Which parts of re-activated windows are taken back."""

    run_id: str = Field("", description="Run id of the run of reactivate_window that asked for it; empty: of any.")
    campaign: str = Field("", description="Folder name of the campaign, which may be gone; empty: of any.")


@dg.op(description="Takes back what a re-activated window has left to the lanes and they have not decided yet.")
def withdraw(context: dg.OpExecutionContext, config: WithdrawConfig) -> None:
    asked = withdrawing.Asked(**config.model_dump(exclude={"by"}))
    with (
        audited_run(context, settings(), system_clock, config.by, asdict(asked)) as result,
        withdrawing.open_queue(settings()) as queue,
    ):
        result |= withdrawing.withdraw(queue, asked)


@dg.job(
    executor_def=dg.in_process_executor,
    tags={KIND_TAG: "replay"},
    description="Takes back what a run of reactivate_window has left to the lanes and they have not decided yet. Name"
    " the run, the campaign or both.",
)
def withdraw_reactivation() -> None:
    withdraw()


class QuarantineConfig(ReplayForm):
    """Which rows of quarantine are replayed, and what is changed in them before."""

    reason: str = Field("", description="Only rows with this reason; empty: all. A dry run lists the reasons.")
    merge_patch: dict[str, Any] = Field(
        default_factory=dict,
        description="JSON merge patch for every message, e.g. {type: track}; empty: try again by the rules of now.",
    )
    times_of_receipt: bool = Field(False, description="true takes the client's times away: it happened when received.")
    give_message_ids: bool = Field(False, description="true gives messages without messageId one of their own.")


class ResetConfig(ByHand):
    """Where a partition goes on."""

    partition: int = Field(description="Partition of the stream; its lane must be paused.")
    offset: int = Field(ge=0, description="Earlier than now: read again from there. Later: pass over what is between.")
    skip_events: int | None = Field(None, description="How many events are passed over, typed in; see the dry run.")
    execute: bool = Field(False, description=_EXECUTE)


@dg.op(description="Appends rows of quarantine to the stream again, repaired where that is asked for.")
def replay(context: dg.OpExecutionContext, config: QuarantineConfig) -> None:
    repair = Repair(config.merge_patch, config.times_of_receipt, config.give_message_ids)
    # The values of a patch may be about a customer.
    asked = {**config.model_dump(exclude={"by"}), "merge_patch": sorted(config.merge_patch)}
    wanted = quarantine.Asked(config.reason, repair, config.execute, config.confirm_count)
    with (
        audited_run(context, settings(), system_clock, config.by, asked) as result,
        quarantine.open_replayer(settings(), system_clock, context.log.info) as replayer,
    ):
        result |= replayer.replay(wanted, context.run_id)


@dg.op(description="Lets a partition go on at another offset: reads events again, or passes over them.")
def reset(context: dg.OpExecutionContext, config: ResetConfig) -> None:
    asked = resetting.Asked(**config.model_dump(exclude={"by"}))
    with (
        audited_run(context, settings(), system_clock, config.by, asdict(asked)) as result,
        resetting.open_resetter(settings(), system_clock, context.log.info, context.run_id) as resetter,
    ):
        result |= resetter.reset(asked)


@dg.job(
    executor_def=dg.in_process_executor,
    tags={KIND_TAG: "replay"},
    description="Lets events go that are in quarantine, repaired or by the rules of now, through the stream once more."
    " A dry run unless told to execute.",
)
def replay_quarantine() -> None:
    replay()


@dg.job(
    executor_def=dg.in_process_executor,
    tags={KIND_TAG: "replay"},
    description="Reads a partition again from an earlier offset, or passes over events up to a later one. Its lane must"
    " be paused. A dry run unless told to execute.",
)
def reset_lane() -> None:
    reset()
