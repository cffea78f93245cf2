"""The copy of the ledger in ClickHouse is the ledger, whatever was interrupted, and has nobody's address in it."""

from collections.abc import Sequence
from typing import Any

import pytest
from support.clocks import DAY_MS, HOUR_MS, NOW_MS
from support.sending import Book, answered, granted, intended, marketing
from support.warehouse import Site, WarehouseProcess, no_warnings

from wakeline.activation.esp.protocol import Accepted, Rejected, TryLater, Unknown
from wakeline.activation.ledger.summary import Summary
from wakeline.clock import to_epoch_ms
from wakeline.errors import WarehouseError
from wakeline.pipeline.lanes import Lease
from wakeline.warehouse import mirror
from wakeline.warehouse.mirror import Mirror

pytestmark = pytest.mark.stack


@pytest.fixture
def site(site: Site) -> Site:
    site.client.command("TRUNCATE TABLE sends")
    return site


def open_mirror(site: Site) -> Mirror:
    """As another run opens it."""
    return Mirror(site.client, Summary(site.engine))


def work(book: Book, first: int, now_ms: int = NOW_MS) -> Lease:
    """Ten sends of every kind, from the number `first` on."""
    lease = book.hold(f"run-{first}", now_ms)
    outcomes = [Accepted("1"), Rejected("no such user"), TryLater(60, "busy"), Unknown("lost")]
    for number, outcome in enumerate(outcomes, start=first):
        [told] = book.claim(lease, intended(f"order/{number}", expires_at_ms=now_ms + DAY_MS), now_ms=now_ms)
        book.ledger.settle([answered(told.claim, outcome, now_ms)])
    book.claim(lease, *(marketing(f"cart/{first + number}") for number in range(6)), now_ms=now_ms)
    return lease


def copied(site: Site) -> list[tuple[Any, ...]]:
    return site.rows(
        "SELECT idempotency_key, campaign, profile_id, state, changed_at_ms, claimed_at FROM current_sends ORDER BY 1"
    )


def kept(book: Book) -> list[tuple[Any, ...]]:
    names = ("idempotency_key", "campaign", "profile_id", "state", "changed_at_ms", "claimed_at_ms")
    return [tuple(row[name] for name in names) for row in book.rows()]


def assert_equal(site: Site) -> None:
    assert [(*row[:5], to_epoch_ms(row[5])) for row in copied(site)] == kept(site.book)


def test_what_the_ledger_has_is_copied_and_then_what_changes(site: Site) -> None:
    copy = open_mirror(site)
    lease = work(site.book, 1)
    assert copy.copy() == 10
    assert_equal(site)
    assert copy.copy() == 0
    site.book.lanes.release(lease)
    site.book.reclaim(site.book.hold("run-2", NOW_MS + HOUR_MS), NOW_MS + HOUR_MS)
    assert copy.copy() > 0
    assert_equal(site)


def test_a_new_run_goes_on_from_what_clickhouse_has(site: Site) -> None:
    site.book.lanes.release(work(site.book, 1))
    open_mirror(site).copy()
    later_ms = NOW_MS + mirror.OVERLAP_MS + 1
    work(site.book, 11, later_ms)
    assert open_mirror(site).copy() == 20, "What changed within the overlap comes again."
    assert_equal(site)
    assert open_mirror(site).copy() == 10, "The first ten are older than the overlap."
    assert_equal(site)


def test_a_copy_that_is_cut_off_in_the_middle_is_made_up_for(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror, "PAGE_ROWS", 3)
    work(site.book, 1)
    broken = open_mirror(site)
    monkeypatch.setattr(broken, "_client", DyingClient(broken._client, inserts=2))
    with pytest.raises(WarehouseError, match="did not take a copy of sends: gone"):
        broken.copy()
    assert 0 < len(copied(site)) < len(site.book.rows())
    open_mirror(site).copy()
    assert_equal(site)


def test_a_change_that_was_written_late_is_not_missed(site: Site) -> None:
    lease = site.book.hold()
    [first] = site.book.claim(lease, intended("order/1"))
    site.book.claim(lease, intended("order/2"), now_ms=NOW_MS + 60_000)
    copy = open_mirror(site)
    copy.copy()
    site.book.ledger.settle([answered(first.claim, Accepted("1"), NOW_MS + 1_000)])
    assert copy.copy() == 1
    assert_equal(site)


def test_the_latest_word_wins_though_it_was_said_at_an_earlier_time(site: Site) -> None:
    """A late answer to a claim that was given up since."""
    lease = site.book.hold()
    [told] = site.book.claim(lease, intended())
    site.book.ledger.settle_orphans(site.book.take_over(lease), NOW_MS + HOUR_MS)
    copy = open_mirror(site)
    copy.copy()
    site.book.ledger.settle([answered(told.claim, Accepted("1"), NOW_MS + 1)])
    copy.copy()
    assert_equal(site)
    assert [row[3] for row in copied(site)] == ["sent"]


def test_no_address_goes_with_it_not_even_in_an_answer_of_the_esp(site: Site) -> None:
    lease = site.book.hold()
    site.book.say(lease, granted())
    [first, second] = site.book.claim(lease, marketing("cart/1"), marketing("cart/2"))
    site.book.ledger.settle([answered(first.claim, Rejected("no mailbox ann@example.com"))])
    site.book.ledger.settle([answered(second.claim, TryLater(1, "ann@example.com is busy"))])
    open_mirror(site).copy()
    assert "example.com" not in str(site.rows("SELECT * FROM sends"))
    assert_equal(site)


def test_reasons_are_our_codes_and_times_are_times(site: Site) -> None:
    work(site.book, 1)
    open_mirror(site).copy()
    found = site.rows("SELECT state, reason, isNull(esp_accepted_at), isNull(next_attempt_at) FROM current_sends")
    assert set(found) == {
        ("sent", "", 0, 1), ("failed", "", 1, 1), ("retry", "", 1, 0), ("unknown", "", 1, 1),
        ("skipped", "no_consent", 1, 1),
    }  # fmt: skip


def test_a_deployment_keeps_the_copy(warehouse: WarehouseProcess, site: Site) -> None:
    work(site.book, 1)
    open_mirror(site).copy()
    before = copied(site)
    with no_warnings():
        from wakeline.warehouse.dbt import run_dbt

        assert run_dbt(warehouse.settings, ["run", "--full-refresh", "--select", "sends", "current_sends"]).success
    assert copied(site) == before


class DyingClient:
    """A connection that is lost after some inserts."""

    def __init__(self, client: Any, inserts: int) -> None:
        self._client = client
        self._left = inserts

    def query(self, *arguments: Any) -> Any:
        return self._client.query(*arguments)

    def insert(self, table: str, rows: Sequence[Any], **options: Any) -> None:
        if not self._left:
            raise OSError("gone")
        self._left -= 1
        self._client.insert(table, rows, **options)
