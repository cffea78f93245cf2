"""The service levels as asset checks: by hand, and by the sensor at every look."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import dagster as dg

from orchestration.configuration import campaigns, lane_store, settings
from orchestration.streaming import EVENT_STREAM, LANDING, SENDS, campaign_key
from wakeline.activation.control import open_control
from wakeline.clock import system_clock
from wakeline.sla import judging
from wakeline.sla.judging import Judgement
from wakeline.sla.looking import Look, ShortModel, short_models
from wakeline.warehouse.manifest import read_manifest

_ABOUT = {
    judging.HEARTBEAT_ARRIVES: "Synthetic events come through the collector: what is quiet is not broken.",
    judging.LAG: "What was appended to the stream is read, and in ClickHouse, in time.",
    judging.VOLUME: "No less traffic than is usual at this time of the week.",
    judging.QUARANTINE: "Few events are in quarantine.",
    judging.LATENCY: "The ESP accepts mails soon after the event that caused them.",
    judging.SENDS: "The campaign sends something now and then: max_silence_hours in its campaign.yml.",
    judging.FRESH: "The model is as new as the meta of its YAML says.",
}
#: Check -> the asset that it is about, where there is one for all.
ASSETS = {
    judging.HEARTBEAT_ARRIVES: EVENT_STREAM,
    judging.LAG: EVENT_STREAM,
    judging.VOLUME: EVENT_STREAM,
    judging.QUARANTINE: LANDING,
    judging.LATENCY: SENDS,
}


def build_sla_checks() -> dg.AssetChecksDefinition:
    """All of them; each can be run alone."""

    @dg.multi_asset_check(specs=_specs(), name="service_levels", can_subset=True)
    def service_levels(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        found, faults = look(since_ms=0)
        for key, one in ((key_of(one), one) for one in found):
            if key in context.selected_asset_check_keys:
                yield dg.AssetCheckResult(check_name=key.name, asset_key=key.asset_key, **_said(one))
        if faults:
            raise dg.Failure(" ".join(faults))

    return service_levels


def look(since_ms: int) -> tuple[list[Judgement], list[str]]:
    """What can be told of the service levels now, and why the rest cannot."""
    with open_control(settings(), system_clock) as control:
        looked = Look(settings(), lane_store(), control.ledger, campaigns(), _models(), system_clock, since_ms)
        return looked.judgements(), looked.faults


def key_of(judgement: Judgement) -> dg.AssetCheckKey:
    """The check that a judgement is about."""
    if judgement.check == judging.SENDS:
        return dg.AssetCheckKey(campaign_key(judgement.subject), judgement.check)
    asset = ASSETS.get(judgement.check) or dg.AssetKey(judgement.subject)
    return dg.AssetCheckKey(asset, judgement.check)


def evaluation(judgement: Judgement) -> dg.AssetCheckEvaluation:
    """A judgement as the sensor reports it."""
    key = key_of(judgement)
    return dg.AssetCheckEvaluation(check_name=key.name, asset_key=key.asset_key, **_said(judgement))


def severity(judgement: Judgement) -> dg.AssetCheckSeverity:
    """WARN for what is a guess or not yet a failure."""
    return dg.AssetCheckSeverity.WARN if judgement.is_warning else dg.AssetCheckSeverity.ERROR


@cache
def _models() -> Sequence[ShortModel]:
    return short_models(read_manifest(settings(), "everyone"))


def _specs() -> list[dg.AssetCheckSpec]:
    silent = [name for name, one in campaigns().items() if one.max_silence_hours]
    return [
        *(_spec(check, asset) for check, asset in ASSETS.items()),
        *(_spec(judging.SENDS, campaign_key(name)) for name in silent),
        *(_spec(judging.FRESH, dg.AssetKey(model.name)) for model in _models()),
    ]


def _spec(check: str, asset: dg.AssetKey) -> dg.AssetCheckSpec:
    return dg.AssetCheckSpec(check, asset=asset, description=_ABOUT[check])


def _said(judgement: Judgement) -> Mapping[str, Any]:
    return {
        "passed": judgement.passed,
        "severity": severity(judgement),
        "description": judgement.description,
        "metadata": dict(judgement.figures),
    }
