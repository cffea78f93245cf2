"""Takes parts of re-activated windows out of the lanes' queue: by hand, or because their campaign is gone."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from wakeline.clock import Clock
from wakeline.engines import open_database
from wakeline.errors import ReplayError
from wakeline.replay.audit import Doing, audited_on
from wakeline.replay.requests import Part, ReplayRequests, open_requests
from wakeline.settings import Settings

#: What the audit calls it when nobody in person has done it.
OPERATION = "withdraw_reactivation"


@dataclass(frozen=True, slots=True)
class Asked:
    """Whose parts are withdrawn: of one run of `reactivate_window`, of one campaign, or of both; one must be named."""

    run_id: str = ""
    campaign: str = ""


@contextmanager
def open_queue(settings: Settings) -> Iterator[ReplayRequests]:
    """The queue of the settings' lanes."""
    database = open_database(settings)
    try:
        yield open_requests(database)
    finally:
        database.dispose()


def withdraw(queue: ReplayRequests, asked: Asked) -> dict[str, Any]:
    """Take what waits of it out of the queue; a part that a lane is at is decided all the same.

    Returns how many parts and sends that were, and of which runs and campaigns. Raises ReplayError when nothing is
    named, or nothing waits of it.
    """
    if not asked.run_id and not asked.campaign:
        raise ReplayError(f"Name a run or a campaign. {waiting_sentence(queue)}")
    withdrawn = queue.withdraw(asked.run_id, asked.campaign)
    if not withdrawn:
        run = f"run {asked.run_id}" if asked.run_id else ""
        raise ReplayError(
            f"Nothing waits of {' and '.join(filter(None, (run, asked.campaign)))}. {waiting_sentence(queue)}"
        )
    return counts_of(withdrawn)


def withdraw_deleted(
    settings: Settings, clock: Clock, campaigns: Collection[str], dry_run: bool, log: Callable[[str], None]
) -> int:
    """Withdraw what no lane will ever take, as its campaign is not among `campaigns`; how many parts that are.

    Kept in the audit, one row for each campaign.
    """
    with open_queue(settings) as queue:
        gone = Counter(part.campaign for part in queue.parts() if part.campaign not in campaigns)
        done = "they would be withdrawn" if dry_run else "they are withdrawn"
        for campaign, parts in sorted(gone.items()):
            log(f"{parts} parts of a re-activation wait for campaign '{campaign}', which is gone: {done}.")
            if not dry_run:
                reason = {"campaign": campaign, "reason": "the campaign is gone"}
                with audited_on(settings, clock, Doing(OPERATION, "clean_up", "", reason)) as result:
                    result |= counts_of(queue.withdraw(campaign=campaign))
    return gone.total()


def counts_of(parts: Iterable[Part]) -> dict[str, Any]:
    """The same in numbers and names."""
    own = list(parts)
    return {
        "parts": len(own),
        "sends": sum(part.sends for part in own),
        "runs": sorted({part.run_id for part in own}),
        "campaigns": sorted({part.campaign for part in own}),
    }


def waiting_sentence(queue: ReplayRequests) -> str:
    """What waits, by run and campaign."""
    waiting = Counter((part.run_id, part.campaign) for part in queue.parts())
    listed = ", ".join(f"{parts} parts of run {run} ({campaign})" for (run, campaign), parts in sorted(waiting.items()))
    return f"Waiting are {listed}." if listed else "Nothing waits."
