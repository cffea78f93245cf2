"""Lets the collector take events while its broker takes none: they wait in a file on its disk, in order."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from wakeline.clock import Clock
from wakeline.errors import StreamError, StreamFullError
from wakeline.streams.protocol import EventStream, Facts, Lag, Record, every
from wakeline.streams.spool_drain import Broker, Drainer, Gate
from wakeline.streams.spool_file import SpoolFile

# What a client is asked to wait when the spool is full; a broker that was away so long is not back in a second.
FULL_RETRY_SECONDS = 10


class SpooledStream:
    """The broker's stream, with a spool at `path` that takes events while the broker does not, up to `max_bytes`.

    With 0 for `max_bytes` only what is there from before leaves it, and the broker's errors are the caller's.

    Any error of an append counts as such an outage: credentials that are revoked must not cost events either.
    `open_broker` is called at once; when it raises StreamFullError, again and again later. Raises StreamError when
    the broker is misconfigured, or the spool cannot be used.
    """

    def __init__(
        self, name: str, open_broker: Callable[[], EventStream], path: Path, max_bytes: int, clock: Clock
    ) -> None:
        self.name = name
        self._max_bytes = max_bytes
        self._broker = Broker(open_broker, clock)
        self._spool = SpoolFile(path, clock)
        # Held to append to the spool, and while its last batch leaves: then nothing can come behind it.
        self._gate = Gate()
        self._open_at_start()
        self._drainer = Drainer(self._broker, self._spool, self._gate)

    def append(self, events: Sequence[tuple[str, bytes]]) -> None:
        """Append (key, value) pairs to the broker, or to the spool; returns once they are durable in either.

        Raises StreamFullError when the spool is full, or its disk, and other StreamErrors when there is none.
        """
        if not events or self._have_gone_behind_others(events):
            return
        try:
            self._broker.opened().append(events)
        except StreamError as error:
            if not self._max_bytes:
                raise
            self._broker.note(error)
            with self._gate:
                self._append_to_spool(events)

    @property
    def spool_events(self) -> int:
        """How many events wait in the spool."""
        return self._spool.events

    @property
    def spool_bytes(self) -> int:
        """How large they are."""
        return self._spool.bytes

    def spooled(self) -> dict[str, object]:
        """What waits in the spool and why, for people to see; empty when nothing does."""
        if not self._spool.events:
            return {}
        return {
            "spooled_events": self._spool.events,
            "spooled_bytes": self._spool.bytes,
            "stream_error": self._broker.trouble,
        }

    def partitions(self) -> list[int]:
        """As the broker's."""
        return self._broker.opened().partitions()

    def earliest(self, partition: int) -> int:
        """As the broker's."""
        return self._broker.opened().earliest(partition)

    def read(
        self, starts: Mapping[int, int], max_rows: int, max_bytes: int, max_wait_seconds: float = 0
    ) -> list[Record]:
        """As the broker's: what is spooled has no offset yet."""
        return self._broker.opened().read(starts, max_rows, max_bytes, max_wait_seconds)

    def commit(self, committed: Mapping[int, int]) -> None:
        """As the broker's."""
        self._broker.opened().commit(committed)

    def lag(self, committed: Mapping[int, int], is_meant: Callable[[int], bool] = every) -> Lag:
        """As the broker's: what is spooled does not count."""
        return self._broker.opened().lag(committed, is_meant)

    def facts(self) -> Facts:
        """As the broker's."""
        return self._broker.opened().facts()

    def verify(self, committed: Mapping[int, int], last_read_ms: int | None = None) -> None:
        """As the broker's."""
        self._broker.opened().verify(committed, last_read_ms)

    def retain(self, committed: Mapping[int, int], before_ms: int) -> int:
        """As the broker's."""
        return self._broker.opened().retain(committed, before_ms)

    def close(self) -> None:
        """Returns once the batch under way has left or failed; what still waits is appended after the next start."""
        self._drainer.stop()
        self._broker.close()
        self._spool.close()

    def _open_at_start(self) -> None:
        try:
            self._broker.open()
        except StreamFullError as error:  # The broker may be away, but not wrong.
            self._broker.note(error)
        except BaseException:
            self._spool.close()
            raise

    def _have_gone_behind_others(self, events: Sequence[tuple[str, bytes]]) -> bool:
        if not self._spool.events:
            return False
        with self._gate:
            # The last of them may have left meanwhile.
            if self._spool.events:
                self._append_to_spool(events)
                return True
        return False

    def _append_to_spool(self, events: Sequence[tuple[str, bytes]]) -> None:
        if self._spool.bytes + sum(len(value) for _, value in events) > self._max_bytes:
            raise StreamFullError(
                f"stream.spool.max_bytes are waiting while the stream takes nothing: {self._broker.trouble}",
                FULL_RETRY_SECONDS,
            )
        self._spool.append(events)
        self._drainer.wake()
