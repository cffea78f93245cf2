"""The archive in an S3 bucket; the client is handed in, as whoever makes it knows credentials and region."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from boto3.exceptions import Boto3Error
from botocore.exceptions import BotoCoreError, ClientError

from wakeline.errors import ArchiveError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_MISSING = ("NoSuchKey", "404")


class Bucket:
    """A `Store` under a prefix of a bucket. A put is atomic, and so is the end of an upload in parts."""

    def __init__(self, client: "S3Client", bucket: str, prefix: str) -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""

    def __str__(self) -> str:
        return f"s3://{self._bucket}/{self._prefix}"

    def names(self, prefix: str) -> list[str]:
        """The names that begin with a prefix, in order."""
        pages = self._client.get_paginator("list_objects_v2")
        with self._explained(prefix):
            found = [
                one["Key"].removeprefix(self._prefix)
                for page in pages.paginate(Bucket=self._bucket, Prefix=self._prefix + prefix)
                for one in page.get("Contents", ())
            ]
        return sorted(found)

    def read(self, name: str) -> bytes | None:
        """A small object; None when there is none."""
        with self._explained(name):
            try:
                return self._client.get_object(Bucket=self._bucket, Key=self._prefix + name)["Body"].read()
            except ClientError as error:
                if _is_missing(error):
                    return None
                raise

    def write(self, name: str, content: bytes) -> None:
        """A small object, in place of what was there."""
        with self._explained(name):
            self._client.put_object(Bucket=self._bucket, Key=self._prefix + name, Body=content)

    def upload(self, name: str, path: Path) -> None:
        """An object of any size, in place of what was there."""
        with self._explained(name):
            self._client.upload_file(str(path), self._bucket, self._prefix + name)

    def download(self, name: str, path: Path) -> bool:
        """Put an object at `path`; False when there is none."""
        with self._explained(name):
            try:
                self._client.download_file(self._bucket, self._prefix + name, str(path))
            except ClientError as error:
                if _is_missing(error):
                    return False
                raise
        return True

    @contextmanager
    def _explained(self, name: str) -> Iterator[None]:
        try:
            yield
        except (BotoCoreError, ClientError, Boto3Error, OSError) as error:
            raise ArchiveError(
                f"{self}{name} of the archive cannot be used; correct archive.url, region or endpoint_url, or look at"
                f" the credentials and the network ({error})."
            ) from error


def _is_missing(error: ClientError) -> bool:
    return error.response.get("Error", {}).get("Code") in _MISSING
