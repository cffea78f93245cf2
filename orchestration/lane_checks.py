"""Whether somebody holds a lane: by hand, and by the lane sensor whenever that changes."""

from typing import Any

import dagster as dg

from orchestration.configuration import lane_store
from orchestration.streaming import EVENT_STREAM
from wakeline.clock import to_iso

PAUSE_CHECK = "no_lane_is_paused"


@dg.asset_check(
    asset=EVENT_STREAM,
    name=PAUSE_CHECK,
    description="Nobody holds a lane; a paused one processes and sends nothing, and its events wait in the stream.",
)
def no_lane_is_paused() -> dg.AssetCheckResult:
    found = pauses()
    return dg.AssetCheckResult(
        passed=not found,
        severity=dg.AssetCheckSeverity.WARN,
        description=_description(found),
        metadata=_metadata(found),
    )


def pauses() -> dict[str, str]:
    """Lane -> since when it is paused, by whom and why."""
    return {
        lane: f"since {to_iso(pause.paused_at_ms)} by {pause.paused_by}: {pause.reason}"
        for lane, pause in sorted(lane_store().pauses().items())
    }


def pause_evaluation(found: dict[str, str]) -> dg.AssetCheckEvaluation:
    """The same as the sensor reports it."""
    return dg.AssetCheckEvaluation(
        check_name=PAUSE_CHECK,
        asset_key=EVENT_STREAM,
        passed=not found,
        severity=dg.AssetCheckSeverity.WARN,
        description=_description(found),
        metadata=_metadata(found),
    )


def _description(found: dict[str, str]) -> str | None:
    return " ".join(f"Lane {lane} is paused {said.rstrip('.')}." for lane, said in found.items()) or None


def _metadata(found: dict[str, str]) -> dict[str, Any]:
    return {f"lane_{lane}": said for lane, said in found.items()}
