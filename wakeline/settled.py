"""Tells whether everything that was posted has been processed to its end."""

import sqlalchemy as sa

from wakeline.clock import system_clock, to_epoch_ms
from wakeline.database import open_database, sends
from wakeline.pipeline.factory import LANE
from wakeline.pipeline.lanes import LaneStore
from wakeline.pipeline.reading import unread_count
from wakeline.settings import Settings
from wakeline.streams.factory import open_stream
from wakeline.warehouse.client import connect

_OPEN_STATES = ("claimed", "retry")


def unsettled(settings: Settings, received: int) -> str | None:
    """What is still open of `received` events: one clause for a person, None when all is settled."""
    engine = open_database(settings.ledger_path)
    stream = open_stream(settings, system_clock)
    try:
        lanes = LaneStore(engine, settings.stream.name)
        heads = stream.heads()
        if sum(head.next for head in heads) < received:
            return "the stream does not hold all that was posted"
        unread = unread_count(heads, lanes.committed())
        if unread:
            return f"{unread} events are not processed yet"
        if _last_wakeup_ms(settings) > lanes.state(LANE).evaluated_until_ms:
            return "wake-ups are still to come"
        with engine.connect().execution_options(read_only=True) as connection:
            query = sa.select(sa.func.count()).where(sends.c.state.in_(_OPEN_STATES))
            waiting = connection.execute(query).scalar_one()
        return f"{waiting} sends are not settled" if waiting else None
    finally:
        stream.close()
        engine.dispose()


def _last_wakeup_ms(settings: Settings) -> int:
    client = connect(settings.warehouse)
    [[last]] = client.query("SELECT max(due_at) FROM wakeups").result_rows
    client.close()
    return to_epoch_ms(last)
