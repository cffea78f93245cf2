"""Heartbeats: synthetic events through the collector, by which "no customers" is told from "broken"."""

import logging
from itertools import count

import orjson

from wakeline.clock import Clock, to_iso
from wakeline.play.delivery import Post
from wakeline.streams.protocol import partition_of

EVENT = "Wakeline Heartbeat"
_AGAIN = "The collector takes heartbeats again"

_logger = logging.getLogger(__name__)


def heartbeat_ids(partitions: int) -> list[str]:
    """An anonymous id for each partition, the same ones always."""
    found: dict[int, str] = {}
    for number in count():
        if len(found) == partitions:
            return [found[partition] for partition in sorted(found)]
        found.setdefault(partition_of(f"heartbeat-{number}", partitions), f"heartbeat-{number}")
    raise AssertionError


def heartbeat_body(ids: list[str], now_ms: int) -> bytes:
    """The body of a batch call: one event to each id."""
    moment = to_iso(now_ms)
    batch = [
        {"type": "track", "event": EVENT, "anonymousId": one, "messageId": f"{one}-{now_ms}", "timestamp": moment}
        for one in ids
    ]
    return orjson.dumps({"batch": batch, "sentAt": moment})


class Heartbeats:
    """Posts a heartbeat to each partition, and says when that begins to fail and when it works again."""

    def __init__(self, post: Post, ids: list[str], clock: Clock) -> None:
        self._post = post
        self._ids = ids
        self._clock = clock
        self._failing = False

    def beat(self) -> None:
        """One round; a collector that does not take it is tried again with the next."""
        answer = self._post(heartbeat_body(self._ids, self._clock()))
        if answer.is_accepted == self._failing:
            self._failing = not answer.is_accepted
            _logger.info(f"The collector takes no heartbeat: {answer.reason}" if self._failing else _AGAIN)
