"""Remembers how far a log was read, and keeps the lines that could not be."""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from wakeline.errors import WakelineError
from wakeline.shipping.logfile import LogLine, Position


@dataclass(frozen=True, slots=True)
class RejectedLine:
    """A line that could not be read, and why."""

    line: LogLine
    reason: str


@dataclass(frozen=True, slots=True)
class PositionFile:
    """A small JSON file; what it says is on disk when `save` returns. Rejected lines stand in `PATH.rejected`."""

    path: Path

    @property
    def rejected_path(self) -> Path:
        return self.path.with_name(f"{self.path.name}.rejected")

    def load(self) -> Position | None:
        """The saved position, None when there is none yet. Raises WakelineError when the file is damaged."""
        if not self.path.exists():
            return None
        try:
            return Position(**orjson.loads(self.path.read_bytes()))
        except (orjson.JSONDecodeError, TypeError) as error:
            raise WakelineError(
                f"{self.path} is damaged ({error}); delete it to read the log from its start: "
                "what the collector has already is not counted twice."
            ) from error

    def save(self, position: Position, rejected: Sequence[RejectedLine]) -> None:
        """Append the rejected lines, then replace the position. Raises WakelineError when it cannot be written."""
        try:
            self._save(position, rejected)
        except OSError as error:
            raise WakelineError(
                f"The position file {self.path} cannot be written ({error.strerror}); "
                "make room, or name another by --state."
            ) from error

    def _save(self, position: Position, rejected: Sequence[RejectedLine]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if rejected:
            _write(self.rejected_path, b"".join(map(_rejected_json, rejected)), "ab")
        draft = self.path.with_name(f"{self.path.name}.new")
        _write(draft, orjson.dumps(asdict(position)), "wb")
        draft.replace(self.path)


def default_position_file(data_dir: Path, log: Path) -> PositionFile:
    """Where the position of this log is kept in a data folder."""
    name = "-".join(log.absolute().parts[1:])
    return PositionFile(data_dir / "ship-log" / f"{name}.json")


def _rejected_json(rejected: RejectedLine) -> bytes:
    line = rejected.line
    row = {
        "file": str(line.path),
        "line": line.number,
        "offset": line.offset,
        "reason": rejected.reason,
        "text": line.text.decode(errors="backslashreplace"),
    }
    return orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)


def _write(path: Path, content: bytes, mode: str) -> None:
    with path.open(mode) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
