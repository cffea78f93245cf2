"""What is particular to DynamoDB: several transactions in one call, conditions that no longer hold, limits of AWS."""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from support.clocks import HOUR_MS, NOW_MS
from support.sending import LANE, LEASE_MS, Book, DynamoBook, answered, granted, intended, marketing, refused

from wakeline.activation.claims import idempotency_key
from wakeline.activation.consent import RecordAddress
from wakeline.activation.deliverability import DeliveryReport
from wakeline.activation.esp.protocol import Accepted
from wakeline.activation.gates import RESTORED
from wakeline.activation.ledger.dynamodb_items import MOST_IDS
from wakeline.activation.ledger.reading import count_open, latest_sent, send_of
from wakeline.activation.ledger.summary import Summary
from wakeline.archive.begun import DynamoBegunParts
from wakeline.archive.hours import Hour
from wakeline.archive.parts import Part
from wakeline.dynamodb import MOST_ACTIONS, Action, ChangedError, Table, check, open_table, put, update
from wakeline.engines import open_database
from wakeline.errors import LeaseLostError, LedgerError
from wakeline.pipeline.factory import lane_store, open_ledger
from wakeline.pipeline.lanes import Lease
from wakeline.settings import Settings

if TYPE_CHECKING:
    from support.dynamodb import DynamoServer

pytestmark = pytest.mark.stack

_numbers = count(1)


@pytest.fixture
def table(dynamodb: "DynamoServer") -> Iterator[Table]:
    opened = dynamodb.open_table(f"dynamodb-{next(_numbers)}")
    yield opened
    opened.dispose()


@pytest.fixture
def book(table: Table) -> Book:
    return DynamoBook(table)


def before_a_write(table: Table, monkeypatch: pytest.MonkeyPatch, number: int, happens: Callable[[], object]) -> None:
    """Somebody else does something between what a call has read and its n-th write from now on."""
    write, numbers = table.write, count(1)

    def written(actions: Sequence[Action]) -> None:
        if next(numbers) == number:
            happens()
        write(actions)

    monkeypatch.setattr(table, "write", written)


def test_what_changes_between_the_facts_and_the_claim_is_seen(
    book: Book, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = book.hold()
    book.say(lease, granted())
    before_a_write(table, monkeypatch, 1, lambda: book.say(lease, refused(at_ms=NOW_MS)))
    assert [one.reason for one in book.claim(lease, marketing())] == ["no_consent"]


def test_a_report_that_comes_while_the_send_is_decided_on_settles_it(
    book: Book, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = book.hold()
    book.ledger.pause(RESTORED, "restore", "from a backup", NOW_MS)
    one = intended(occurred_at_ms=NOW_MS - 1)
    report = DeliveryReport(one.key, "Email Delivered", "webhook-1", NOW_MS)
    before_a_write(table, monkeypatch, 2, lambda: book.claim(lease, one))  # The first is a look at the lease.
    book.ledger.confirm(lease, [report], NOW_MS)
    assert book.states() == [("sent", "")]


def test_a_decision_is_made_again_when_a_report_on_it_comes_meanwhile(
    book: Book, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = book.hold()
    book.ledger.pause(RESTORED, "restore", "from a backup", NOW_MS)
    one = intended(occurred_at_ms=NOW_MS - 1)
    report = DeliveryReport(one.key, "Email Delivered", "webhook-1", NOW_MS)
    before_a_write(table, monkeypatch, 1, lambda: book.ledger.confirm(lease, [report], NOW_MS))
    assert [told.state for told in book.claim(lease, one)] == ["sent"]
    assert send_of(table, one.key) is not None


@contextmanager
def written(table: Table, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The number of actions of every write."""
    write, sizes = table.write, list[int]()
    with monkeypatch.context() as patch:
        patch.setattr(table, "write", lambda actions: (sizes.append(len(actions)), write(actions)))
        yield sizes


def test_reports_for_decisions_to_come_are_kept_many_at_once_and_each_only_once(
    book: Book, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = book.hold()
    book.ledger.pause(RESTORED, "restore", "from a backup", NOW_MS)
    before = [intended(ids=(f"user:{number}",), occurred_at_ms=NOW_MS - 1) for number in range(2 * MOST_ACTIONS)]
    reports = [DeliveryReport(one.key, "Email Delivered", "webhook-1", NOW_MS) for one in before]
    with written(table, monkeypatch) as sizes:
        book.ledger.confirm(lease, [*reports, replace(reports[0], message_id="webhook-2")], NOW_MS)
    assert sizes == [1, MOST_ACTIONS, MOST_ACTIONS, 3]  # Each with a look at the lease.
    with written(table, monkeypatch) as sizes:
        book.ledger.confirm(lease, [replace(one, message_id="webhook-3") for one in reports], NOW_MS)
    assert sizes == [1]
    assert {told.state for told in book.claim(lease, *before)} == {"sent"}
    assert {row["record"]["message_id"] for row in book.rows()} == {"webhook-1"}


def test_of_reports_that_are_kept_at_once_those_on_sends_decided_meanwhile_settle_them(
    book: Book, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = book.hold()
    book.ledger.pause(RESTORED, "restore", "from a backup", NOW_MS)
    before = [intended(ids=(f"user:{number}",), occurred_at_ms=NOW_MS - 1) for number in range(3)]
    reports = [DeliveryReport(one.key, "Email Delivered", "webhook-1", NOW_MS) for one in before]

    def happens() -> None:
        book.claim(lease, before[0])
        book.ledger.confirm(lease, [replace(reports[1], message_id="webhook-2")], NOW_MS)

    before_a_write(table, monkeypatch, 2, happens)  # The first is a look at the lease.
    book.ledger.confirm(lease, reports, NOW_MS)
    assert book.states() == [("sent", "")]
    assert [told.state for told in book.claim(lease, *before)] == ["sent", "sent"]
    assert [book.row(one)["record"]["message_id"] for one in before] == ["webhook-1", "webhook-2", "webhook-1"]


def test_reports_of_a_lane_that_is_lost_meanwhile_are_not_kept(
    book: Book, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = book.hold()
    book.ledger.pause(RESTORED, "restore", "from a backup", NOW_MS)
    report = DeliveryReport(intended().key, "Email Delivered", "webhook-1", NOW_MS)
    before_a_write(table, monkeypatch, 2, lambda: book.take_over(lease))
    with pytest.raises(LeaseLostError):
        book.ledger.confirm(lease, [report], NOW_MS)
    new = Lease(LANE, "run-2", lease.fencing_token + 1, 1)
    assert [told.state for told in book.claim(new, intended(occurred_at_ms=NOW_MS - 1))] == ["held"]


def test_reports_on_mails_that_are_out_do_not_ask_whether_anything_was_restored(
    book: Book, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = book.hold()
    [decided] = book.claim(lease, intended())
    book.ledger.settle([answered(decided.claim, Accepted("id-1"))])
    asked, query = list[str](), table.query
    monkeypatch.setattr(table, "query", lambda pk, prefix="": (asked.append(pk), query(pk, prefix))[1])
    book.ledger.confirm(lease, [DeliveryReport(intended().key, "Email Delivered", "webhook-1", NOW_MS)], NOW_MS)
    assert asked == []
    assert book.states() == [("sent", "")]


def test_a_no_to_the_address_alone_is_seen_as_well(book: Book, table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    lease = book.hold()
    book.say(lease, granted())
    no = refused("email:ann@example.com", at_ms=NOW_MS)
    before_a_write(table, monkeypatch, 1, lambda: book.say(lease, no))
    assert [one.reason for one in book.claim(lease, marketing())] == ["no_consent"]


def test_a_mail_that_another_lane_claims_meanwhile_counts(
    book: Book, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = book.hold()
    book.say(lease, granted())
    for number in range(2):
        book.claim(lease, marketing(f"cart/{number}"))
    before_a_write(table, monkeypatch, 1, lambda: book.claim(lease, marketing("cart/8")))
    assert [one.reason for one in book.claim(lease, marketing("cart/9"))] == ["frequency_cap"]


def test_the_same_send_that_another_lane_claims_meanwhile_is_left_out(
    book: Book, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = book.hold()
    before_a_write(table, monkeypatch, 1, lambda: book.claim(lease, intended()))
    assert book.claim(lease, intended()) == []


def test_a_no_of_a_record_and_its_address_told_at_once_are_a_no_of_the_address(
    book: Book, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = book.hold()
    book.say(lease, granted())
    record = RecordAddress("anonymous:crm-7", "ann@example.com")
    before_a_write(table, monkeypatch, 1, lambda: book.say(lease, record))
    book.say(lease, refused("anonymous:crm-7", at_ms=NOW_MS))
    assert [one.reason for one in book.claim(lease, marketing())] == ["no_consent"]


def test_more_sends_than_a_transaction_has_room_for_are_claimed(book: Book) -> None:
    lease = book.hold()
    sends = [intended(ids=(f"user:{number}", f"anonymous:{number}")) for number in range(MOST_ACTIONS)]
    assert len([one for one in book.claim(lease, *sends) if one.claim]) == MOST_ACTIONS


def test_a_lane_that_is_lost_in_the_middle_of_a_call_gives_back_what_it_has_claimed(
    book: Book, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = book.hold()
    sends = [intended(ids=(f"user:{number}",)) for number in range(MOST_ACTIONS)]
    before_a_write(table, monkeypatch, 2, lambda: book.take_over(lease))
    with pytest.raises(LeaseLostError):
        book.claim(lease, *sends)
    states = {state for state, _ in book.states()}
    assert states == {"retry"}
    new = Lease(LANE, "run-2", lease.fencing_token + 1, 1)
    again = book.reclaim(new, NOW_MS)
    assert again
    assert all(one.claim for one in again)


def test_a_person_of_more_ids_than_there_is_room_for_is_mailed_once(book: Book) -> None:
    lease = book.hold()
    ids = tuple(f"anonymous:{number:03d}" for number in range(3 * MOST_IDS))
    [decided] = book.claim(lease, intended(ids=ids))
    assert decided.claim is not None
    assert book.claim(lease, intended(ids=ids[::-1])) == []
    assert book.row(intended(ids=ids))["idempotency_key"] == idempotency_key("order_confirmation", ids[0], "order/1")


def test_contexts_that_are_too_large_for_one_transaction_are_claimed_in_several(book: Book) -> None:
    drawn = random.Random(7)  # noqa: S311 - no secret, and nothing that could be compressed
    large = "".join(chr(drawn.randrange(0x4E00, 0x9FFF)) for _ in range(90_000))
    lease = book.hold()
    sends = [intended(ids=(f"user:{number}",), context={"text": large}) for number in range(20)]
    assert len([one for one in book.claim(lease, *sends) if one.claim]) == len(sends)
    assert {row["context"]["text"] == large for row in book.rows()} == {True}


def test_more_partitions_than_a_transaction_has_room_for_are_committed(book: Book) -> None:
    lease = book.hold()
    ranges = {partition: (0, partition + 1) for partition in range(2 * MOST_ACTIONS)}
    book.lanes.begin(lease, ranges, NOW_MS, LEASE_MS)
    book.lanes.commit(lease, ranges, NOW_MS, NOW_MS + LEASE_MS)
    assert book.lanes.committed() == {partition: end for partition, (_, end) in ranges.items()}
    assert book.begun() == {}


def test_purposes_of_any_length_are_told_apart(book: Book) -> None:
    lease = book.hold()
    long = "😀" * 255
    book.say(lease, replace(granted(), purpose=long), replace(refused(at_ms=NOW_MS), purpose=long[:-1] + "x"))
    assert book.claim(lease, marketing(purpose=long))[0].claim is not None
    assert book.claim(lease, marketing("cart/2", purpose=long[:-1] + "x"))[0].reason == "no_consent"


def test_what_people_ask_of_the_ledger_is_answered(book: Book, table: Table) -> None:
    lease = book.hold()
    book.claim(lease, intended(), intended("order/2", address=""))
    assert Summary(table).counts() == {"order_confirmation": {"claimed": 1, "skipped:no_address": 1}}
    assert count_open(table) == 1
    assert latest_sent(table, [], 10) == []
    found = send_of(table, intended().key)
    assert found is not None
    assert found["contact"]["email"] == "ann@example.com"
    assert send_of(table, "f" * 32) is None


def test_parts_of_a_restore_are_noted_down_until_they_are_through(table: Table) -> None:
    parts = DynamoBegunParts(table)
    part = Part(Hour(NOW_MS - NOW_MS % HOUR_MS, "events"), [(0, 1, 5), (3, 7, 9)])
    parts.add(part, 17)
    assert parts.all() == [(part, 17)]
    parts.remove(part)
    assert parts.all() == []


def test_a_condition_that_does_not_hold_names_its_place_and_nothing_is_written(table: Table) -> None:
    table.write([put(("a", "1"), {"number": 1})])
    with pytest.raises(ChangedError) as caught:
        table.write([check(("a", "1"), {"number": 1}), update(("a", "2"), {"number": 5}, {"number": 4})])
    assert caught.value.failed == {1}
    assert table.query("a") == [{"pk": "a", "sk": "1", "number": 1}]


def test_what_is_set_to_nothing_is_taken_away_and_numbers_are_added_to(table: Table) -> None:
    table.write([put(("a", "1"), {"number": 1, "text": "x", "flag": True, "raw": b"\x00\xff"})])
    table.write([update(("a", "1"), {"text": None, "flag": False}, {"number": 1}, {"number": 2})])
    assert table.get([("a", "1")])[("a", "1")] == {
        "pk": "a",
        "sk": "1",
        "number": 3,
        "flag": False,
        "raw": b"\x00\xff",
    }


def test_the_settings_open_lanes_and_ledger(dynamodb: "DynamoServer") -> None:
    settings = Settings(ledger=dynamodb.settings(f"settings-{next(_numbers)}"))
    database = open_database(settings)
    try:
        lanes, ledger = lane_store(settings, database), open_ledger(database, 0)
        lease = lanes.acquire(LANE, "run-1", NOW_MS, LEASE_MS)
        assert lease is not None
        assert len(ledger.claim(lease, [intended()], "run-1", {}, NOW_MS)) == 1
        assert count_open(database) == 1
    finally:
        database.dispose()


@contextmanager
def disposing(table: Table) -> Iterator[Table]:
    try:
        yield table
    finally:
        table.dispose()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"endpoint_url": "http://127.0.0.1:9"}, "DynamoDB does not answer for the table 'x'"),
        ({"table": "no-such-table"}, "The DynamoDB table 'no-such-table' refuses a call .*ResourceNotFound"),
    ],
)
def test_a_table_that_cannot_be_asked_is_a_sentence(
    dynamodb: "DynamoServer", change: dict[str, Any], sentence: str
) -> None:
    settings = dynamodb.settings("x").model_copy(update=change)
    with disposing(open_table(settings)) as table, pytest.raises(LedgerError, match=sentence):
        table.get([("a", "1")])
