from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy.engine import Engine
from support.clocks import Hand
from support.sending import Book

from wakeline.engines import open_sqlite
from wakeline.settings import Settings

if TYPE_CHECKING:  # Tests without a warehouse or a broker need not wait for their imports.
    from support.dynamodb import DynamoServer
    from support.kafka import KafkaBroker
    from support.postgres import PostgresServer
    from support.shipping import Arrivals, Served
    from support.warehouse import Site, WarehouseProcess


@pytest.fixture
def clock() -> Hand:
    return Hand()


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    opened = open_sqlite(tmp_path / "ledger.sqlite")
    yield opened
    opened.dispose()


@pytest.fixture
def book(engine: Engine) -> Book:
    return Book(engine)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings of a deployment with campaigns of its own and no server, which every command finds."""
    from support.deployed import deployed_in

    return deployed_in(tmp_path, monkeypatch)


@pytest.fixture
def own_book(settings: Settings) -> Iterator[Book]:
    """The ledger of that deployment."""
    opened = open_sqlite(settings.ledger_path)
    yield Book(opened)
    opened.dispose()


@pytest.fixture(scope="session")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator["WarehouseProcess"]:
    """The embedded warehouse of the whole session, with the dbt project deployed."""
    from support.warehouse import WarehouseProcess, no_warnings

    process = WarehouseProcess(tmp_path_factory.mktemp("warehouse"))
    try:
        process.start()
        with no_warnings():
            from wakeline.warehouse.deploy import deploy

            deploy(process.settings, lambda step: None)
        yield process
    finally:
        process.kill()


@pytest.fixture
def site(warehouse: "WarehouseProcess", tmp_path: Path, clock: Hand) -> Iterator["Site"]:
    """An empty site on the session's warehouse: nothing of an earlier test is left in it."""
    from support.warehouse import open_site

    with open_site(warehouse.settings, tmp_path / "site", clock) as opened:
        yield opened


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator["KafkaBroker"]:
    """The broker of the whole session; each test uses topics of its own."""
    from support.kafka import open_kafka

    with open_kafka(tmp_path_factory.mktemp("kafka")) as broker:
        yield broker


@pytest.fixture(scope="session")
def postgres() -> Iterator["PostgresServer"]:
    """The server of the whole session; each test has a database of its own."""
    from support.postgres import open_postgres_server

    with open_postgres_server() as server:
        yield server


@pytest.fixture(scope="session")
def dynamodb(tmp_path_factory: pytest.TempPathFactory) -> Iterator["DynamoServer"]:
    """The server of the whole session; each test has a table of its own."""
    from support.dynamodb import open_dynamodb
    from support.ministack import CREDENTIALS

    with pytest.MonkeyPatch.context() as patch, open_dynamodb(tmp_path_factory.mktemp("dynamodb")) as server:
        for name, value in CREDENTIALS.items():
            patch.setenv(name.upper(), value)
        yield server


@pytest.fixture(scope="module")
def shipped_to(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Served"]:
    """The collector that a module's tests ship to."""
    from support.shipping import served_collector

    with served_collector(tmp_path_factory.mktemp("collector")) as served:
        yield served


@pytest.fixture
def arrivals(shipped_to: "Served") -> "Arrivals":
    """What comes to that collector in this test."""
    from support.shipping import Arrivals

    return Arrivals(shipped_to)


@pytest.fixture
def shipping_workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shipped_to: "Served") -> None:
    """An empty working folder, with the collector's address and write key in the environment."""
    from support.shipping import WRITE_KEY

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WAKELINE_COLLECTOR__WRITE_KEY", WRITE_KEY)
    monkeypatch.setenv("WAKELINE_URL", shipped_to.url)
