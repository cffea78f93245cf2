"""A concern that does not look any more explains nothing, and that it does not look is told."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from support.alerting import problem
from support.clocks import HOUR_MS, MINUTE_MS, SECOND_MS, Hand

from wakeline.alerts.book import Book, open_book
from wakeline.alerts.concerns import BY_NAME, CONCERNS, LEAST_BLIND_SECONDS, MISSED_LOOKS, OF_LOOKS
from wakeline.alerts.last_looks import REMEMBERED_EVERY_MS, STOOD_STILL_MS, blind, look_at_looks
from wakeline.alerts.links import Links
from wakeline.alerts.problem import Look
from wakeline.cli import cli
from wakeline.settings import CONFIG_VARIABLE, Settings

if TYPE_CHECKING:
    from support.postgres import PostgresServer

CHECKS, DISK, LANES, PAUSES = (BY_NAME[name] for name in ("checks", "disk", "lanes", "pauses"))
#: Of the flow, so that a lane without a run keeps it back.
LAG = problem("check/event_stream/lag_within_sla", open_after_seconds=0)
LANE = problem("lane/0", open_after_seconds=0)
LINKS = Links("https://dagster.example.com")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path)


@pytest.fixture
def book(settings: Settings) -> Iterator[Book]:
    with open_book(settings) as opened:
        yield opened


def titles(book: Book) -> list[str]:
    return [one["title"] for one in reversed(book.store.messages(100))]


def look_for(book: Book, clock: Hand, seconds: float) -> None:
    """The checks look every ten seconds, and see that events wait."""
    for _ in range(round(seconds / 10)):
        clock.sleep(10)
        book.take(CHECKS, Look((LAG,)), clock())


def overdue(book: Book, clock: Hand) -> list[str]:
    return sorted(blind(book.store.looks(), clock()))


def open_a_lane_and_look_no_more(book: Book, clock: Hand) -> None:
    book.take(LANES, Look((LANE,)), clock())
    assert titles(book) == ["[error] lane/0"]


def test_what_a_concern_saw_before_it_was_turned_off_keeps_nothing_back_for_ever(book: Book, clock: Hand) -> None:
    open_a_lane_and_look_no_more(book, clock)
    look_for(book, clock, LANES.blind_after_seconds - 20)
    assert titles(book) == ["[error] lane/0"], "It may look at any moment."
    look_for(book, clock, 60)
    assert titles(book) == ["[error] lane/0", "[error] check/event_stream/lag_within_sla"]
    assert book.store.alerts()["lane/0"].is_open, "Nobody has seen its end."
    book.take(LANES, Look(), clock())
    assert titles(book)[2:] == ["Recovered: lane/0"]


def test_a_concern_that_looks_keeps_back_what_it_explains_however_long(book: Book, clock: Hand) -> None:
    open_a_lane_and_look_no_more(book, clock)
    for _ in range(20):
        look_for(book, clock, 60)
        book.take(LANES, Look((LANE,)), clock())
    assert titles(book) == ["[error] lane/0"]


def test_what_a_blind_concern_saw_explains_nothing_that_names_it_either(book: Book, clock: Hand) -> None:
    open_a_lane_and_look_no_more(book, clock)
    named = problem("check/marts/x", open_after_seconds=0, because=("lane/0",))
    for _ in range(30):
        clock.sleep(10)
        book.take(CHECKS, Look((named,)), clock())
    assert titles(book)[1:] == ["[error] check/marts/x"]


def test_when_all_stood_still_no_concern_is_blind_afterwards(book: Book, clock: Hand) -> None:
    open_a_lane_and_look_no_more(book, clock)
    look_for(book, clock, 60)
    clock.now_ms += 8 * HOUR_MS
    look_for(book, clock, LANES.blind_after_seconds - 20)
    assert titles(book) == ["[error] lane/0"]
    assert overdue(book, clock) == []
    look_for(book, clock, 60)
    assert "lanes" in overdue(book, clock)


def test_how_long_it_takes_until_a_concern_is_blind() -> None:
    assert LANES.blind_after_seconds == LEAST_BLIND_SECONDS
    assert DISK.blind_after_seconds == MISSED_LOOKS * DISK.every_seconds
    # Looks are remembered late, and a pause of all must be noticed before the first is overdue.
    assert REMEMBERED_EVERY_MS < STOOD_STILL_MS < LEAST_BLIND_SECONDS * SECOND_MS - REMEMBERED_EVERY_MS


def test_one_that_never_looked_is_blind_as_well(book: Book, clock: Hand) -> None:
    book.take(CHECKS, Look(), clock())
    assert overdue(book, clock) == []
    look_for(book, clock, LEAST_BLIND_SECONDS)
    assert overdue(book, clock) == sorted({one.name for one in CONCERNS} - {"checks", "disk"})
    seen = {one.key: one.summary for one in look_at_looks(book.store.looks(), clock(), LINKS).problems}
    assert seen["look/lanes"].startswith("The concern lanes has never looked: ")
    assert f"look/{OF_LOOKS.name}" not in seen, "It looks at this moment."


def test_that_a_concern_does_not_look_is_told_once_and_when_it_looks_again(book: Book, clock: Hand) -> None:
    def look(*, lanes: bool) -> None:
        for one in CONCERNS:
            if one is not OF_LOOKS and (lanes or one is not LANES):
                book.take(one, Look(), clock())
        book.take(OF_LOOKS, look_at_looks(book.store.looks(), clock(), LINKS), clock())
        clock.sleep(10)

    for number in range(60):
        look(lanes=number < 10)
    assert titles(book) == ["[warning] look/lanes"]
    [told] = book.store.messages(9)
    assert "has not looked since 2027-01-15 08:01:" in told["body"]
    assert "Sensor: https://dagster.example.com/locations/wakeline/sensors/alert_lanes" in told["body"]
    for _ in range(4):
        look(lanes=True)
    assert titles(book)[1:] == ["Recovered: look/lanes"]


def test_a_database_that_is_away_is_told_and_not_who_cannot_look_for_it(book: Book, clock: Hand) -> None:
    away = Look((problem("database/ledger"),))
    for _ in range(60):
        for one in CONCERNS:
            if one not in (LANES, PAUSES, OF_LOOKS):
                book.take(one, away if one.name == "databases" else Look(), clock())
        book.take(OF_LOOKS, look_at_looks(book.store.looks(), clock(), LINKS), clock())
        clock.sleep(10)
    assert titles(book) == ["[error] database/ledger"]


def test_looks_are_not_written_down_one_by_one(book: Book, clock: Hand) -> None:
    book.take(LANES, Look(), clock())
    first = book.store.looks()
    clock.now_ms += REMEMBERED_EVERY_MS - 1
    book.take(LANES, Look(), clock())
    assert book.store.looks() == first
    clock.now_ms += 1
    book.take(LANES, Look(), clock())
    assert book.store.looks()["lanes"].looked_ms == clock()


def test_the_command_shows_since_when_a_concern_has_not_looked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Hand
) -> None:
    (tmp_path / "wakeline.toml").write_text('data_dir = "."\n', encoding="utf-8")
    monkeypatch.setenv(CONFIG_VARIABLE, str(tmp_path / "wakeline.toml"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("wakeline.alerts.cli.system_clock", clock)

    def shown(*options: str) -> str:
        return CliRunner(catch_exceptions=False).invoke(cli, ["alerts", *options]).output

    with open_book(Settings(data_dir=tmp_path)) as book:
        book.take(LANES, Look((LANE,)), clock())
        assert "have not looked" not in shown()
        look_for(book, clock, 5 * MINUTE_MS / SECOND_MS)
    [line] = [line for line in shown().splitlines() if "alert_lanes" in line]
    assert "2027-01-15T08:00:00.000Z" in line
    found = json.loads(shown("--json"))
    entry = {"concern": "lanes", "sensor": "alert_lanes", "looked": "2027-01-15T08:00:00.000Z", "blind": True}
    assert entry in found["concerns"]
    assert {one["key"]: one["blind"] for one in found["open"]} == {"lane/0": True, LAG.key: False}


@pytest.mark.stack
def test_the_same_on_postgres(postgres: "PostgresServer", tmp_path: Path, clock: Hand) -> None:
    chosen = Settings.model_validate({"data_dir": tmp_path, "alerts": {"url": postgres.create_database()}})
    with open_book(chosen) as book:
        open_a_lane_and_look_no_more(book, clock)
        look_for(book, clock, LANES.blind_after_seconds + 60)
        assert titles(book) == ["[error] lane/0", "[error] check/event_stream/lag_within_sla"]
