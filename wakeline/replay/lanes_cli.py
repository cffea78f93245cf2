"""`wakeline lanes`, `wakeline pause-lane`, `wakeline resume-lane` and `wakeline drain`."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from wakeline.by_hand import by_option, doer, json_option, tell
from wakeline.clock import system_clock, to_iso
from wakeline.settings import load_settings

if TYPE_CHECKING:
    from wakeline.replay.audit import Result
    from wakeline.replay.lane_control import LaneControl

_reason = click.option("--reason", required=True, metavar="TEXT", help="Why; shown to whoever resumes it.")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the lanes as JSON.")
def lanes(as_json: bool) -> None:
    """List the lanes: which run has each, how far it is, and which are paused."""
    import orjson
    from rich.console import Console

    from wakeline.replay.lanes_view import build_lanes, lanes_tables

    found = build_lanes(load_settings(), system_clock)
    if as_json:
        click.echo(orjson.dumps(found).decode())
    else:
        Console().print(*lanes_tables(found), sep="\n")


@click.command()
@click.argument("lane")
@_reason
@by_option
@json_option
def pause_lane(lane: str, reason: str, by: str | None, as_json: bool) -> None:
    """Let no run process LANE until it is resumed; events wait in the stream, and nothing of the lane is sent."""
    who = doer(by)
    with _control("pause-lane", who, {"lane": lane, "reason": reason}) as (control, _):
        paused = control.pause(lane, who, reason)
    found = {
        "lane": lane,
        "paused_at": to_iso(paused.paused_at_ms),
        "paused_by": paused.paused_by,
        "pause_reason": paused.reason,
    }
    tell(found, f"Lane {lane} is paused; its run ends after the batch that it is at.", as_json)


@click.command()
@click.argument("lane")
@by_option
@json_option
def resume_lane(lane: str, by: str | None, as_json: bool) -> None:
    """Let LANE go on where it was."""
    with _control("resume-lane", doer(by), {"lane": lane}) as (control, result):
        resumed = result["was_paused"] = control.resume(lane)
    said = f"Lane {lane} is resumed." if resumed else f"Lane {lane} was not paused."
    tell({"lane": lane, "was_paused": resumed}, said, as_json)


@click.command()
@click.option("--reason", default="drained", show_default=True, metavar="TEXT", help="Why; shown to whoever resumes.")
@click.option(
    "--wait-seconds",
    type=click.FloatRange(min=0),
    default=600.0,
    show_default=True,
    help="How long to wait; lanes that need longer stop later by themselves, and the exit code is 1.",
)
@by_option
@json_option
def drain(reason: str, wait_seconds: float, by: str | None, as_json: bool) -> None:
    """Let all lanes process what is in the stream now, and then stand still, e.g. before an upgrade.

    A lane that is paused stays as it is. The collector goes on taking events. Resume each lane afterwards.
    """
    who = doer(by)
    with _control("drain", who, {"reason": reason, "wait_seconds": wait_seconds}) as (control, result):
        until = result["processed_until"] = to_iso(control.drain(who, reason, wait_seconds))
    said = f"The lanes have processed what was in the stream at {until}, and stand still."
    tell({"processed_until": until}, said, as_json)


@contextmanager
def _control(operation: str, who: str, config: Mapping[str, Any]) -> "Iterator[tuple[LaneControl, Result]]":
    from wakeline.replay.audit import Doing, audited_on
    from wakeline.replay.lane_control import open_lane_control

    settings, doing = load_settings(), Doing(operation, who, "", config)
    with (
        audited_on(settings, system_clock, doing) as result,
        open_lane_control(settings, system_clock, time.sleep) as control,
    ):
        yield control, result
