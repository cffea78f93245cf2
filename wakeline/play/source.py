"""A file of events, plain or gzip, read once from start to end, that knows how far reading has got."""

import csv
import gzip
import io
import math
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self, cast

from wakeline.errors import WakelineError

_GZIP_MAGIC = b"\x1f\x8b"


class SourceFile:
    """An open file of events. Raises WakelineError if it cannot be opened."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = _opened(path)
        self.size_bytes = path.stat().st_size
        self._text: io.TextIOWrapper | None = None
        self._position: Callable[[], int] = self._file.tell

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def position_bytes(self) -> int:
        """How far reading has got, of `size_bytes`."""
        return self._position()

    def count_from(self, position: Callable[[], int]) -> None:
        """Ask somebody else for the position: who sorts has read everything before giving the first row."""
        self._position = position

    def lines(self) -> Iterator[str]:
        """The lines with their ends. Raises WakelineError if the file is cut off or is not UTF-8 text."""
        # Kept, because a forgotten wrapper closes the file, and the position is asked for until the end.
        self._text = io.TextIOWrapper(self._unpacked(), encoding="utf-8-sig", newline="")
        try:
            yield from self._text
        except UnicodeDecodeError as error:
            raise WakelineError(f"{self.path} is not UTF-8 text ({error.reason}); convert it first.") from error
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise WakelineError(f"{self.path} is a damaged gzip file: {error}. Get it again.") from error

    def bad_line(self, number: int, reason: object) -> WakelineError:
        """What to raise for a line, counted from 1, that cannot be understood."""
        return WakelineError(f"{self.path}, line {number}: {reason}. Correct or remove this line.")

    def _unpacked(self) -> BinaryIO:
        is_packed = self._file.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
        self._file.seek(0)
        return cast(BinaryIO, gzip.GzipFile(fileobj=self._file)) if is_packed else self._file


def csv_rows(source: SourceFile, columns: tuple[str, ...]) -> Iterator[tuple[int, list[str]]]:
    """Line number and fields of every row below the header.

    Raises WakelineError if the header is not `columns` or a row has another number of fields.
    """
    reader = csv.reader(source.lines(), strict=True)
    try:
        _check_header(source, next(reader, []), columns)
        for fields in reader:
            if len(fields) != len(columns):
                raise source.bad_line(reader.line_num, f"{len(fields)} fields instead of {len(columns)}")
            yield reader.line_num, fields
    except csv.Error as error:
        raise source.bad_line(reader.line_num, error) from error


def number(text: str) -> float:
    """The number that a field holds. Raises ValueError for anything else, NaN and infinity included."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is not a number")
    return value


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise WakelineError(f"The file {path} cannot be read: {error.strerror}.") from error


def _check_header(source: SourceFile, header: list[str], columns: tuple[str, ...]) -> None:
    if tuple(header) != columns:
        wanted, got = ",".join(columns), ",".join(header)[:200]
        raise WakelineError(f"{source.path} is not in this format: its first line must be '{wanted}' but is '{got}'.")
