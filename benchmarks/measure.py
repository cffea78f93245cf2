"""What stream, lane and ledger say about a step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from summary import summary
from traffic import scheduled_at_ms

from wakeline.clock import system_clock
from wakeline.database import sends
from wakeline.engines import open_database
from wakeline.pipeline.factory import lane_store
from wakeline.settings import Settings
from wakeline.streams.factory import open_stream
from wakeline.warehouse.client import connect
from wakeline.warehouse.landing import Landing

CAMPAIGN = "order_confirmation"
DUE = "due_at_ms"
#: Each stage ends where its column says and begins where the one before ended. The collector's clock starts when it
#: has read the headers; `posted` is what came before: waiting for the generator, the socket and the event loop.
STAGES = (
    ("posted", DUE, "received_at_ms"),
    ("collected", "received_at_ms", "appended_at_ms"),
    ("streamed", "appended_at_ms", "read_at_ms"),
    ("ingested", "read_at_ms", "ingested_at_ms"),
    ("evaluated", "ingested_at_ms", "evaluated_at_ms"),
    ("claimed", "evaluated_at_ms", "claimed_at_ms"),
    ("esp_accepted", "claimed_at_ms", "esp_accepted_at_ms"),
    ("total", "received_at_ms", "esp_accepted_at_ms"),
    ("total_from_due", DUE, "esp_accepted_at_ms"),
)
_ORDER = "order/"
_COLUMNS = sorted({name for _, *pair in STAGES for name in pair} - {DUE})
_OPEN = ("claimed", "retry")


@dataclass(frozen=True, slots=True)
class Backlog:
    """Events not processed yet, and the age of the oldest."""

    events: int
    lag_seconds: float


class Gauge:
    """Looks at a running deployment from outside; close it at the end."""

    def __init__(self, settings: Settings) -> None:
        self._engine = open_database(settings)
        self._stream = open_stream(settings, system_clock)
        self._lanes = lane_store(settings, self._engine)
        self._warehouse = connect(settings.warehouse)
        self._landing = Landing(self._warehouse, settings.stream.name)

    def backlog(self) -> Backlog:
        """How far processing is behind the stream."""
        lag = self._stream.lag(self._lanes.committed())
        return Backlog(lag.events or 0, lag.seconds)

    def is_drained(self, accepted: int) -> bool:
        """Whether every event is processed, `accepted` ones at least, and every send is settled."""
        backlog = self.backlog()
        # Kinesis does not count events and is asked once a second; offsets count from 0 in a fresh stream.
        if backlog.events or backlog.lag_seconds or sum(self._landing.committed().values()) < accepted:
            return False
        query = sa.select(sends.c.state).where(sends.c.state.in_(_OPEN)).limit(1)
        return not self._read(query)

    def sends(self, step: str) -> list[dict[str, Any]]:
        """The ledger's rows of a step's orders, with the time each order was due to be posted."""
        columns = [sends.c[name] for name in ("state", "reason", "occurrence_key", *_COLUMNS)]
        query = sa.select(*columns).where(
            sends.c.campaign == CAMPAIGN, sends.c.occurrence_key.startswith(f"{_ORDER}{step}-", autoescape=True)
        )
        return [{**row, DUE: scheduled_at_ms(row["occurrence_key"])} for row in self._read(query)]

    def states(self) -> dict[str, int]:
        """State of a send -> how many, all campaigns together."""
        query = sa.select(sends.c.state, sa.func.count().label("sends")).group_by(sends.c.state)
        return {row["state"]: row["sends"] for row in self._read(query)}

    def orders_decided(self, benchmark: str) -> tuple[int, int]:
        """How many decisions there are on the benchmark's orders, and on how many different ones."""
        key = sends.c.occurrence_key
        query = sa.select(sa.func.count().label("decisions"), sa.func.count(key.distinct()).label("orders")).where(
            sends.c.campaign == CAMPAIGN, key.startswith(f"{_ORDER}{benchmark}", autoescape=True)
        )
        [row] = self._read(query)
        return row["decisions"], row["orders"]

    def close(self) -> None:
        self._stream.close()
        self._warehouse.close()
        self._engine.dispose()

    def _read(self, query: sa.Executable) -> Sequence[Mapping[str, Any]]:
        with self._engine.connect().execution_options(read_only=True) as connection:
            return [dict(row) for row in connection.execute(query).mappings()]


def latencies(rows: Sequence[Mapping[str, Any]], from_ms: float) -> dict[str, dict[str, float]]:
    """Stage -> percentiles in milliseconds, of the mails sent about orders that were due from `from_ms` on."""
    sent = [row for row in rows if row["state"] == "sent" and row[DUE] >= from_ms]
    return {stage: summary([row[end] - row[begin] for row in sent]) for stage, begin, end in STAGES}
