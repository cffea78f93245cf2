"""What Postgres does that SQLite cannot: several writers at once, a server that goes away."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine
from support.clocks import NOW_MS
from support.sending import LANE, LEASE_MS, Book, granted, intended, marketing, refused
from support.stack import await_that

from wakeline.activation.consent import RecordAddress
from wakeline.activation.ledger.reading import count_open, send_of
from wakeline.activation.ledger.summary import Summary
from wakeline.database import record_addresses
from wakeline.engines import MOST_LOCKS, lock_everybody, lock_people, open_database, open_for_reading, open_postgres
from wakeline.errors import ConfigError, LeaseLostError, LedgerError
from wakeline.pipeline.factory import lane_store, open_ledger
from wakeline.pipeline.lanes import Lease
from wakeline.pipeline.lanes_sql import require
from wakeline.settings import LedgerSettings, Settings

if TYPE_CHECKING:
    from support.postgres import PostgresServer

pytestmark = pytest.mark.stack

_WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
_SOON_SECONDS = 20


@pytest.fixture
def url(postgres: "PostgresServer") -> str:
    return postgres.create_database()


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    opened = open_postgres(url)
    yield opened
    opened.dispose()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as threads:
        yield threads


def await_waiting(book: Book, how_many: int = 1) -> None:
    """Returns when so many transactions wait for a lock."""

    def are_waiting() -> bool:
        with book.engine.connect() as connection:
            return bool(connection.execute(sa.text(_WAITING)).scalar_one() >= how_many)

    await_that(f"{how_many} transactions wait", are_waiting, _SOON_SECONDS)


def held_beside(book: Book) -> tuple[Lease, Lease]:
    """The leases of two lanes."""
    two = book.store(lane_count=2)
    first, second = (two.acquire(lane, f"run-{lane}", NOW_MS, LEASE_MS) for lane in two.names())
    assert first is not None
    assert second is not None
    return first, second


def test_a_take_over_waits_for_the_transaction_of_the_holder(book: Book, pool: ThreadPoolExecutor) -> None:
    lease = book.hold()
    with book.engine.begin() as connection:
        require(connection, lease)
        taken = pool.submit(book.lanes.acquire, LANE, "run-2", NOW_MS + LEASE_MS, LEASE_MS)
        await_waiting(book)
        assert not taken.done()
    new = taken.result()
    assert new is not None
    assert new.fencing_token == lease.fencing_token + 1


def test_a_claim_that_begins_during_a_take_over_fails(book: Book, pool: ThreadPoolExecutor) -> None:
    old = book.hold()
    with book.engine.begin() as connection:
        connection.execute(sa.text("UPDATE lanes SET fencing_token = fencing_token + 1"))
        claimed = pool.submit(book.claim, old, intended())
        await_waiting(book)
    with pytest.raises(LeaseLostError):
        claimed.result()
    assert book.rows() == []


@pytest.mark.parametrize("people", [1, MOST_LOCKS + 1])
def test_of_two_lanes_that_claim_for_one_person_one_waits(book: Book, pool: ThreadPoolExecutor, people: int) -> None:
    first, second = held_beside(book)
    with book.engine.begin() as connection:
        lock_people(connection, ["user:ann", *(f"user:{number}" for number in range(1, people))])
        waiting = pool.submit(book.claim, first, intended())
        await_waiting(book)
        if people == 1:  # Somebody else's mail does not wait.
            assert len(book.claim(second, intended(ids=("user:bob",)))) == 1
    assert len(waiting.result()) == 1


def test_consents_and_claims_wait_for_each_other(book: Book, pool: ThreadPoolExecutor) -> None:
    first, second = held_beside(book)
    with book.engine.begin() as connection:
        lock_people(connection, ["user:somebody"])
        said = pool.submit(book.say, first, granted())
        await_waiting(book)
    said.result()
    with book.engine.begin() as connection:
        lock_everybody(connection)
        claimed = pool.submit(book.claim, second, marketing())
        await_waiting(book)
    assert [one.reason for one in claimed.result()] == [""]


def test_a_no_and_the_address_of_its_record_told_at_once_are_a_no_of_the_address(
    book: Book, pool: ThreadPoolExecutor
) -> None:
    first, second = held_beside(book)
    for number in range(20):
        record, address = f"anonymous:crm-{number}", f"{number}@example.com"
        told = [
            pool.submit(book.say, first, refused(record)),
            pool.submit(book.say, second, granted(f"email:{address}"), RecordAddress(record, address)),
        ]
        for one in told:
            one.result()
        [decided] = book.claim(first, marketing(ids=(f"user:{number}",), address=address))
        assert decided.reason == "no_consent"


def test_a_holder_that_stands_still_in_a_transaction_does_not_keep_the_lane(
    book: Book, pool: ThreadPoolExecutor
) -> None:
    lease = book.hold()
    connection = book.engine.connect()
    require(connection, lease)
    assert book.lanes.acquire(LANE, "run-2", NOW_MS + LEASE_MS, LEASE_MS) is not None
    with pytest.raises(LedgerError):
        connection.execute(sa.text("SELECT 1"))
    connection.close()


def test_a_server_that_comes_back_is_used_again(book: Book, postgres: "PostgresServer") -> None:
    lease = book.hold()
    book.claim(lease, intended("order/1"))
    postgres.kill()
    with pytest.raises(LedgerError, match=r"^The ledger database at 127\.0\.0\.1:\d+ fails: .*[Cc]onnection"):
        book.claim(lease, intended("order/2"))
    postgres.start()
    assert len(book.claim(lease, intended("order/2"))) == 1
    assert book.states() == [("claimed", ""), ("claimed", "")]


def test_a_wrong_password_is_a_sentence_without_it(postgres: "PostgresServer") -> None:
    wrong = postgres.url("postgres", password="not-the-password")
    with pytest.raises(LedgerError, match="password authentication failed") as caught:
        open_postgres(wrong)
    assert "not-the-password" not in _everything_said(caught.value)


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("", "ledger.url is no URL"),
        ("hunter2", "ledger.url is no URL"),
        ("mysql://me:hunter2@db.example.com/x", "ledger.url is one of 'mysql'"),
    ],
)
def test_a_wrong_url_is_a_sentence_without_the_password(url: str, sentence: str) -> None:
    settings = Settings(ledger=LedgerSettings(kind="postgres", url=url))
    assert "hunter2" not in repr(settings)
    with pytest.raises(ConfigError, match=re.escape(sentence)) as caught:
        open_database(settings)
    assert "hunter2" not in _everything_said(caught.value)


def test_the_settings_open_lanes_and_ledger_and_what_people_ask_is_answered(url: str) -> None:
    settings = Settings(ledger=LedgerSettings(kind="postgres", url=url))
    database = open_database(settings)
    try:
        lanes, ledger = lane_store(settings, database), open_ledger(database, 0)
        lease = lanes.acquire(LANE, "run-1", NOW_MS, LEASE_MS)
        assert lease is not None
        ledger.claim(lease, [intended(), intended("order/2", address="")], "run-1", {}, NOW_MS)
        assert Summary(database).counts() == {"order_confirmation": {"claimed": 1, "skipped:no_address": 1}}
        assert count_open(database) == 1
        assert lanes.holders_so_far() == 1
    finally:
        database.dispose()
    reading = open_for_reading(settings)
    assert (send_of(reading, intended().key) or {})["address"] == "ann@example.com"
    reading.dispose()


def test_what_a_statement_was_about_is_not_in_the_error(book: Book) -> None:
    twice = sa.insert(record_addresses).values([{"subject": "user:ann", "address": "ann@example.com"}] * 2)
    with book.engine.begin() as connection, pytest.raises(LedgerError) as caught:
        connection.execute(twice)
    assert "ann" not in str(caught.value)
    assert "record_addresses" in str(caught.value)


@pytest.mark.parametrize("odd", ["a\0b", "\ue0000", "\ue000\0", "😀", "Ω"])
def test_any_text_comes_back_as_it_was(book: Book, odd: str) -> None:
    book.claim(book.hold(), intended(occurrence=odd, context={"odd": odd}))
    [row] = book.rows()
    assert (row["occurrence_key"], row["context"]) == (odd, {"odd": odd})


def test_two_processes_may_make_the_tables_at_once(url: str, pool: ThreadPoolExecutor) -> None:
    for engine in pool.map(open_postgres, [url] * 4):
        engine.dispose()


def _everything_said(error: BaseException | None) -> str:
    said: list[Any] = []
    while error is not None:
        said += [error, *error.args]
        error = error.__cause__
    return repr(said)
