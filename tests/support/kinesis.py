"""Imitations of Kinesis: `ministack` is quick, `kinesis-local` keeps closed shards when they split and merge."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from support.brokers import BROKERS, started
from support.ministack import CREDENTIALS, REGION, AwsServer, MinistackProcess, require_ministack
from support.programs import require
from support.stack import await_that

KINESIS_LOCAL = BROKERS / "kinesis" / "node_modules" / "kinesis-local"
_PRELOAD = BROKERS / "kinesis" / "loopback.cjs"
_ACTIVE_SECONDS = 20


class KinesisServer(AwsServer):
    """What both of them offer."""

    def client(self, **settings: Any) -> Any:
        """A boto3 client, which the caller closes."""
        config = Config(**{"retries": {"total_max_attempts": 1}, "proxies": {}, **settings})
        return boto3.client("kinesis", endpoint_url=self.endpoint_url, region_name=REGION, config=config, **CREDENTIALS)

    def create_stream(self, stream: str, shards: int = 1) -> None:
        """Returns when it is active."""
        with closing(self.client()) as client:
            client.create_stream(StreamName=stream, ShardCount=shards)
            self.await_active(client, stream)

    def split(self, stream: str, shard: int) -> None:
        """In the middle of its range; returns when that is done."""
        with closing(self.client()) as client:
            listed = client.list_shards(StreamName=stream)["Shards"]
            [bounds] = [one["HashKeyRange"] for one in listed if one["ShardId"] == shard_id(shard)]
            middle = (int(bounds["StartingHashKey"]) + int(bounds["EndingHashKey"])) // 2
            client.split_shard(StreamName=stream, ShardToSplit=shard_id(shard), NewStartingHashKey=str(middle))
            self.await_active(client, stream)

    def merge(self, stream: str, shard: int, adjacent: int) -> None:
        """Returns when that is done."""
        with closing(self.client()) as client:
            names = {"ShardToMerge": shard_id(shard), "AdjacentShardToMerge": shard_id(adjacent)}
            client.merge_shards(StreamName=stream, **names)
            self.await_active(client, stream)

    def await_active(self, client: Any, stream: str) -> None:
        """Returns when the last change of the stream's shards is through."""

        def is_active() -> bool:
            described = client.describe_stream_summary(StreamName=stream)["StreamDescriptionSummary"]
            return bool(described["StreamStatus"] == "ACTIVE")

        await_that(f"stream {stream} is active", is_active, _ACTIVE_SECONDS)


class Ministack(MinistackProcess, KinesisServer):
    """The Python one."""


class KinesisLocal(KinesisServer):
    """The Node.js one: `stop` waits for clients to close; if `persistent`, what is a second old outlives `kill`."""

    name = "kinesis-local"
    _health = "/healthcheck"

    def __init__(self, folder: Path, *, persistent: bool = False) -> None:
        super().__init__(folder)
        self._persistent = persistent

    def _command(self) -> Sequence[str]:
        return ["node", "--require", str(_PRELOAD), "main.js"]

    def _working_folder(self) -> Path:
        return KINESIS_LOCAL  # It reads its certificate from there.

    def _environment(self) -> Mapping[str, str]:
        return {
            "KINESIS_MOCK_PLAIN_PORT": str(self._port),
            "KINESIS_MOCK_TLS_PORT": str(self._other_port),
            "AWS_REGION": REGION,
            "LOG_LEVEL": "ERROR",
            # All of it is written each time: seconds for a few megabytes.
            "SHOULD_PERSIST_DATA": str(self._persistent).lower(),
            "PERSIST_PATH": str(self.folder / "state"),
            "PERSIST_INTERVAL": "500ms",
            # AWS takes seconds for each; nothing is learnt from the default of half a second.
            **{f"{change}_DURATION": "50ms" for change in _CHANGES},
        }


_CHANGES = ("CREATE_STREAM", "DELETE_STREAM", "SPLIT_SHARD", "MERGE_SHARDS", "UPDATE_SHARD_COUNT")


def shard_id(shard: int) -> str:
    """How Kinesis names the shard of a number."""
    return f"shardId-{shard:012}"


@contextmanager
def open_ministack(folder: Path, services: str = "kinesis") -> Iterator[Ministack]:
    """A server that runs; without it the test is skipped, or fails where brokers are required."""
    require_ministack()
    with started(Ministack(folder, services)) as server:
        yield server


@contextmanager
def open_kinesis_local(folder: Path, *, persistent: bool = False) -> Iterator[KinesisLocal]:
    """A server that runs; without it the test is skipped, or fails where brokers are required."""
    require(kinesis_local_missing())
    with started(KinesisLocal(folder, persistent=persistent)) as server:
        yield server


def kinesis_local_missing() -> str | None:
    """Why there is no kinesis-local to be had, if there is none."""
    if shutil.which("node") is None:
        return "Node.js is not installed; kinesis-local needs it."
    if not KINESIS_LOCAL.is_dir():
        return "kinesis-local is not installed; run 'make brokers'."
    return None
