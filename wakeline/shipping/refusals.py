"""What the collector will not take: one bad message must not hold up all others."""

from collections.abc import Callable

from wakeline.errors import WakelineError
from wakeline.play.batching import Batch

# The collector quarantines what is larger than 262,144 bytes by the time it has described the device in it.
# The shipper may run on another machine and cannot ask; this leaves room for that, and fits a body of any size.
MAX_MESSAGE_BYTES = 250_000

#: Hands a batch to the collector; False when somebody wanted an end before the collector had it.
Deliver = Callable[[Batch], bool]
#: Told the place in the batch of a message that was refused, and why.
Refused = Callable[[int, str], None]


class RefusedBatchError(WakelineError):
    """The collector refused this batch and takes others; `reason` quotes it."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"The collector refused a batch ({reason}); nothing after it was sent.")
        self.reason = reason


def deliver_in_parts(batch: Batch, deliver: Deliver, refused: Refused, first: int = 0) -> bool:
    """Deliver a batch, in halves when it is refused, and leave out the single messages that are; in order.

    False when somebody wanted an end before. `first` is the place of the batch's first message.
    """
    try:
        return deliver(batch)
    except RefusedBatchError as error:
        if len(batch) == 1:
            refused(first, error.reason)
            return True
    middle = len(batch) // 2
    return deliver_in_parts(_part(batch, 0, middle), deliver, refused, first) and deliver_in_parts(
        _part(batch, middle, len(batch)), deliver, refused, first + middle
    )


def _part(batch: Batch, start: int, end: int) -> Batch:
    part = Batch()
    for message in batch.messages[start:end]:
        part.add(message, batch.earliest_due_ms)
    return part
