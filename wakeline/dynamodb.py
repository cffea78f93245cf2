"""One table of DynamoDB: items with keys `pk` and `sk`, read as they are now, written on conditions."""

import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any

import boto3
from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from botocore.config import Config

from wakeline.errors import LedgerError
from wakeline.settings import LedgerSettings
from wakeline.streams.kinesis_errors import FAULTS, code_of

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.client import DynamoDBClient

#: (pk, sk).
Key = tuple[str, str]
#: Attribute -> text, whole number, truth value or bytes; what is None is left out.
Item = Mapping[str, Any]
#: Attribute -> the value it must have; None: the item has no such attribute.
Condition = Mapping[str, Any]

#: Actions in one transaction.
MOST_ACTIONS = 100
#: Requests that are made at the same time.
THREADS = 8

_GET_LIMIT = 100
_CONNECT_SECONDS, _READ_SECONDS = 3, 5
_ATTEMPTS = 4
_FIRST_PAUSE_SECONDS, _LAST_PAUSE_SECONDS = 0.005, 0.2
_PATIENCE = 30
_CONDITION_FAILED, _CONFLICT = "ConditionalCheckFailed", "TransactionConflict"
_PASSING = {_CONFLICT, "ThrottlingError", "ProvisionedThroughputExceeded"}
_DENIED = {"AccessDeniedException", "UnrecognizedClientException", "InvalidSignatureException", "ExpiredTokenException"}

_serializer, _deserializer = TypeSerializer(), TypeDeserializer()


class ChangedError(Exception):
    """Conditions did not hold, nothing was written; `failed` are the places of these actions."""

    def __init__(self, failed: frozenset[int]) -> None:
        super().__init__("Another process was faster.")
        self.failed = failed


@dataclass(frozen=True, slots=True)
class Action:
    """A write, or a mere look, that is done only if its condition holds."""

    kind: str
    key: Key
    condition: Condition = field(default_factory=dict)
    #: The whole item of a put; what an update sets, None to take an attribute away.
    values: Item = field(default_factory=dict)
    #: What an update adds to numbers.
    added: Mapping[str, int] = field(default_factory=dict)


def put(key: Key, item: Item, condition: Condition | None = None) -> Action:
    """The item instead of whatever is there."""
    return Action("Put", key, condition or {}, item)


def update(
    key: Key, values: Item, condition: Condition | None = None, added: Mapping[str, int] | None = None
) -> Action:
    """Some attributes of an item, which is made if it is missing."""
    return Action("Update", key, condition or {}, values, added or {})


def delete(key: Key, condition: Condition | None = None) -> Action:
    """No item any more."""
    return Action("Delete", key, condition or {})


def check(key: Key, condition: Condition) -> Action:
    """Nothing, but only if the condition holds."""
    return Action("ConditionCheck", key, condition)


class Table:
    """The table, from any thread. Every call raises LedgerError when AWS does not do what is asked."""

    def __init__(self, client: "DynamoDBClient", name: str, sleep: Callable[[float], None] = time.sleep) -> None:
        self._client = client
        self._name = name
        self._sleep = sleep
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="dynamodb")

    def dispose(self) -> None:
        """Close the connections; later calls fail."""
        self._pool.shutdown()
        self._client.close()

    def make_sure(self) -> None:
        """Make the table where it is missing; returns when it can be used."""
        try:
            self._client.describe_table(TableName=self._name)
            return
        except FAULTS as error:
            if code_of(error) != "ResourceNotFoundException":
                raise self._explained(error) from error
        try:
            self._client.create_table(TableName=self._name, **_LAYOUT)
        except FAULTS as error:
            if code_of(error) != "ResourceInUseException":  # Another process was a moment earlier.
                raise self._explained(error) from error
        self._client.get_waiter("table_exists").wait(TableName=self._name, WaiterConfig={"Delay": 1, "MaxAttempts": 60})

    def get(self, keys: Iterable[Key]) -> dict[Key, dict[str, Any]]:
        """The items that there are, as they are now."""
        wanted = sorted(set(keys))
        chunks = [wanted[start : start + _GET_LIMIT] for start in range(0, len(wanted), _GET_LIMIT)]
        return {(item["pk"], item["sk"]): item for items in self.each(self._get, chunks) for item in items}

    def each(self, call: Callable[[Any], Any], arguments: Sequence[Any]) -> list[Any]:
        """What the call returns for each of them, several at a time."""
        return [call(one) for one in arguments] if len(arguments) < 2 else list(self._pool.map(call, arguments))

    def query(self, pk: str, prefix: str = "") -> list[dict[str, Any]]:
        """The items of a partition key, as they are now, in the order of their sort keys."""
        condition = "pk = :pk AND begins_with(sk, :prefix)" if prefix else "pk = :pk"
        values = {":pk": pk, **({":prefix": prefix} if prefix else {})}
        return list(self._pages(condition, values, ConsistentRead=True))

    def recent(self, pk: str, since_ms: int) -> list[dict[str, Any]]:
        """Of the partition key's items those that count in a window which began at `since_ms`, as they are now."""
        values = {":pk": pk, ":since": since_ms}
        return list(self._pages("pk = :pk AND counted_at_ms > :since", values, ConsistentRead=True, IndexName=RECENT))

    def open(self, kind: str, until: str = "") -> Iterator[dict[str, Any]]:
        """The open sends of a kind in their order, up to a place in it; as they were a moment ago."""
        condition = "open_kind = :kind AND open_order <= :until" if until else "open_kind = :kind"
        values = {":kind": kind, **({":until": until} if until else {})}
        return self._pages(condition, values, IndexName=OPEN)

    def scan(self) -> Iterator[dict[str, Any]]:
        """Every item, as they are now."""
        arguments: dict[str, Any] = {"TableName": self._name, "ConsistentRead": True}
        return self._paginated(self._client.scan, arguments)

    def write(self, actions: Sequence[Action]) -> None:
        """All of them or none. Raises ChangedError when a condition does not hold."""
        for failures in count():
            try:
                self._write(actions)
                return
            except FAULTS as error:
                reasons = _reasons(error)
                if _CONDITION_FAILED in reasons:
                    failed = frozenset(place for place, code in enumerate(reasons) if code == _CONDITION_FAILED)
                    raise ChangedError(failed) from error
                if failures >= _PATIENCE or not _PASSING & set(reasons):
                    raise self._explained(error) from error
            self.pause(failures)

    def pause(self, failures: int) -> None:
        """Before the next attempt: longer each time, and never as long as the others."""
        longest = min(_LAST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2**failures)
        self._sleep(random.uniform(0, longest))  # noqa: S311 - no secret

    def _write(self, actions: Sequence[Action]) -> None:
        requests = [self._request(action) for action in actions]
        if len(requests) > 1 or actions[0].kind == "ConditionCheck":
            items = [{action.kind: request} for action, request in zip(actions, requests, strict=True)]
            self._client.transact_write_items(TransactItems=items)  # type: ignore[arg-type]
        elif actions[0].kind == "Put":
            self._client.put_item(**requests[0])
        elif actions[0].kind == "Update":
            self._client.update_item(**requests[0])
        else:
            self._client.delete_item(**requests[0])

    def _request(self, action: Action) -> dict[str, Any]:
        names: dict[str, str] = {}
        values: dict[str, Any] = {}

        def name(attribute: str) -> str:
            return names.setdefault(attribute, f"#n{len(names)}")

        def value(content: Any) -> str:
            values[f":v{len(values)}"] = content
            return f":v{len(values) - 1}"

        request: dict[str, Any] = {"TableName": self._name}
        if action.kind == "Put":
            request["Item"] = _written({"pk": action.key[0], "sk": action.key[1], **action.values})
        else:
            request["Key"] = _written({"pk": action.key[0], "sk": action.key[1]})
        if action.kind == "Update":
            request["UpdateExpression"] = _changes(action, name, value)
        if action.condition:
            request["ConditionExpression"] = " AND ".join(
                f"attribute_not_exists({name(one)})" if wanted is None else f"{name(one)} = {value(wanted)}"
                for one, wanted in action.condition.items()
            )
        if names:
            request["ExpressionAttributeNames"] = {placeholder: attribute for attribute, placeholder in names.items()}
        if values:
            request["ExpressionAttributeValues"] = _written(values)
        return request

    def _get(self, keys: Sequence[Key]) -> list[dict[str, Any]]:
        wanted = {self._name: {"Keys": [_written({"pk": pk, "sk": sk}) for pk, sk in keys], "ConsistentRead": True}}
        found: list[dict[str, Any]] = []
        for failures in count():
            try:
                answer = self._client.batch_get_item(RequestItems=wanted)  # type: ignore[arg-type]
            except FAULTS as error:
                raise self._explained(error) from error
            found += map(_read, answer["Responses"].get(self._name, []))
            wanted = answer.get("UnprocessedKeys", {})  # type: ignore[assignment]
            if not wanted:
                return found
            if failures >= _PATIENCE:
                raise LedgerError(f"The DynamoDB table '{self._name}' is asked for more than it allows.")
            self.pause(failures)
        raise AssertionError("It counts for ever.")

    def _pages(self, condition: str, values: Item, **options: Any) -> Iterator[dict[str, Any]]:
        arguments = {"TableName": self._name, "KeyConditionExpression": condition, **options}
        return self._paginated(self._client.query, arguments | {"ExpressionAttributeValues": _written(values)})

    def _paginated(self, call: Callable[..., Any], arguments: dict[str, Any]) -> Iterator[dict[str, Any]]:
        while True:
            try:
                page = call(**arguments)
            except FAULTS as error:
                raise self._explained(error) from error
            yield from map(_read, page["Items"])
            if "LastEvaluatedKey" not in page:
                return
            arguments = arguments | {"ExclusiveStartKey": page["LastEvaluatedKey"]}

    def _explained(self, error: Exception) -> LedgerError:
        return LedgerError(_sentence(error, self._name))


#: Sends by the time from which they count against caps and for priorities.
RECENT = "recent"
#: Sends that are not done with, by kind, in the order in which they come up.
OPEN = "open"
_COUNTED = ["idempotency_key", "campaign", "campaign_class", "state", "priority", "claimed_at_ms"]
_LAYOUT: Any = {
    "BillingMode": "PAY_PER_REQUEST",
    "AttributeDefinitions": [
        {"AttributeName": "pk", "AttributeType": "S"},
        {"AttributeName": "sk", "AttributeType": "S"},
        {"AttributeName": "counted_at_ms", "AttributeType": "N"},
        {"AttributeName": "open_kind", "AttributeType": "S"},
        {"AttributeName": "open_order", "AttributeType": "S"},
    ],
    "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
    "LocalSecondaryIndexes": [
        {
            "IndexName": RECENT,
            "KeySchema": [
                {"AttributeName": "pk", "KeyType": "HASH"},
                {"AttributeName": "counted_at_ms", "KeyType": "RANGE"},
            ],
            "Projection": {
                "ProjectionType": "INCLUDE",
                "NonKeyAttributes": [
                    "idempotency_key",
                    "campaign",
                    "campaign_class",
                    "state",
                    "priority",
                    "claimed_at_ms",
                ],
            },
        }
    ],
    "GlobalSecondaryIndexes": [
        {
            "IndexName": OPEN,
            "KeySchema": [
                {"AttributeName": "open_kind", "KeyType": "HASH"},
                {"AttributeName": "open_order", "KeyType": "RANGE"},
            ],
            "Projection": {
                "ProjectionType": "INCLUDE",
                "NonKeyAttributes": ["campaign", "campaign_class", "expires_at_ms", "fencing_token"],
            },
        }
    ],
}


def open_table(settings: LedgerSettings) -> Table:
    """The table of the settings, which may be missing; credentials are those of the AWS environment."""
    config = Config(
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
        # The client tries a transaction again under the same token, which DynamoDB knows for ten minutes.
        retries={"total_max_attempts": _ATTEMPTS, "mode": "standard"},
        max_pool_connections=2 * THREADS,
    )
    try:
        session = boto3.Session(region_name=settings.region or None)
        client = session.client("dynamodb", endpoint_url=settings.endpoint_url or None, config=config)
    except FAULTS as error:
        raise LedgerError(_sentence(error, settings.table)) from error
    return Table(client, settings.table)


def _sentence(error: Exception, table: str) -> str:
    code = code_of(error)
    if code in _DENIED:
        return (
            f"AWS does not allow this on the DynamoDB table '{table}'; see the permissions in docs/ledger.md ({error})."
        )
    if code:
        return f"The DynamoDB table '{table}' refuses a call ({error})."
    return f"DynamoDB does not answer for the table '{table}'; correct ledger.region, or look at the network ({error})."


def _reasons(error: Exception) -> list[str]:
    """The code of each action; of the one action of a request that is no transaction."""
    code = code_of(error).removesuffix("Exception")
    if code == "TransactionCanceled":
        reasons = getattr(error, "response", {}).get("CancellationReasons", [])
        return [str(reason.get("Code", "")) for reason in reasons]
    return [code]


def _changes(action: Action, name: Callable[[str], str], value: Callable[[Any], str]) -> str:
    kept = {attribute: content for attribute, content in action.values.items() if content is not None}
    gone = [attribute for attribute, content in action.values.items() if content is None]
    clauses = []
    if kept:
        clauses.append("SET " + ", ".join(f"{name(one)} = {value(content)}" for one, content in kept.items()))
    if gone:
        clauses.append("REMOVE " + ", ".join(map(name, gone)))
    if action.added:
        clauses.append("ADD " + ", ".join(f"{name(one)} {value(by)}" for one, by in action.added.items()))
    return " ".join(clauses)


def _written(item: Item) -> dict[str, Any]:
    return {name: _serializer.serialize(value) for name, value in item.items() if value is not None}


def _read(item: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _plain(value) for name, value in item.items()}


def _plain(value: Mapping[str, Any]) -> Any:
    if "B" in value:
        return value["B"]
    plain = _deserializer.deserialize(value)  # type: ignore[arg-type]  # One attribute of any type.
    return plain if isinstance(plain, str | bool) else int(plain)
