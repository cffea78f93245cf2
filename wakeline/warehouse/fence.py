"""Keeps inserts of the past out of landing: of a run that was paused before its insert, and wakes up much later.

Until somebody raises the fence, the batch's deduplication token does that: the run that took over has done the same
batch. Tables that were exchanged in between do not know the token, so the insert must not reach them. Every lane says
with its inserts which epoch it began in, and a constraint of landing refuses those of an earlier one. Inserts that say
nothing pass. Only the server can tell the two apart, so that is where the fence stands.

It is closed to all lanes while tables are new and their views are still old: a rebuild that dies then leaves it closed,
and the fence knows which models must be rebuilt before it is open again.
"""

from collections.abc import Callable, Collection

from clickhouse_connect.driver.binding import format_str
from clickhouse_connect.driver.client import Client

from wakeline.errors import WarehouseError
from wakeline.warehouse.client import FAULTS, first_line

#: Begins the comment of an insert by a lane; the number of the epoch follows. The server's query log shows it as well.
_COMMENT = "wakeline-epoch-"
_EPOCH = f"""
    SELECT max(toUInt64OrZero(extract(create_table_query, '{_COMMENT}([0-9]+)')))
    FROM system.tables WHERE database = currentDatabase() AND name = 'landing'
"""  # noqa: S608 - a constant
_RAISE = f"""
    ALTER TABLE landing
        DROP CONSTRAINT IF EXISTS inserts_of_this_epoch,
        ADD CONSTRAINT inserts_of_this_epoch CHECK
            NOT startsWith(getSetting('log_comment'), '{_COMMENT}')
            OR getSetting('log_comment') = '{_COMMENT}{{epoch}}'
"""
_CLOSED = "no_inserts_until_views_are_rebuilt"
#: Begins the literal that keeps the names of models in the constraint.
_AWAITED = "wakeline-awaits:"
_CLOSE = f"""
    ALTER TABLE landing
        DROP CONSTRAINT IF EXISTS {_CLOSED},
        ADD CONSTRAINT {_CLOSED} CHECK
            NOT startsWith(getSetting('log_comment'), '{_COMMENT}') AND {{awaited}} != ''
"""
_OPEN = f"ALTER TABLE landing DROP CONSTRAINT IF EXISTS {_CLOSED}"
_AWAITED_MODELS = f"""
    SELECT extract(create_table_query, '{_AWAITED}([0-9A-Za-z_.,]+)')
    FROM system.tables WHERE database = currentDatabase() AND name = 'landing'
"""  # noqa: S608 - a constant
_UNDER_WAY = f"""
    SELECT count() FROM system.processes
    WHERE query_kind = 'Insert' AND current_database = currentDatabase()
      AND startsWith(Settings['log_comment'], '{_COMMENT}') AND Settings['log_comment'] != {{now:String}}
"""  # noqa: S608 - a constant
_LOOK_SECONDS = 0.05


def comment_of(epoch: int) -> str:
    """What an insert of the epoch says of itself, as the setting `log_comment`."""
    return f"{_COMMENT}{epoch}"


def current_epoch(client: Client) -> int:
    """The epoch that landing takes inserts of; 0 before the fence was raised for the first time."""
    return int(client.query(_EPOCH).result_rows[0][0])


def raise_fence(client: Client, sleep: Callable[[float], None], patience_seconds: float) -> None:
    """From now on landing refuses what lanes began before; returns when none of their inserts is under way any more.

    A lane that is at work is refused its next insert, begins in the new epoch, and does the batch again. Raises
    WarehouseError when inserts take longer than the patience.
    """
    try:
        epoch = current_epoch(client) + 1
        client.command(_RAISE.format(epoch=epoch))
        _await_inserts(client, epoch, sleep, patience_seconds)
    except FAULTS as error:
        raise WarehouseError(f"ClickHouse did not close landing to late inserts: {first_line(error)}") from error


def close_fence(client: Client, models: Collection[str]) -> None:
    """From now on landing refuses every insert of a lane until these models are rebuilt, whatever becomes of this
    process; with none of them it takes the inserts of its epoch again."""
    awaited = format_str(_AWAITED + ",".join(sorted(models)))
    statement = _CLOSE.format(awaited=awaited) if models else _OPEN
    try:
        client.command(statement)
    except FAULTS as error:
        raise WarehouseError(f"ClickHouse did not close or open landing: {first_line(error)}") from error


def awaited_models(client: Client) -> frozenset[str]:
    """The models that must be rebuilt before landing is open; none when it is.

    A rebuild is between their tables and views, or died there.
    """
    try:
        rows = client.query(_AWAITED_MODELS).result_rows
    except FAULTS as error:
        raise WarehouseError(f"ClickHouse did not answer about landing: {first_line(error)}") from error
    return frozenset(name for [names] in rows for name in names.split(",") if name)


def require_open(client: Client) -> None:
    """Raise WarehouseError when rows would come into new tables through old views."""
    awaited = awaited_models(client)
    if awaited:
        raise WarehouseError(
            "A rebuild of profiles was cut off when tables were new and their views still old, so nothing comes into"
            f" landing, and events wait in the stream: run 'wakeline rebuild --execute {' '.join(sorted(awaited))}'."
        )


def _await_inserts(client: Client, epoch: int, sleep: Callable[[float], None], patience_seconds: float) -> None:
    for _ in range(round(patience_seconds / _LOOK_SECONDS)):
        if not client.query(_UNDER_WAY, {"now": comment_of(epoch)}).result_rows[0][0]:
            return
        sleep(_LOOK_SECONDS)
    raise WarehouseError(
        f"An insert into landing that a lane began before has been under way for {patience_seconds:.0f} seconds;"
        " look at system.processes in ClickHouse, and try again when it has ended."
    )
