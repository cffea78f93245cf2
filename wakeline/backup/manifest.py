"""What a backup says of itself: the file that makes a folder a backup, written last."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from wakeline.clock import to_iso
from wakeline.durable import sync
from wakeline.errors import BackupError

NAME = "manifest.json"
#: Counts the layouts of a backup; a reader refuses those after its own.
FORMAT = 1

_CHUNK_BYTES = 1 << 20


class File(BaseModel):
    """One file of a backup; `path` is relative to it."""

    model_config = ConfigDict(frozen=True)

    path: str
    bytes: int
    sha256: str


class Manifest(BaseModel):
    """Which state a backup holds: `held_at_ms` is the moment that all of it is of."""

    model_config = ConfigDict(frozen=True)

    format: int
    wakeline: str
    clickhouse: str
    held_at_ms: int
    #: For how long no lane began a batch.
    held_seconds: float
    stream: str
    stream_kind: str
    ledger_kind: str
    warehouse_embedded: bool
    database: str
    #: Partition -> the first offset that is not processed.
    offsets: dict[int, int]
    #: Where the archive is that the backup does not hold; None where it does.
    archive_url: str | None
    files: list[File]

    @property
    def bytes(self) -> int:
        """The size of all files."""
        return sum(file.bytes for file in self.files)

    def facts(self) -> dict[str, Any]:
        """What an audit keeps of it."""
        return {"state_of": to_iso(self.held_at_ms), "files": len(self.files), "bytes": self.bytes}


def write_manifest(folder: Path, facts: dict[str, Any], files: list[File]) -> Manifest:
    """Make the folder a backup: everything in it is on disk before the manifest is."""
    manifest = Manifest(format=FORMAT, files=files, **facts)
    path = folder / NAME
    path.write_text(manifest.model_dump_json(indent=2), encoding="utf-8")
    sync(path)
    sync(folder)
    return manifest


def read_manifest(folder: Path) -> Manifest:
    """Raises BackupError when the folder is no backup, or one of a newer Wakeline."""
    path = folder / NAME
    try:
        text = path.read_bytes()
    except OSError:
        raise BackupError(
            f"{folder} is not a whole backup: it has no {NAME}; name the folder of another one."
        ) from None
    try:
        manifest = Manifest.model_validate_json(text)
    except ValidationError as error:
        raise BackupError(f"{path} is damaged: {error.errors()[0]['msg']}; restore another backup.") from error
    if manifest.format > FORMAT:
        raise BackupError(
            f"{folder} was made by Wakeline {manifest.wakeline}; install that or a newer one to restore it."
        )
    return manifest


def files_below(folder: Path, saw: Callable[[int], None]) -> Iterator[File]:
    """The files of a folder with their checksums, each synced to disk; `saw` is told of bytes that were read."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest, size = _digest(path, saw)
        sync(path)
        yield File(path=str(path.relative_to(folder)), bytes=size, sha256=digest)
    for path in [folder, *(path for path in folder.rglob("*") if path.is_dir())]:
        sync(path)


def check_files(folder: Path, manifest: Manifest, saw: Callable[[int], None]) -> None:
    """Raises BackupError naming the first file that is missing, was changed, or does not belong there."""
    known = {file.path: file for file in manifest.files}
    for file in manifest.files:
        path = folder / file.path
        if not path.is_file():
            raise BackupError(f"{path} is missing in the backup; restore another one.")
        if _digest(path, saw) != (file.sha256, file.bytes):
            raise BackupError(f"{path} is not what was backed up; restore another backup.")
    for path in folder.rglob("*"):
        if path.is_file() and str(path.relative_to(folder)) not in {*known, NAME}:
            raise BackupError(f"{path} does not belong to the backup; remove it, or restore another backup.")


def _digest(path: Path, saw: Callable[[int], None]) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
            saw(len(chunk))
    return digest.hexdigest(), size
