"""A copy of a SQLite file as it was at one moment, while other processes go on writing to it."""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from wakeline.errors import BackupError

_PAGES = 1_000


class Pinned:
    """A SQLite file as it is now, to be copied later: in write-ahead mode a reader holds up nobody."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
        try:
            self._connection.execute("BEGIN")
            # A transaction sees the file as it is at the first read.
            self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except sqlite3.Error as error:
            self._connection.close()
            raise BackupError(f"{path} cannot be read: {error}.") from error

    def __enter__(self) -> "Pinned":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def copy(self, target: Path, show: Callable[[float], None]) -> None:
        """Write it to `target`, in write-ahead mode as well; `show` is told the share that is done.

        Raises BackupError, e.g. when the disk is full.
        """
        target.touch(mode=0o600)
        try:
            copy = sqlite3.connect(target)
            try:
                self._connection.backup(
                    copy, pages=_PAGES, progress=lambda _, left, all_: show(1 - left / max(all_, 1))
                )
            finally:
                copy.close()
        except sqlite3.Error as error:
            raise BackupError(f"{target} cannot be written: {error}.") from error
