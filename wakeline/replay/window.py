"""The job `reactivate_window` without Dagster: plan, confirm, leave it to the lanes, and see what came of it."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from wakeline.activation.campaigns import Campaign
from wakeline.activation.ledger.reading import states_of
from wakeline.activation.rules import rules_of
from wakeline.clock import Clock
from wakeline.engines import open_database
from wakeline.errors import ReplayError
from wakeline.pipeline.factory import checked_campaigns, open_ledger
from wakeline.pipeline.triggers import LiveModels, load_live_models
from wakeline.replay.asking import past_span, require_confirmed
from wakeline.replay.reactivation import Plan, Reactivation, requests_of
from wakeline.replay.requests import open_requests
from wakeline.settings import Settings
from wakeline.warehouse.client import connect
from wakeline.warehouse.evaluation import Evaluator

_LOOK_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Asked:
    """What the form of the job asks for; `campaign` "" is all, `confirm_count` None is no confirmation."""

    from_time: str
    to_time: str
    campaign: str = ""
    only_failed: bool = False
    execute: bool = False
    confirm_count: int | None = None
    #: How long the job waits for the lanes.
    wait_seconds: float = 60


@dataclass(frozen=True, slots=True)
class Windows:
    """Activates past windows of one deployment again."""

    settings: Settings
    clock: Clock
    sleep: Callable[[float], None]
    log: Callable[[str], None]

    def reactivate(self, asked: Asked, run_id: str) -> dict[str, Any]:
        """The counts of a dry run, and, where it was executed, what became of the sends until now.

        Raises ReplayError for what cannot be done or needs a confirmation, WarehouseError and LedgerError.
        """
        span = past_span(asked.from_time, asked.to_time, self.clock())
        with _opened(self.settings, asked.campaign) as reactivation:
            plan = reactivation.plan(span, asked.only_failed, self.clock())
            described = plan.described()
            self.log(_sentence(described))
            if not asked.execute:
                self.log("This was a dry run: nothing was changed. To do it, start it again with execute: true.")
                return described
            require_confirmed(
                plan.to_decide, "sends to decide", asked.confirm_count, self.settings.replay.max_unconfirmed
            )
            became = self._execute(reactivation, plan, run_id, asked.wait_seconds)
        return {**described, "became": became}

    def _execute(self, reactivation: Reactivation, plan: Plan, run_id: str, wait_seconds: float) -> dict[str, int]:
        queue = open_requests(reactivation.database)
        queue.add(requests_of(plan, run_id, self.settings.lane.count, reactivation.rules))
        end_ms = self.clock() + wait_seconds * 1000
        while (waiting := sum(queue.waiting(run_id).values())) and self.clock() < end_ms:
            self.sleep(_LOOK_SECONDS)
        if waiting:
            self.log(
                f"After {wait_seconds:g} seconds {waiting} parts still wait for a lane, which decides them as soon"
                " as it can: see `wakeline lanes`. A campaign that is new is known to the next run of a lane."
            )
        became = _became(states_of(reactivation.database, plan.keys))
        self.log(f"What became of them until now: {_listed(became) or 'nothing'}.")
        return became


@contextmanager
def _opened(settings: Settings, campaign: str) -> Iterator[Reactivation]:
    live = load_live_models(settings)
    campaigns = _chosen(checked_campaigns(settings, live), campaign)
    with ExitStack() as parts:
        database = open_database(settings)
        parts.callback(database.dispose)
        evaluator = Evaluator(lambda: connect(settings.warehouse), _needed(live, campaigns))
        parts.callback(evaluator.close)
        rules = {name: rules_of(one, settings.activation) for name, one in campaigns.items()}
        yield Reactivation(database, open_ledger(database, 0), evaluator, campaigns, rules)


def _chosen(campaigns: Mapping[str, Campaign], name: str) -> dict[str, Campaign]:
    if name and name not in campaigns:
        raise ReplayError(f"There is no campaign '{name}'; known are {', '.join(sorted(campaigns))}.")
    return {name: campaigns[name]} if name else dict(campaigns)


def _needed(live: LiveModels, campaigns: Mapping[str, Campaign]) -> LiveModels:
    names = {campaign.trigger for campaign in campaigns.values()}
    return replace(live, triggers=tuple(model for model in live.triggers if model.name in names))


def _became(states: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    names = (":".join(filter(None, (row["state"], _reason(row)))) for row in states.values())
    return dict(sorted(Counter(names).items()))


def _reason(row: Mapping[str, Any]) -> str:
    # What a provider says may hold an address; a gate's reason is a code.
    return str(row["reason"]) if row["state"] in ("skipped", "deferred", "held") else ""


def _sentence(counts: Mapping[str, Any]) -> str:
    skips, waits = _listed(counts["would_skip"]), _listed(counts["would_wait"])
    return (
        f"{counts['occurrences']} occurrences in the window: {counts['already_sent']} sent already,"
        f" {counts['already_skipped']} skipped already, {counts['under_way']} under way, {counts['unknown']} unknown,"
        f" {counts['missed']} missed, {counts['failed']} failed. {counts['to_decide']} to decide:"
        f" {counts['would_send']} would be sent, {counts['would_expire']} would expire, {skips or '0'} would be"
        f" skipped, {waits or '0'} would wait."
    )


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items())
