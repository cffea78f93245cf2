"""One call for records of a shard, from a place on."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from botocore.exceptions import ClientError

from wakeline.clock import to_epoch_ms
from wakeline.streams.kinesis_errors import code_of

if TYPE_CHECKING:
    from mypy_boto3_kinesis.client import KinesisClient
    from mypy_boto3_kinesis.type_defs import RecordTypeDef


@dataclass(frozen=True, slots=True)
class Place:
    """Where reading a shard goes on: at or after the sequence number, or at its first record if that is empty.

    `iterator` is Kinesis's own token for the same, good for five minutes; it is renewed without.
    """

    stream: str
    shard_id: str
    number: str
    kind: Literal["AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER"] = "AFTER_SEQUENCE_NUMBER"
    iterator: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """What one call gave; `place` is where the next one goes on.

    `ended` when the shard is closed and has no more; `behind_ms` is how far the page's end is behind the shard's.
    """

    place: Place
    records: list["RecordTypeDef"]
    ended: bool
    behind_ms: int


def fetch(client: "KinesisClient", place: Place, limit: int) -> Page:
    """At most `limit` records from the place on; often none although there are more. Raises what boto3 raises."""
    if place.iterator:
        try:
            return _page(client, place, limit)
        except ClientError as error:
            if code_of(error) != "ExpiredIteratorException":
                raise
    return _page(client, replace(place, iterator=_iterator(client, place)), limit)


def arrived_at_ms(record: "RecordTypeDef") -> int:
    """When Kinesis took the record, in milliseconds since the Unix epoch, by its own clock."""
    return to_epoch_ms(record["ApproximateArrivalTimestamp"])


def _page(client: "KinesisClient", place: Place, limit: int) -> Page:
    answer = client.get_records(ShardIterator=place.iterator, Limit=limit)
    records, iterator = answer["Records"], answer.get("NextShardIterator") or ""
    if records:
        place = replace(place, number=records[-1]["SequenceNumber"], kind="AFTER_SEQUENCE_NUMBER")
    # The last records of a closed shard come with the end.
    return Page(replace(place, iterator=iterator), records, not iterator, answer.get("MillisBehindLatest", 0))


def _iterator(client: "KinesisClient", place: Place) -> str:
    question: dict[str, Any] = {"StreamName": place.stream, "ShardId": place.shard_id}
    if place.number:
        question |= {"ShardIteratorType": place.kind, "StartingSequenceNumber": place.number}
    else:
        question |= {"ShardIteratorType": "TRIM_HORIZON"}
    return client.get_shard_iterator(**question)["ShardIterator"]
