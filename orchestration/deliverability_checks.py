"""Whether the mails of each campaign arrive: by hand, and by the sensor at every look."""

from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any

import dagster as dg

from orchestration.configuration import campaigns, settings
from orchestration.streaming import campaign_key
from wakeline.activation.control import open_control
from wakeline.activation.ledger.protocol import Ledger
from wakeline.activation.watch import Counts, Limits, Verdict, judge, still_paused, window_starts
from wakeline.clock import system_clock
from wakeline.warehouse.client import connect
from wakeline.warehouse.deliverability import campaign_counts

CHECK = "mails_arrive"
#: Who has paused a campaign whose mails do not arrive.
WATCH = "deliverability_sensor"

_HOUR_MS = 3_600_000


def build_deliverability_checks() -> dg.AssetChecksDefinition:
    """One check for each campaign; it judges and pauses nothing."""

    @dg.multi_asset_check(specs=[_spec(name) for name in campaigns()], name=CHECK)
    def mails_arrive() -> Iterator[dg.AssetCheckResult]:
        with open_control(settings(), system_clock) as control:
            for name, (verdict, counts) in verdicts(control.ledger).items():
                yield dg.AssetCheckResult(
                    check_name=CHECK, asset_key=campaign_key(name), passed=verdict.passed, **_said(verdict, counts)
                )

    return mails_arrive


def verdicts(ledger: Ledger) -> dict[str, tuple[Verdict, Counts]]:
    """Campaign -> how its mails of the window fare. One that the watch has paused fails until somebody resumes it.

    Raises WarehouseError or LedgerError.
    """
    limits = _limits()
    start_ms = system_clock() - round(settings().activation.deliverability_window_hours * _HOUR_MS)
    resumed = {name: row["resumed_at_ms"] for name, row in ledger.resumes().items()}
    with closing(connect(settings().warehouse)) as client:
        found = campaign_counts(client, start_ms, window_starts(start_ms, resumed))
    pauses = ledger.pauses()
    counts = {name: found.get(name, Counts(0, 0, 0)) for name in campaigns()}
    return {name: (still_paused(judge(one, limits), pauses.get(name), WATCH), one) for name, one in counts.items()}


def evaluation(campaign: str, verdict: Verdict, counts: Counts) -> dg.AssetCheckEvaluation:
    """The same as the sensor reports it."""
    return dg.AssetCheckEvaluation(
        check_name=CHECK, asset_key=campaign_key(campaign), passed=verdict.passed, **_said(verdict, counts)
    )


def _limits() -> Limits:
    activation = settings().activation
    return Limits(activation.max_bounce_percent, activation.max_complaint_percent, activation.deliverability_min_sends)


def _said(verdict: Verdict, counts: Counts) -> Mapping[str, Any]:
    figures = {"sends": counts.sends, "bounces": counts.bounces, "complaints": counts.complaints}
    return {
        "severity": dg.AssetCheckSeverity.ERROR,
        "description": verdict.reason or None,
        "metadata": {**figures, **({"reason": verdict.reason} if verdict.reason else {})},
    }


def _spec(campaign: str) -> dg.AssetCheckSpec:
    return dg.AssetCheckSpec(
        CHECK,
        asset=campaign_key(campaign),
        description="Few of the campaign's mails bounce or are marked as spam; one that fails is paused by the sensor.",
    )
