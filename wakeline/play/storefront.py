"""A simulated shop, for machines without data: people who browse, dwell, fill carts, buy and log in.

Like real traffic it has a few messages delivered twice and a few broken ones, so that the counts show them.
"""

import random
from collections.abc import Iterable, Iterator
from itertools import takewhile
from typing import Any

from wakeline.play.behaviours import script
from wakeline.play.message import SHOP_URL, TimedMessage, message_id
from wakeline.play.ordering import interleave
from wakeline.play.shoppers import Shopper, shoppers
from wakeline.play.visits import Visit

_MINUTE_MS = 60_000
_DELIVERED_TWICE = 0.01
_BROKEN = 0.005
# Long enough that a later visit is a new session by any common rule.
_AWAY_MINUTES = (45, 600)


def simulate(seed: int, people: int, minutes: float, shop_url: str = SHOP_URL) -> Iterator[TimedMessage]:
    """What happens in the shop, in time order from time 0; always the same for the same arguments.

    Everybody visits once and comes back if the time is long enough; what would go beyond it is cut off. Pages and
    pictures are at `shop_url`, which has no part in the messageIds.
    """
    rng = random.Random(seed)  # noqa: S311 - repeatable play, no secret
    end_ms = round(minutes * _MINUTE_MS)
    arrivals = sorted(_arrivals(rng, shoppers(rng, seed, people), end_ms), key=lambda arrival: arrival[0])
    run = f"{seed}/{people}/{end_ms}"
    visits = (_visit(Visit(rng, run, shop_url, shopper, at_ms), shopper) for at_ms, shopper in arrivals)
    return takewhile(lambda timed: timed.at_ms <= end_ms, _with_flaws(rng, interleave(visits)))


def _arrivals(rng: random.Random, everybody: list[Shopper], end_ms: int) -> Iterator[tuple[int, Shopper]]:
    for shopper in everybody:
        longest_ms = script(shopper.habit.behaviour).longest_minutes * _MINUTE_MS
        latest_ms = end_ms - longest_ms
        at_ms = round(rng.uniform(0, max(latest_ms, _MINUTE_MS)))
        yield at_ms, shopper
        while (at_ms := at_ms + longest_ms + _away_ms(rng)) < latest_ms:
            yield at_ms, shopper


def _away_ms(rng: random.Random) -> int:
    return round(rng.uniform(*_AWAY_MINUTES) * _MINUTE_MS)


def _visit(visit: Visit, shopper: Shopper) -> Iterator[TimedMessage]:
    script(shopper.habit.behaviour).act(visit)
    return iter(visit.messages)


def _with_flaws(rng: random.Random, messages: Iterable[TimedMessage]) -> Iterator[TimedMessage]:
    for timed in messages:
        yield timed
        if rng.random() < _DELIVERED_TWICE:
            yield timed
        if rng.random() < _BROKEN:
            yield TimedMessage(timed.at_ms, _broken(rng, timed.message))


def _broken(rng: random.Random, message: dict[str, Any]) -> dict[str, Any]:
    """Another message that lacks what it cannot do without: its ids, or the name of its event."""
    missing = rng.choice((("anonymousId", "userId"), ("event", "properties")))
    kept = {key: value for key, value in message.items() if key not in missing}
    kind = "track" if "event" in missing else message["type"]
    return kept | {"type": kind, "messageId": message_id("broken", message["messageId"])}
