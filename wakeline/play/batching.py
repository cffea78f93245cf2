"""Batches as the collector takes them: the Segment batch call's limits, with room for what surrounds the messages."""

from wakeline.clock import to_iso

MAX_MESSAGES = 100
# The collector refuses bodies beyond 512,000 bytes, counted before gzip.
MAX_BYTES = 450_000
_ENVELOPE_BYTES = 100


class Batch:
    """Messages, each as JSON, that are sent together in the order in which they were added."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.earliest_due_ms = 0
        self._bytes = _ENVELOPE_BYTES

    def __len__(self) -> int:
        return len(self.messages)

    def has_room_for(self, message: bytes) -> bool:
        """Whether the batch stays within the limits with this message; an empty one takes any message."""
        fits = len(self) < MAX_MESSAGES and self._bytes + len(message) + 1 <= MAX_BYTES
        return fits or not self.messages

    def add(self, message: bytes, due_ms: int) -> None:
        """Append a message that was due at this time."""
        if not self.messages:
            self.earliest_due_ms = due_ms
        self.messages.append(message)
        self._bytes += len(message) + 1

    def body(self, sent_at_ms: int) -> bytes:
        """The JSON body of the batch call; `sent_at_ms` is when this attempt starts."""
        joined = b",".join(self.messages)
        return b'{"batch":[%b],"sentAt":"%b"}' % (joined, to_iso(sent_at_ms).encode())
