"""The ledger on each of the databases it can be kept in: one contract for all of them."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from sqlalchemy.engine import Engine

from support.sending import Book
from wakeline.engines import open_postgres, open_sqlite

#: Parameters of a fixture: what needs a server is no unit test.
BACKENDS = ("sqlite", pytest.param("postgres", marks=pytest.mark.stack))

#: Opens the one database again, as another process does.
OpenBook = Callable[[], Book]


@contextmanager
def books(kind: str, request: pytest.FixtureRequest, folder: Path) -> Iterator[OpenBook]:
    """A new database of a kind; what was opened is closed at the end."""
    opener = _opener(kind, request, folder)
    with ExitStack() as opened:

        def open_book() -> Book:
            engine = opener()
            opened.callback(engine.dispose)
            return Book(engine)

        yield open_book


def _opener(kind: str, request: pytest.FixtureRequest, folder: Path) -> Callable[[], Engine]:
    if kind == "sqlite":
        return lambda: open_sqlite(folder / "ledger.sqlite")
    url = request.getfixturevalue("postgres").create_database()
    return lambda: open_postgres(url)
