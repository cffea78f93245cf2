"""Connections to ClickHouse: one place for settings, errors and the retry rule."""

import logging
from typing import Any

import clickhouse_connect
import urllib3
from clickhouse_connect import common
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, OperationalError

from wakeline.errors import WarehouseError
from wakeline.settings import WarehouseSettings

#: What a request raises when ClickHouse refuses it, is not there, or goes away in the middle.
FAULTS = (ClickHouseError, urllib3.exceptions.HTTPError, OSError)

# On every request, whatever the server's defaults of the day: an insert is answered when it is written, tokens
# count in the whole view chain, and a batch is one block, over however many months its events happened: one that
# were refused would be tried again for ever.
SESSION_SETTINGS: dict[str, Any] = {
    "async_insert": 0,
    "insert_deduplicate": 1,
    "deduplicate_blocks_in_dependent_materialized_views": 1,
    "min_insert_block_size_rows": 1_048_576,
    "max_insert_block_size": 1_048_576,
    "max_partitions_per_insert_block": 0,
    "date_time_input_format": "best_effort",
}


def connect(settings: WarehouseSettings, database: str | None = None, patience_seconds: int = 300) -> Client:
    """A client for one thread, which waits so long for each answer.

    Raises WarehouseError naming host and setting when there is none.
    """
    common.set_setting("product_name", "wakeline")
    # The driver logs a stack trace before it raises; what it raises is turned into a sentence below.
    logging.getLogger("clickhouse_connect").setLevel(logging.CRITICAL)
    try:
        return clickhouse_connect.get_client(
            host=settings.host,
            port=settings.port,
            secure=settings.secure,
            username=settings.user,
            password=settings.password,
            database=database or settings.database,
            settings=SESSION_SETTINGS,
            autogenerate_session_id=False,
            query_retries=0,
            send_receive_timeout=patience_seconds,
        )
    except (OperationalError, urllib3.exceptions.HTTPError) as error:
        raise WarehouseError(
            f"ClickHouse does not answer at {settings.host}:{settings.port}; start it ('wakeline warehouse') or"
            " correct warehouse.host and warehouse.port."
        ) from error
    except ClickHouseError as error:
        raise WarehouseError(_refusal(settings, database, error)) from error


def _refusal(settings: WarehouseSettings, database: str | None, error: ClickHouseError) -> str:
    text = str(error)
    if "UNKNOWN_DATABASE" in text:
        return f"ClickHouse has no database '{database or settings.database}'; run 'wakeline deploy' first."
    if "AUTHENTICATION_FAILED" in text:
        return f"ClickHouse refuses user '{settings.user}'; correct warehouse.user and warehouse.password."
    return f"ClickHouse at {settings.host}:{settings.port} refuses the connection: {first_line(error)}"


def first_line(error: Exception) -> str:
    """What ClickHouse said, without the lines that only repeat it."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__
