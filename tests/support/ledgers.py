"""The ledger on each of the databases it can be kept in: one contract for all of them."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy.engine import Engine

from support.sending import Book, DynamoBook
from wakeline.dynamodb import Table
from wakeline.engines import open_postgres, open_sqlite

#: Parameters of a fixture: what needs a server is no unit test.
SQL_BACKENDS = ("sqlite", pytest.param("postgres", marks=pytest.mark.stack))
BACKENDS = (*SQL_BACKENDS, pytest.param("dynamodb", marks=pytest.mark.stack))

_numbers = count(1)
#: Opens the one database again, as another process does.
OpenBook = Callable[[], Book]


@contextmanager
def books(kind: str, request: pytest.FixtureRequest, folder: Path) -> Iterator[OpenBook]:
    """A new database of a kind; what was opened is closed at the end."""
    opener = _opener(kind, request, folder)
    with ExitStack() as opened:
        yield lambda: opener(opened)


def _opener(kind: str, request: pytest.FixtureRequest, folder: Path) -> Callable[[ExitStack], Book]:
    if kind == "dynamodb":
        dynamodb, name = request.getfixturevalue("dynamodb"), f"ledger-{next(_numbers)}"
        return lambda opened: _dynamo_book(opened, dynamodb.open_table(name))
    if kind == "sqlite":
        return lambda opened: _sql_book(opened, open_sqlite(folder / "ledger.sqlite"))
    url = request.getfixturevalue("postgres").create_database()
    return lambda opened: _sql_book(opened, open_postgres(url))


def _dynamo_book(opened: ExitStack, table: Table) -> Book:
    opened.callback(table.dispose)
    return DynamoBook(table)


def _sql_book(opened: ExitStack, engine: Engine) -> Book:
    opened.callback(engine.dispose)
    return Book(engine)
