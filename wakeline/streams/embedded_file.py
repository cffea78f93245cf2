"""The SQLite file of the embedded stream: made whole or not at all, and the connections to it."""

import os
import secrets
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from wakeline.durable import sync
from wakeline.errors import StreamError, StreamFullError

# Says "this is a Wakeline stream of this layout" in the file's header (https://sqlite.org/pragma.html).
APPLICATION_ID = 0x57414B31

# How long a writer waits for another process's transaction; they take milliseconds.
BUSY_SECONDS = 10

# What a client is asked to wait before it tries again; a disk is not cleared in a second, a lock is.
FULL_RETRY_SECONDS = 10
BUSY_RETRY_SECONDS = 1

_SCHEMA = """
CREATE TABLE heads (partition INTEGER PRIMARY KEY, earliest INTEGER NOT NULL, next INTEGER NOT NULL);
CREATE TABLE blocks (
    id INTEGER PRIMARY KEY,
    appended_at_ms INTEGER NOT NULL,
    keys TEXT NOT NULL,
    sizes TEXT NOT NULL,
    body BLOB NOT NULL
);
"""

# WAL alone syncs at checkpoints only; FULL syncs at every commit. Some builds of SQLite overwrite what is
# deleted with zeros, which writes every event a second time; FAST does so only where no further page is hit.
_PRAGMAS = ("PRAGMA synchronous = FULL", "PRAGMA secure_delete = FAST")

# The file header has 32 bits for it.
_IDENTITIES = 2**31 - 1

_BUGS = (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_MISUSE, sqlite3.SQLITE_CONSTRAINT)


def create_file(path: Path, partitions: int) -> None:
    """Make an empty stream at `path` unless there is a file; any number of processes may try at once.

    Raises StreamError when the folder or the file cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            _create(path, partitions)
    except (OSError, sqlite3.Error) as error:
        raise StreamError(f"The event stream {path} cannot be created: {error}.") from error


def not_a_stream(path: Path) -> StreamError:
    """What to raise for a file that is something else."""
    return StreamError(f"{path} is not an event stream; move it away or set data_dir to another folder.")


class Connections:
    """Connections to the stream's file, each lent to one thread at a time and kept for the next.

    They must not be carried over a fork: open the stream in the process that uses it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._idle: list[sqlite3.Connection] = []
        self._closed = False
        self._identity = self._file_identity()

    @contextmanager
    def take(self) -> Iterator[sqlite3.Connection]:
        """A connection for the caller alone; on any error its transaction is rolled back.

        Raises StreamError when the file cannot be used, StreamFullError when it may be later.
        """
        self._check_usable()
        try:
            connection = self._idle_or_new()
            try:
                yield connection
            except BaseException:
                _discard(connection)
                raise
            self._give_back(connection)
        except sqlite3.Error as error:
            raise _explained(self._path, error) from error

    def close(self) -> None:
        """Close what is idle now, and what is lent out when it comes back."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()

    def _idle_or_new(self) -> sqlite3.Connection:
        try:
            return self._idle.pop()
        except IndexError:
            return _connect(self._path)

    def _give_back(self, connection: sqlite3.Connection) -> None:
        self._idle.append(connection)
        if self._closed:
            self.close()

    def _check_usable(self) -> None:
        if self._closed:
            raise StreamError(f"The event stream {self._path} was closed by this process.")
        # SQLite would go on writing to a file that was deleted, and events would be lost with it.
        if self._file_identity() != self._identity:
            raise StreamError(f"The event stream {self._path} was replaced; restart the process.")

    def _file_identity(self) -> tuple[int, int]:
        try:
            status = self._path.stat()
        except OSError as error:
            reason = f"The event stream {self._path} cannot be reached: {error.strerror}."
            raise StreamError(reason) from error
        return status.st_dev, status.st_ino


def _create(path: Path, partitions: int) -> None:
    # Linked into place when complete: switching a file to WAL fails while another process opens it.
    handle, name = tempfile.mkstemp(prefix=f"{path.name}.", dir=path.parent)
    os.close(handle)
    draft = Path(name)
    try:
        _write_schema(draft, partitions)
        with suppress(FileExistsError):
            path.hardlink_to(draft)
    finally:
        draft.unlink()
    sync(path.parent)


def _write_schema(path: Path, partitions: int) -> None:
    heads = [(number,) for number in range(partitions)]
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        # Tells this file from another one that is put in its place.
        connection.execute(f"PRAGMA user_version = {secrets.randbelow(_IDENTITIES) + 1}")
        connection.executescript(f"BEGIN; {_SCHEMA}")
        connection.executemany("INSERT INTO heads VALUES (?, 0, 0)", heads)
        connection.execute("COMMIT")


def _connect(path: Path) -> sqlite3.Connection:
    # mode=rw, because a file deleted in between must be an error and not an empty database.
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        uri=True,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        for pragma in _PRAGMAS:
            connection.execute(pragma)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _discard(connection: sqlite3.Connection) -> None:
    # Closing alone is not enough: a statement that a traceback still refers to keeps the write lock alive.
    try:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    finally:
        connection.close()


def _explained(path: Path, error: sqlite3.Error) -> Exception:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code in _BUGS:
        return error
    if code == sqlite3.SQLITE_NOTADB:
        return not_a_stream(path)
    if code == sqlite3.SQLITE_FULL:
        sentence = f"The event stream {path} cannot grow because its disk is full; free some space."
        return StreamFullError(sentence, FULL_RETRY_SECONDS)
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        sentence = f"The event stream {path} was locked by another process for {BUSY_SECONDS} seconds."
        return StreamFullError(sentence, BUSY_RETRY_SECONDS)
    return StreamError(f"The event stream {path} cannot be used ({error}); check its folder and disk.")
