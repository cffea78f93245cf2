"""What the archive's files are called, and what is known about each: one hour of one stream.

`stream=NAME/date=YYYY-MM-DD/hour=HH/events.parquet`, and beside it `events.json`, its manifest.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from urllib.parse import quote, unquote

import orjson

from wakeline.archive.store import Store
from wakeline.clock import to_datetime, to_epoch_ms
from wakeline.errors import ArchiveError

HOUR_MS = 3_600_000

_FILE = re.compile(r"stream=([^/]+)/date=(\d{4}-\d{2}-\d{2})/hour=(\d{2})/events\.parquet")

#: Of each partition: how many rows, the first and the last offset.
Partitions = Mapping[str, tuple[int, int, int]]


@dataclass(frozen=True, slots=True, order=True)
class Hour:
    """An hour (UTC) of a stream, by the time that events were appended to it."""

    start_ms: int
    stream: str

    @property
    def folder(self) -> str:
        """The folder of its files."""
        start = to_datetime(self.start_ms)
        return f"stream={quote(self.stream, safe='')}/date={start:%Y-%m-%d}/hour={start:%H}"

    @property
    def file(self) -> str:
        """Its rows."""
        return f"{self.folder}/events.parquet"

    @property
    def manifest(self) -> str:
        """What is known about them."""
        return f"{self.folder}/events.json"

    def __str__(self) -> str:
        return f"{to_datetime(self.start_ms):%Y-%m-%d %H:00} of '{self.stream}'"


@dataclass(frozen=True, slots=True)
class Version:
    """A file as it was written: its rows and, to know damage by, its size and digest."""

    partitions: Partitions
    size: int
    sha256: str

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return sum(count for count, _, _ in self.partitions.values())


def hour_of(file: str) -> Hour | None:
    """The hour of an archive's file; None for another name."""
    found = _FILE.fullmatch(file)
    if found is None:
        return None
    stream, date, hour = found.groups()
    start = datetime.fromisoformat(f"{date}T{hour}:00:00").replace(tzinfo=UTC)
    return Hour(to_epoch_ms(start), unquote(stream))


def read_versions(store: Store, hour: Hour) -> list[Version]:
    """What the manifest says: the one version, or two when the writing of the newer one was cut off.

    Raises ArchiveError when it is damaged.
    """
    content = store.read(hour.manifest)
    if content is None:
        return []
    try:
        return [
            Version(
                {name: (n, low, high) for name, (n, low, high) in one["partitions"].items()}, one["size"], one["sha256"]
            )
            for one in orjson.loads(content)
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArchiveError(f"{store}/{hour.manifest} is damaged; delete it and archive the hour again.") from error


def write_versions(store: Store, hour: Hour, versions: Sequence[Version]) -> None:
    """Write the manifest."""
    content = [{"rows": version.rows, **asdict(version)} for version in versions]
    store.write(hour.manifest, orjson.dumps(content, option=orjson.OPT_INDENT_2) + b"\n")


def hour_start(text: str) -> int:
    """The start of the hour that a person means: `2026-11-25T14`, `2026-11-25 14:00`. Raises ArchiveError.

    Without a zone it is UTC.
    """
    try:
        start_ms = to_epoch_ms(datetime.fromisoformat(text))
    except ValueError as error:
        raise ArchiveError(f"'{text}' is no hour; write it as 2026-11-25T14:00.") from error
    return start_ms - start_ms % HOUR_MS
