"""Streams of ours on an imitation of Kinesis, what landing knows of them, and refusals that no imitation makes."""

import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import md5
from typing import TYPE_CHECKING, Any

import pytest
from botocore.awsrequest import AWSResponse

from support.brokers import without_proxies
from support.kinesis import KinesisServer
from support.ministack import CREDENTIALS, REGION
from support.stack import await_that
from wakeline.clock import Clock, system_clock
from wakeline.settings import KinesisSettings
from wakeline.streams.kinesis import KinesisStream
from wakeline.streams.kinesis_client import Api, open_client
from wakeline.streams.kinesis_waiting import Waiting
from wakeline.streams.protocol import Record

if TYPE_CHECKING:
    from mypy_boto3_kinesis.client import KinesisClient

STREAM = "wakeline-events"


class Landed:
    """What landing tells of a stream: the records it was given, each at its offset."""

    def __init__(self) -> None:
        self.records: dict[int, list[Record]] = defaultdict(list)

    def add(self, records: Iterable[Record]) -> None:
        """As landing does with a batch: what it has already is no news, and nothing may be left out."""
        for record in records:
            own = self.records[record.partition]
            assert record.offset <= len(own), f"Something is missing before {record}."
            assert record.offset == len(own) or own[record.offset] == record
            if record.offset == len(own):
                own.append(record)

    def ends(self) -> Mapping[int, tuple[int, str]]:
        return {partition: (len(own), own[-1].position) for partition, own in self.records.items() if own}

    def position(self, partition: int, offset: int) -> str:
        own = self.records.get(partition, [])
        return own[offset].position if 0 <= offset < len(own) else ""

    def committed(self) -> dict[int, int]:
        """The next offset of each partition."""
        return {partition: end for partition, (end, _) in self.ends().items()}


class Passing:
    """Time that passes when somebody sleeps, and draws that are always the largest."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def waiting(self) -> Waiting:
        return Waiting(lambda: self.now, self._sleep, lambda: 1.0)

    def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += max(seconds, 0.001)


@contextmanager
def aws_environment() -> Iterator[None]:
    """What boto3 finds: credentials that are nobody's, a region, and no other place to look for any."""
    with pytest.MonkeyPatch.context() as patch:
        for name in set(os.environ) - set(without_proxies(os.environ)):
            patch.delenv(name)
        patch.setenv("AWS_ACCESS_KEY_ID", CREDENTIALS["aws_access_key_id"])
        patch.setenv("AWS_SECRET_ACCESS_KEY", CREDENTIALS["aws_secret_access_key"])
        patch.setenv("AWS_DEFAULT_REGION", REGION)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("AWS_CONFIG_FILE", os.devnull)
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
        yield


class Site:
    """One stream on a server, with any number of processes that use it and one landing table; closed at the end."""

    def __init__(self, server: KinesisServer, stream: str = STREAM, shards: int = 1, **settings: Any) -> None:
        self.server = server
        self.shards = shards
        self.settings = KinesisSettings(
            stream=stream, region=REGION, endpoint_url=server.endpoint_url, **{"read_seconds": 0.2, **settings}
        )
        self.landed = Landed()
        self._opened: list[KinesisStream] = []

    def open(
        self,
        waiting: Waiting | None = None,
        clock: Clock = system_clock,
        prepare: Callable[["KinesisClient"], object] = lambda client: None,
    ) -> KinesisStream:
        """The stream as another process opens it; `prepare` may hook into its client."""
        client = open_client(self.settings)
        prepare(client)
        api = Api(client, self.settings, self.shards, waiting or Waiting())
        stream = KinesisStream(api, "events", clock, self.landed)
        self._opened.append(stream)
        return stream

    @contextmanager
    def client(self) -> Iterator["KinesisClient"]:
        """For what operators do to a stream."""
        client = self.server.client()
        try:
            yield client
        finally:
            client.close()

    def split(self, shard: int) -> None:
        """In the middle of its range."""
        self.server.split(self.settings.stream, shard)

    def merge(self, shard: int, adjacent: int) -> None:
        """Two shards become one."""
        self.server.merge(self.settings.stream, shard, adjacent)

    def close(self) -> None:
        """Close what was opened and is still open."""
        for stream in self._opened:
            stream.close()


class Refused:
    """The first `times` calls of an operation are refused as AWS refuses them; the others go through."""

    def __init__(self, operation: str, times: int, code: str, message: str = "Rate exceeded for shard") -> None:
        self.left, self.seen = times, 0
        self._operation, self._body = operation, json.dumps({"__type": code, "message": message}).encode()

    def hook(self, client: "KinesisClient") -> None:
        """Let a client's calls come by here; its own parser and exceptions stay."""
        client.meta.events.register(f"before-send.kinesis.{self._operation}", self._answer)

    def _answer(self, request: Any, **_: Any) -> Any:
        self.seen += 1
        if self.left <= 0:
            return None
        self.left -= 1
        headers: Any = {"content-type": "application/x-amz-json-1.1"}
        return AWSResponse(request.url, 400, headers, _Raw(self._body))


class _Raw:
    """What botocore reads a body from."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self, **_: Any) -> Iterator[bytes]:
        yield self._body

    def read(self, *_: Any) -> bytes:
        return self._body


class PartlyRefused:
    """Of the first `times` calls of PutRecords every n-th record is refused, and not written; the others are."""

    def __init__(self, nth: int, times: int) -> None:
        self.left, self._nth = times, nth
        self.sizes: list[int] = []

    def hook(self, client: "KinesisClient") -> None:
        """Let a client's calls come by here."""
        client.meta.events.register("before-parameter-build.kinesis.PutRecords", self._leave_out)
        client.meta.events.register("after-call.kinesis.PutRecords", self._tell)

    def _leave_out(self, params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
        records = params["Records"]
        self.sizes.append(len(records))
        context["count"], context["refused"] = len(records), set()
        if self.left <= 0:
            return
        self.left -= 1
        context["refused"] = set(range(0, len(records), self._nth))
        # Kinesis refuses a call without records, so that one more is written where none is left.
        params["Records"] = [one for at, one in enumerate(records) if at not in context["refused"]] or records[:1]

    def _tell(self, parsed: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
        written = iter(parsed["Records"])
        refusal = {"ErrorCode": "ProvisionedThroughputExceededException", "ErrorMessage": "Rate exceeded for shard"}
        refused = context["refused"]
        parsed["Records"] = [refusal if at in refused else next(written) for at in range(context["count"])]
        parsed["FailedRecordCount"] = len(refused)


class KinesisMaker:
    """A stream of its own for a test of the contract."""

    counts = False
    expires = False

    def __init__(self, server: KinesisServer, stream: str, shards: int) -> None:
        self._site = Site(server, stream, shards)
        self.open = self._site.open
        self.close = self._site.close

    def partition_of(self, key: str) -> int:
        """By the MD5 digest of the key, as Kinesis says; shards share its range evenly."""
        digest = md5(key.encode(), usedforsecurity=False).digest()
        return int.from_bytes(digest) * self._site.shards >> 128

    def landed(self, records: Iterable[Record]) -> None:
        self._site.landed.add(records)

    def expire(self, partition: int, before: int) -> None:
        raise NotImplementedError("No imitation lets records expire.")

    def recreate(self) -> None:
        with self._site.client() as client:
            created = _created_at(client, self._site.settings.stream)

            def is_another() -> bool:
                client.delete_stream(StreamName=self._site.settings.stream)
                self._site.server.create_stream(self._site.settings.stream, self._site.shards)
                return _created_at(client, self._site.settings.stream) != created

            # ministack tells the time in whole seconds.
            await_that("the stream is a second younger", is_another, 5)


def _created_at(client: "KinesisClient", stream: str) -> object:
    summary = client.describe_stream_summary(StreamName=stream)["StreamDescriptionSummary"]
    return summary["StreamCreationTimestamp"]
