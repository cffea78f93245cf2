"""The ledger forgets only what is settled, long expired and copied; nobody is mailed about it again."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from support.clocks import DAY_MS, HOUR_MS, NOW_MS
from support.sending import RULES, Book, answered, granted, intended, marketing

from wakeline.activation.esp.protocol import Accepted, Rejected, TryLater, Unknown
from wakeline.activation.ledger.states import SENT, SKIPPED
from wakeline.errors import ConfigError
from wakeline.retention.sends import PAGE_ROWS, Forgotten, forget_sends, require_long_enough
from wakeline.settings import load_settings

LATER_MS = NOW_MS + 100 * DAY_MS


def all_of(book: Book, keys: Sequence[str]) -> dict[str, int]:
    """As if ClickHouse had everything."""
    return {row["idempotency_key"]: row["changed_at_ms"] for row in book.rows() if row["idempotency_key"] in keys}


def forget(book: Book, before_ms: int = LATER_MS, dry_run: bool = False) -> Forgotten:
    return forget_sends(book.engine, lambda keys: all_of(book, keys), before_ms, dry_run)


def states(book: Book) -> list[str]:
    return sorted(row["state"] for row in book.rows())


def fill(book: Book) -> None:
    """One send in every state."""
    lease = book.hold()
    book.say(lease, granted())
    outcomes = [Accepted("1"), Rejected("no such user"), TryLater(60, "busy"), Unknown("lost")]
    for number, outcome in enumerate(outcomes):
        [told] = book.claim(lease, intended(f"order/{number}"))
        book.ledger.settle([answered(told.claim, outcome)])
    book.claim(lease, intended("order/claimed"), marketing(ids=("user:bob",)))
    book.ledger.pause("abandoned_cart", "ann", "a typo", NOW_MS)
    book.claim(lease, marketing("cart/held"))


def test_only_what_is_settled_is_forgotten(book: Book) -> None:
    fill(book)
    assert states(book) == ["claimed", "failed", "held", "retry", "sent", "skipped", "unknown"]
    assert forget(book, dry_run=True) == Forgotten(deleted=3, not_copied=0)
    assert len(states(book)) == 7
    assert forget(book) == Forgotten(deleted=3, not_copied=0)
    assert states(book) == ["claimed", "held", "retry", "unknown"]


def test_what_has_not_expired_for_long_enough_stays(book: Book) -> None:
    lease = book.hold()
    [told] = book.claim(lease, intended(expires_at_ms=LATER_MS + HOUR_MS))
    book.ledger.settle([answered(told.claim, Accepted("1"))])
    assert forget(book) == Forgotten(0, 0)
    assert states(book) == [SENT]


def test_what_changed_lately_stays(book: Book) -> None:
    lease = book.hold()
    [told] = book.claim(lease, intended())
    book.ledger.settle([answered(told.claim, Accepted("1"), LATER_MS)])
    assert forget(book) == Forgotten(0, 0)


@pytest.mark.parametrize("copied", [{}, {"older": True}])
def test_what_analytics_has_not_or_only_an_older_version_of_stays(book: Book, copied: dict[str, Any]) -> None:
    fill(book)
    known = {key: one - 1 for key, one in all_of(book, [row["idempotency_key"] for row in book.rows()]).items()}
    found = forget_sends(book.engine, lambda keys: known if copied else {}, LATER_MS, dry_run=False)
    assert found == Forgotten(deleted=0, not_copied=3)
    assert len(states(book)) == 7


def test_what_is_forgotten_is_not_mailed_when_it_is_found_again(book: Book) -> None:
    lease = book.hold()
    [told] = book.claim(lease, intended("order/1"))
    book.ledger.settle([answered(told.claim, Accepted("1"))])
    assert forget(book).deleted == 1
    book.lanes.release(lease)
    [again] = book.claim(book.hold("run-2", LATER_MS), intended("order/1"), now_ms=LATER_MS)
    assert (again.state, again.reason) == (SKIPPED, "expired")


def test_more_than_a_page_is_forgotten_though_some_of_it_stays(book: Book) -> None:
    lease = book.hold()
    book.claim(lease, *(marketing(f"cart/{number}", ids=(f"user:{number}",)) for number in range(PAGE_ROWS + 50)))
    stay = {row["idempotency_key"] for row in book.rows()[:20]}

    def copied(keys: Sequence[str]) -> dict[str, int]:
        return {key: at_ms for key, at_ms in all_of(book, keys).items() if key not in stay}

    assert forget_sends(book.engine, copied, LATER_MS, dry_run=False) == Forgotten(PAGE_ROWS + 30, 20)
    assert {row["idempotency_key"] for row in book.rows()} == stay


def test_a_cap_that_counts_further_back_is_an_error() -> None:
    require_long_enough(7, [RULES])
    with pytest.raises(ConfigError, match=r"retention\.sends_days is 6, but a frequency cap counts .* 7 days"):
        require_long_enough(6, [RULES])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[retention]\nsends_days = 30", "setting 'retention.sends_days' is wrong: .* at least 90"),
        ("[retention]\nruns_days = 0", "setting 'retention.runs_days' is wrong"),
        ('[retention]\nsends_days = 90\n[ledger]\nkind = "dynamodb"', "on DynamoDB set it to 0"),
    ],
)
def test_wrong_settings_are_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "wakeline.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=said):
        load_settings(path)
