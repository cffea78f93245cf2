"""Where reading goes on: Kinesis knows sequence numbers only, and landing holds which offset has which."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from wakeline.settings import Settings

if TYPE_CHECKING:
    from wakeline.warehouse.landing import Landing


class Positions(Protocol):
    """What landing holds of the stream. `wakeline.warehouse.landing.Landing` is one."""

    def ends(self) -> Mapping[int, tuple[int, str]]:
        """Partition -> the first offset that landing does not hold, and the position of the record before it."""

    def position(self, partition: int, offset: int) -> str:
        """The position of a record; empty where landing does not hold it."""


class LandingPositions:
    """Asks landing over a connection of its own for each question: for processes that ask now and then, or never."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def ends(self) -> Mapping[int, tuple[int, str]]:
        """As `Positions.ends`. Raises WarehouseError when ClickHouse does not answer."""
        with self._landing() as landing:
            return landing.ends()

    def position(self, partition: int, offset: int) -> str:
        """As `Positions.position`. Raises WarehouseError when ClickHouse does not answer."""
        with self._landing() as landing:
            return landing.position(partition, offset)

    @contextmanager
    def _landing(self) -> Iterator["Landing"]:
        # The collector opens a stream too, and has no use for a ClickHouse client.
        from wakeline.warehouse.client import connect
        from wakeline.warehouse.landing import Landing

        client = connect(self._settings.warehouse)
        try:
            yield Landing(client, self._settings.stream.name)
        finally:
            client.close()
