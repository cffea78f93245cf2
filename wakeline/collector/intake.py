"""The one way into the stream: every endpoint hands its messages over here."""

from collections.abc import Callable

from wakeline.clock import Clock
from wakeline.collector.appender import Appender
from wakeline.collector.backpressure import Gate
from wakeline.collector.envelope import Batch, to_events
from wakeline.errors import StreamError


class Intake:
    """The gate in front of the stream and the append; `new_id` makes the ids of messages that come without one."""

    def __init__(self, appender: Appender, gate: Gate, clock: Clock, new_id: Callable[[], str]) -> None:
        self.clock = clock
        self.new_id = new_id
        self._appender = appender
        self._gate = gate

    def check(self) -> None:
        """Raises RefusedError (429, 503) while events come in faster than they can be taken.

        What nobody would send again, an open or an opt-out, is accepted without asking.
        """
        self._gate.check()

    def failure(self) -> StreamError | None:
        """Why events cannot be appended, as far as known."""
        return self._appender.failure()

    async def accept(self, batch: Batch, source: str, received_at_ms: int) -> None:
        """Returns once the messages are durable; raises StreamError when they are not.

        `source` is the name of the source that sent them; it stands in every event.
        """
        if batch.messages:
            await self._appender.append(to_events(batch, received_at_ms, source, self.new_id))
