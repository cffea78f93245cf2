"""Reading a log file line by line, from where the last reading ended.

A file is known by its first line, not by its name or inode: rotation changes the one and reuses the other.
"""

import gzip
import hashlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

# No server's log lines are longer; beyond it is a file that is no log, and must not fill the memory.
MAX_LINE_BYTES = 262_144


@dataclass(frozen=True, slots=True)
class Position:
    """How far a file was read: `offset` in bytes (unpacked), and the lines before it."""

    fingerprint: str
    offset: int = 0
    lines: int = 0


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line without its line end; `end` is the position after it. `text` is cut at MAX_LINE_BYTES if `is_cut`."""

    path: Path
    offset: int
    number: int
    text: bytes
    end: Position
    is_cut: bool = False


@dataclass(frozen=True, slots=True)
class Segment:
    """The lines of a file from a position on; a final segment ends even without a line end."""

    path: Path
    start: Position
    is_final: bool = False

    def read(self) -> Iterator[LogLine]:
        """The complete lines there are now; none if another file has taken the name."""
        with open_log(self.path) as file:
            if _first_line_hash(file) == self.start.fingerprint:
                file.seek(self.start.offset)
                yield from self._lines(file)

    def _lines(self, file: BinaryIO) -> Iterator[LogLine]:
        position = self.start
        while raw := file.readline(MAX_LINE_BYTES + 1):
            length, is_complete = _rest(file, raw)
            if not is_complete and not self.is_final:
                return
            text = raw.rstrip(b"\r\n")
            is_cut = length > len(raw) or len(text) > MAX_LINE_BYTES
            end = Position(position.fingerprint, position.offset + length, position.lines + 1)
            yield LogLine(self.path, position.offset, end.lines, text[:MAX_LINE_BYTES], end, is_cut)
            position = end


def fingerprint(path: Path) -> str:
    """What a file is known by; empty while it is missing or has no complete line."""
    with suppress(FileNotFoundError), open_log(path) as file:
        return _first_line_hash(file)
    return ""


def size(path: Path) -> int:
    """Bytes of the file, unpacked."""
    if path.suffix != ".gz":
        return path.stat().st_size
    with open_log(path) as file:
        return file.seek(0, 2)


def open_log(path: Path) -> BinaryIO:
    """The bytes of a log file; a file ending in .gz is unpacked."""
    return cast(BinaryIO, gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb"))


def _first_line_hash(file: BinaryIO) -> str:
    line = file.readline(MAX_LINE_BYTES)
    return hashlib.sha256(line).hexdigest() if line.endswith(b"\n") or len(line) == MAX_LINE_BYTES else ""


def _rest(file: BinaryIO, start: bytes) -> tuple[int, bool]:
    """Length of the whole line, and whether it has its end."""
    length, piece = len(start), start
    while not piece.endswith(b"\n"):
        piece = file.readline(MAX_LINE_BYTES)
        if not piece:
            return length, False
        length += len(piece)
    return length, True
