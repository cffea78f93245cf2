"""The one way into the stream: every endpoint hands its messages over here."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager

from wakeline.clock import Clock
from wakeline.collector.appender import Appender, size_of
from wakeline.collector.backpressure import Gate
from wakeline.collector.envelope import Batch, to_events
from wakeline.errors import StreamError

#: A batch, and the name of the source that sent it; it stands in every event.
Sourced = tuple[Batch, str]


class Intake:
    """The gate in front of the stream and the append; `new_id` makes the ids of messages that come without one."""

    def __init__(self, appender: Appender, gate: Gate, clock: Clock, new_id: Callable[[], str]) -> None:
        self.clock = clock
        self.new_id = new_id
        self._appender = appender
        self._gate = gate

    def check(self) -> None:
        """Raises RefusedError (429, 503) while events come in faster than they can be taken."""
        self._gate.check()

    def reading(self) -> AbstractContextManager[Callable[[int], None]]:
        """Counts the bytes of a body while the block reads it; see `Gate.reading`."""
        return self._gate.reading()

    def failure(self) -> StreamError | None:
        """Why events cannot be appended, as far as known."""
        return self._appender.failure()

    def pressure(self) -> dict[str, object]:
        """Why requests are refused now, as health shows it; empty when none are."""
        return self._gate.pressure()

    def take(self, batches: Sequence[Sourced], received_at_ms: int) -> Awaitable[None]:
        """Done once the messages are durable; StreamError comes of awaiting it. Raises RefusedError (413, 429, 503).

        What it makes of the batches is all that is kept until then.
        """
        self._gate.check()  # Again, because slow bodies of many requests may have come in meanwhile.
        events = [event for batch, source in batches for event in self._events(batch, source, received_at_ms)]
        self._gate.check_room(size_of(events))
        return self._appender.append(events)

    async def accept(self, batch: Batch, source: str, received_at_ms: int) -> None:
        """As `take`, but past the gate: for what nobody would send again, an open or an opt-out."""
        await self._appender.append(self._events(batch, source, received_at_ms))

    def _events(self, batch: Batch, source: str, received_at_ms: int) -> list[tuple[str, bytes]]:
        return to_events(batch, received_at_ms, source, self.new_id)
