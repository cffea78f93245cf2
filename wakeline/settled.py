"""Tells whether everything that was posted has been processed to its end."""

from wakeline.activation.ledger.reading import count_open
from wakeline.clock import system_clock, to_epoch_ms
from wakeline.engines import open_database
from wakeline.pipeline.factory import lane_store
from wakeline.settings import HEARTBEAT_SOURCE, Settings
from wakeline.streams.factory import open_stream
from wakeline.warehouse.client import connect


def unsettled(settings: Settings, received: int) -> str | None:
    """What is still open of `received` events: one clause for a person, None when all is settled."""
    database = open_database(settings)
    stream = open_stream(settings, system_clock)
    try:
        lanes = lane_store(settings, database)
        lag = stream.lag(lanes.committed())
        if lag.events or lag.seconds:
            return f"{'' if lag.events is None else lag.events} events are not processed yet"
        landed, last_wakeups_ms = _landed_and_last_wakeups(settings)
        if landed < received:
            return f"{received - landed} of the events that were posted are not in landing"
        # A lane without wake-ups does not say how far it is.
        if any(due_ms > lanes.state(str(lane)).evaluated_until_ms for lane, due_ms in last_wakeups_ms.items()):
            return "wake-ups are still to come"
        waiting = count_open(database)
        return f"{waiting} sends are not settled" if waiting else None
    finally:
        stream.close()
        database.dispose()


_LANDED = "SELECT count() FROM landing WHERE stream = {stream:String} AND source != {heartbeat:String}"
_LAST_WAKEUPS = "SELECT `partition` % {lane_count:UInt16} AS lane, max(due_at) FROM wakeups GROUP BY lane"


def _landed_and_last_wakeups(settings: Settings) -> tuple[int, dict[int, int]]:
    """Rows of landing but heartbeats, and lane -> when its last wake-up is due."""
    client = connect(settings.warehouse)
    [[landed]] = client.query(_LANDED, {"stream": settings.stream.name, "heartbeat": HEARTBEAT_SOURCE}).result_rows
    last = client.query(_LAST_WAKEUPS, {"lane_count": settings.lane.count}).result_rows
    client.close()
    return int(landed), {int(lane): to_epoch_ms(due_at) for lane, due_at in last}
