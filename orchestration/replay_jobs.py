"""Replay by hand, from Dagster's UI: each job is a dry run unless it is told to execute."""

import time
from dataclasses import asdict

import dagster as dg
from pydantic import Field

from orchestration.auditing import ByHand, audited_run
from orchestration.configuration import settings
from wakeline.clock import system_clock
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
    description="Activates a past window again: what was missed or failed is decided now, what was sent is never sent"
    " again. A dry run unless told to execute.",
)
def reactivate_window() -> None:
    reactivate()
