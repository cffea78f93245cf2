"""An imitation of DynamoDB: `ministack`, one table for each test."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.brokers import started
from support.ministack import REGION, MinistackProcess, require_ministack
from wakeline.dynamodb import Table, open_table
from wakeline.settings import LedgerSettings


class DynamoServer:
    """The server; its credentials are those of the environment, as Wakeline takes them."""

    def __init__(self, server: MinistackProcess) -> None:
        self.server = server

    def settings(self, name: str) -> LedgerSettings:
        """Settings of a table."""
        return LedgerSettings(kind="dynamodb", table=name, region=REGION, endpoint_url=self.server.endpoint_url)

    def open_table(self, name: str) -> Table:
        """The table of this name, made when it is opened first."""
        table = open_table(self.settings(name))
        table.make_sure()
        return table


@contextmanager
def open_dynamodb(folder: Path) -> Iterator[DynamoServer]:
    """A server that runs; without it the test is skipped, or fails where brokers are required."""
    require_ministack()
    with started(MinistackProcess(folder, "dynamodb")) as server:
        yield DynamoServer(server)
