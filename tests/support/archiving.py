"""An archive of a site, in a folder or in a bucket of an imitation of S3."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config

from support.brokers import started
from support.clocks import NOW_MS
from support.ministack import CREDENTIALS, REGION, MinistackProcess, require_ministack
from support.sending import LEASE_MS
from support.warehouse import Site
from wakeline.archive.begun import BegunParts
from wakeline.archive.hours import HOUR_MS
from wakeline.archive.leases import Leases
from wakeline.archive.restoring import Restored, Restorer
from wakeline.archive.store import Store
from wakeline.archive.writing import Written, archive_hours

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

BUCKET = "wakeline-archive"
#: All hours that tests append events in.
FIRST_MS, END_MS = NOW_MS - 1_000 * HOUR_MS, NOW_MS + 1_000 * HOUR_MS


class Archive:
    """What a test does with the archive of its site; `said` is the log."""

    def __init__(self, site: Site, store: Store) -> None:
        self.store = store
        self.said: list[str] = []
        self._site = site

    def write(self) -> list[Written]:
        return list(self.writing())

    def writing(self, first_ms: int = FIRST_MS, end_ms: int = END_MS) -> Iterator[Written]:
        return archive_hours(self._site.client, self.store, self._leases("write"), first_ms, end_ms, self.said.append)

    def restore(self, first_ms: int = FIRST_MS, end_ms: int = END_MS, *, dry_run: bool = False) -> list[Restored]:
        return list(self.restorer().restore(first_ms, end_ms, dry_run))

    def restorer(self) -> Restorer:
        site = self._site
        return Restorer(
            site.client,
            self.store,
            BegunParts(site.engine),
            self._leases("restore"),
            site.book.ledger,
            site.settings.trusted_sources,
            site.settings.double_opt_in,
            site.settings.stream.name,
            self.said.append,
        )

    def _leases(self, holder: str) -> Leases:
        return Leases(self._site.book.lanes, holder, self._site.clock, LEASE_MS)


class S3Server(MinistackProcess):
    """`ministack` with S3 alone."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "s3")

    def client(self) -> "S3Client":
        """A client, which the caller closes."""
        config = Config(proxies={}, s3={"addressing_style": "path"}, retries={"total_max_attempts": 1})
        return boto3.client("s3", endpoint_url=self.endpoint_url, region_name=REGION, config=config, **CREDENTIALS)


@contextmanager
def open_s3(folder: Path) -> Iterator[S3Server]:
    """A server with an empty bucket; without it the test is skipped, or fails where brokers are required."""
    require_ministack()
    with started(S3Server(folder)) as server:
        client = server.client()
        client.create_bucket(Bucket=BUCKET)
        client.close()
        yield server
