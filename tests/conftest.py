from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.engine import Engine

from support.clocks import Hand
from support.sending import Book
from wakeline.database import open_database


@pytest.fixture
def clock() -> Hand:
    return Hand()


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    opened = open_database(tmp_path / "ledger.sqlite")
    yield opened
    opened.dispose()


@pytest.fixture
def book(engine: Engine) -> Book:
    return Book(engine)
