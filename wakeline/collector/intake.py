"""The one way into the stream: every endpoint hands its messages over here."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager

from wakeline.clock import Clock
from wakeline.collector.appender import Appender, size_of
from wakeline.collector.backpressure import Gate
from wakeline.collector.envelope import Batch, to_events
from wakeline.collector.refused import RefusedError
from wakeline.errors import StreamError
from wakeline.metrics.collector import APPENDED, FAILED, REFUSED, CollectorMetrics

#: A batch, and the name of the source that sent it; it stands in every event.
Sourced = tuple[Batch, str]


class Intake:
    """The gate in front of the stream and the append; `new_id` makes the ids of messages that come without one."""

    def __init__(
        self, appender: Appender, gate: Gate, clock: Clock, new_id: Callable[[], str], metrics: CollectorMetrics
    ) -> None:
        self.clock = clock
        self.new_id = new_id
        self._appender = appender
        self._gate = gate
        self._metrics = metrics

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
        counted = Counted(self._metrics)
        try:
            self._gate.check()  # Again, because slow bodies of many requests may have come in meanwhile.
            events = [event for one in batches for event in self._events(*one, received_at_ms, counted)]
            self._gate.check_room(size_of(events))
        except RefusedError:
            counted.refused(batches)
            raise
        return self._append(events, counted)

    async def accept(self, batch: Batch, source: str, received_at_ms: int) -> None:
        """As `take`, but past the gate: for what nobody would send again, an open or an opt-out."""
        counted = Counted(self._metrics)
        await self._append(self._events(batch, source, received_at_ms, counted), counted)

    def _append(self, events: list[tuple[str, bytes]], counted: "Counted") -> Awaitable[None]:
        appended = self._appender.append(events)
        return counted.once(appended)

    def _events(self, batch: Batch, source: str, received_at_ms: int, counted: "Counted") -> list[tuple[str, bytes]]:
        events = to_events(batch, received_at_ms, source, self.new_id)
        counted.add(source, events)
        return events


class Counted:
    """The events of one request by their source, told to the metrics when it is known what becomes of them."""

    def __init__(self, metrics: CollectorMetrics) -> None:
        self._metrics = metrics
        self._sizes: dict[str, tuple[int, int]] = {}

    def add(self, source: str, events: Sequence[tuple[str, bytes]]) -> None:
        """Events that are about to be appended."""
        count, size = self._sizes.get(source, (0, 0))
        self._sizes[source] = count + len(events), size + sum(len(value) for _, value in events)

    async def once(self, appended: Awaitable[None]) -> None:
        """Done when the append is."""
        outcome = FAILED
        try:
            await appended
            outcome = APPENDED
        finally:
            for source, (count, size) in self._sizes.items():
                self._metrics.events(source, outcome, count, size)

    def refused(self, batches: Sequence[Sourced]) -> None:
        """Nothing of these will be appended."""
        for batch, source in batches:
            self._metrics.events(source, REFUSED, len(batch.messages), 0)
