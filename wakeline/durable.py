"""What has to survive a power cut."""

import os
from pathlib import Path


def sync(path: Path) -> None:
    """Bring a file to the disk; of a folder the names in it."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
