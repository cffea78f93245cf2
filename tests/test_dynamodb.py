"""The table, of a client that answers what AWS does under load."""

from collections.abc import Iterator

import boto3
import pytest
from botocore.config import Config
from botocore.stub import Stubber

from wakeline.dynamodb import ChangedError, Table, check, put
from wakeline.errors import LedgerError

ACTIONS = [check(("a", "1"), {"number": 1}), put(("a", "2"), {"number": 2})]


class World:
    """A table, what its client is made to answer, and the pauses it makes."""

    def __init__(self) -> None:
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
        config = Config(retries={"total_max_attempts": 1})
        client = boto3.client("dynamodb", region_name="us-east-1", config=config, **keys)
        self.stub = Stubber(client)
        self.pauses: list[float] = []
        self.table = Table(client, "ledger", self.pauses.append)

    def cancel(self, *codes: str) -> None:
        """The next transaction is cancelled for these reasons, one for each action."""
        reasons = {"CancellationReasons": [{"Code": code} for code in codes]}
        self.stub.add_client_error("transact_write_items", "TransactionCanceledException", modeled_fields=reasons)


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    with made.stub:
        yield made
        made.stub.assert_no_pending_responses()
    made.table.dispose()


def test_a_transaction_that_meets_another_one_is_tried_again(world: World) -> None:
    world.cancel("TransactionConflict", "None")
    world.cancel("None", "ThrottlingError")
    world.stub.add_response("transact_write_items", {})
    world.table.write(ACTIONS)
    assert len(world.pauses) == 2


def test_a_single_write_that_meets_a_transaction_is_tried_again(world: World) -> None:
    world.stub.add_client_error("put_item", "TransactionConflictException")
    world.stub.add_response("put_item", {})
    world.table.write(ACTIONS[1:])
    assert len(world.pauses) == 1


def test_a_condition_that_does_not_hold_is_told_at_once_even_beside_a_conflict(world: World) -> None:
    world.cancel("ConditionalCheckFailed", "TransactionConflict")
    with pytest.raises(ChangedError) as caught:
        world.table.write(ACTIONS)
    assert caught.value.failed == {0}
    assert world.pauses == []


def test_a_transaction_that_others_are_always_in_the_way_of_is_given_up_in_a_sentence(world: World) -> None:
    for _ in range(31):
        world.cancel("TransactionConflict", "None")
    with pytest.raises(LedgerError, match="The DynamoDB table 'ledger' refuses a call"):
        world.table.write(ACTIONS)
    assert max(world.pauses) <= 0.2


def test_a_transaction_that_is_wrong_is_not_tried_again(world: World) -> None:
    world.cancel("None", "ValidationError")
    with pytest.raises(LedgerError):
        world.table.write(ACTIONS)
    assert world.pauses == []


def test_items_that_aws_has_left_out_are_asked_for_again(world: World) -> None:
    keys = [{"pk": {"S": "a"}, "sk": {"S": sk}} for sk in "12"]
    left = {"ledger": {"Keys": keys[1:], "ConsistentRead": True}}
    world.stub.add_response("batch_get_item", {"Responses": {"ledger": keys[:1]}, "UnprocessedKeys": left})
    world.stub.add_response("batch_get_item", {"Responses": {"ledger": keys[1:]}}, {"RequestItems": left})
    assert set(world.table.get([("a", "1"), ("a", "2")])) == {("a", "1"), ("a", "2")}


@pytest.mark.parametrize("code", ["AccessDeniedException", "UnrecognizedClientException"])
def test_what_aws_does_not_allow_points_to_the_permissions(world: World, code: str) -> None:
    world.stub.add_client_error("query", code)
    with pytest.raises(LedgerError, match=r"docs/ledger\.md"):
        world.table.query("a")
