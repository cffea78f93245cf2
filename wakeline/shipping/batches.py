"""Messages in batches as the collector takes them."""

from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from wakeline.play.batching import Batch


def batches(messages: Iterable[dict[str, Any]], now_ms: int) -> Iterator[Batch]:
    """The messages in order, in as few batches as the limits allow."""
    batch = Batch()
    for message in messages:
        body = orjson.dumps(message)
        if not batch.has_room_for(body):
            yield batch
            batch = Batch()
        batch.add(body, now_ms)
    if batch:
        yield batch
