"""Opens the archive that the settings name."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from wakeline.archive.s3 import Bucket
from wakeline.archive.store import Folder, Store
from wakeline.errors import ConfigError
from wakeline.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def open_store(settings: Settings, s3_client: Callable[[], "S3Client"]) -> Store:
    """The configured store; the client is asked for only if it is a bucket.

    Raises ConfigError for an `archive.url` that is neither a folder nor a bucket.
    """
    url = settings.archive_url
    if "://" not in url:
        return Folder(Path(url))
    parts = urlsplit(url)
    if parts.scheme != "s3" or not parts.netloc:
        raise ConfigError(f"archive.url is '{url}'; write a folder, or s3://BUCKET/PREFIX.")
    return Bucket(s3_client(), parts.netloc, parts.path)
