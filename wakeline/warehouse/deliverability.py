"""Asks the warehouse how the mails of each campaign fared."""

from collections.abc import Mapping

from clickhouse_connect.driver.client import Client

from wakeline.activation.watch import Counts
from wakeline.errors import WarehouseError
from wakeline.warehouse.client import FAULTS, first_line

_COUNTS = """
    SELECT campaign, count(), sum(is_bounced), sum(is_complained)
    FROM sent_mails
    WHERE sent_at > fromUnixTimestamp64Milli(
        transform(campaign, {campaigns:Array(String)}, {starts:Array(Int64)}, {start:Int64})
    )
    GROUP BY campaign
"""


def campaign_counts(client: Client, start_ms: int, later_starts: Mapping[str, int]) -> dict[str, Counts]:
    """Campaign -> its mails sent after `start_ms`, or after the campaign's own later start."""
    parameters = {"campaigns": list(later_starts), "starts": list(later_starts.values()), "start": start_ms}
    try:
        rows = client.query(_COUNTS, parameters).result_rows
    except FAULTS as error:
        raise WarehouseError(f"ClickHouse did not answer about sent mails: {first_line(error)}") from error
    return {campaign: Counts(int(sends), int(bounces), int(spam)) for campaign, sends, bounces, spam in rows}
