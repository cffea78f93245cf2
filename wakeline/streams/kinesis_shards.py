"""The shards of a stream; the number in a shard's id is our partition."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wakeline.errors import StreamError
from wakeline.streams.kinesis_client import Api

if TYPE_CHECKING:
    from mypy_boto3_kinesis.client import KinesisClient
    from mypy_boto3_kinesis.type_defs import ShardTypeDef

# Shards change when an operator or AWS has them change, and readers only need it when one has ended.
_LIST_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Shard:
    """One shard; `closed` when it gets no more events, and `parents` are the partitions that it took over from."""

    partition: int
    id: str
    parents: tuple[int, ...]
    closed: bool


class Shards:
    """What ListShards shows, asked for again every few seconds and when told to."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._listed: dict[int, Shard] = {}
        self._until = float("-inf")

    def listed(self) -> dict[int, Shard]:
        """Partition -> shard, in order, closed ones too as long as Kinesis keeps them. Raises StreamError."""
        if self._api.waiting.monotonic() >= self._until:
            self._listed = self._api.ask(self._all)
            self._until = self._api.waiting.monotonic() + _LIST_SECONDS
        return self._listed

    def forget(self) -> None:
        """Ask again at the next look: one has ended, so its children are there."""
        self._until = float("-inf")

    def known(self, partition: int) -> Shard:
        """The shard of a partition. Raises StreamError when there is none."""
        if partition not in self.listed():
            self.forget()
        if partition not in self.listed():
            raise StreamError(f"The Kinesis stream '{self._api.settings.stream}' has no partition {partition}.")
        return self._listed[partition]

    def _all(self, client: "KinesisClient") -> dict[int, Shard]:
        question: dict[str, Any] = {"StreamName": self._api.settings.stream}
        found: list[Shard] = []
        while question:
            answer = client.list_shards(**question)
            found += map(_shard, answer["Shards"])
            question = {"NextToken": answer["NextToken"]} if answer.get("NextToken") else {}
        return {shard.partition: shard for shard in sorted(found, key=lambda shard: shard.partition)}


def _shard(told: "ShardTypeDef") -> Shard:
    parents = (told.get("ParentShardId"), told.get("AdjacentParentShardId"))
    # The ending number itself is a placeholder in some imitations; that there is one says it all.
    closed = bool(told["SequenceNumberRange"].get("EndingSequenceNumber"))
    return Shard(_partition(told["ShardId"]), told["ShardId"], tuple(map(_partition, filter(None, parents))), closed)


def _partition(shard_id: str) -> int:
    return int(shard_id.removeprefix("shardId-"))
