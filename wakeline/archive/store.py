"""Where the archive's files are: a folder here, a bucket in `s3.py`. A file is there whole or not at all."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Protocol

from wakeline.errors import ArchiveError


class Store(Protocol):
    """Files by name; a name's parts are divided by slashes. All methods raise ArchiveError."""

    def __str__(self) -> str:
        """Where it is, as people know it."""

    def names(self, prefix: str) -> list[str]:
        """The names that begin with a prefix, in order."""

    def read(self, name: str) -> bytes | None:
        """A small file; None when there is none."""

    def write(self, name: str, content: bytes) -> None:
        """A small file, in place of what was there."""

    def upload(self, name: str, path: Path) -> None:
        """A file of any size, in place of what was there."""

    def download(self, name: str, path: Path) -> bool:
        """Put a file at `path`; False when there is none."""


class Folder:
    """A `Store` in a local folder, made at first use."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def __str__(self) -> str:
        return str(self._root)

    def names(self, prefix: str) -> list[str]:
        """The names that begin with a prefix, in order."""
        paths = (path.relative_to(self._root).as_posix() for path in self._root.rglob("*") if path.is_file())
        return sorted(name for name in paths if name.startswith(prefix))

    def read(self, name: str) -> bytes | None:
        """A small file; None when there is none."""
        try:
            return (self._root / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._failed(name, error) from error

    def write(self, name: str, content: bytes) -> None:
        """A small file, in place of what was there."""
        with tempfile.TemporaryDirectory() as folder:
            draft = Path(folder, "draft")
            draft.write_bytes(content)
            self.upload(name, draft)

    def upload(self, name: str, path: Path) -> None:
        """A file of any size, in place of what was there; synced to disk."""
        target = self._root / name
        draft = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with path.open("rb") as source, draft.open("wb") as copy:
                shutil.copyfileobj(source, copy)
                copy.flush()
                os.fsync(copy.fileno())
            draft.replace(target)
        except OSError as error:
            draft.unlink(missing_ok=True)
            raise self._failed(name, error) from error

    def download(self, name: str, path: Path) -> bool:
        """Put a file at `path`; False when there is none."""
        try:
            shutil.copyfile(self._root / name, path)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise self._failed(name, error) from error
        return True

    def _failed(self, name: str, error: OSError) -> ArchiveError:
        return ArchiveError(f"{self._root / name} of the archive cannot be used: {error.strerror}.")
