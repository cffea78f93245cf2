"""A resident run tells Dagster often what people look at, seldom the rest, and at its end the whole story."""

from typing import Any

import pytest
from support.clocks import NOW_MS, Hand
from support.warehouse import no_warnings

from wakeline.activation.claims import Decided
from wakeline.pipeline.classify import LandingRow
from wakeline.pipeline.microbatch import BatchResult
from wakeline.pipeline.warnings import Warnings
from wakeline.settings import LaneSettings

with no_warnings():  # Of what Dagster imports.
    import dagster as dg

    from orchestration.reporting import STREAMED_MODELS, Reporter
    from orchestration.reports import story

SETTINGS = LaneSettings(report_seconds=60, states_report_seconds=180)
OFTEN = {"landing", "sends"}
SELDOM = {"event_stream", *STREAMED_MODELS, "campaigns/abandoned_cart"}


class Told:
    """What Dagster was told since the last look."""

    def __init__(self, clock: Hand) -> None:
        self.clock = clock
        self.events: list[dg.AssetMaterialization] = []
        self.reporter = Reporter(SETTINGS, clock, lambda: NOW_MS, self.events.append, leads=True)

    def batch(self, rows: int = 1, sends: int = 1) -> None:
        row = LandingRow(0, 1, NOW_MS, NOW_MS, "shop", b"", occurred_at_ms=NOW_MS)
        decided = [Decided("abandoned_cart", None, "claimed", "")] * sends
        self.reporter.add(BatchResult({0: (0, rows)}, [row] * rows, decided, latency_ms=5))

    def look(self, everything: bool = False) -> set[str]:
        self.reporter.report(everything)
        told = {event.asset_key.to_user_string() for event in self.events}
        self.events.clear()
        return told

    def numbers(self, asset: str) -> dict[str, Any]:
        self.reporter.report(everything=True)
        [event] = [one for one in self.events if one.asset_key == dg.AssetKey(asset)]
        return {name: one.value for name, one in event.metadata.items()}


@pytest.fixture
def told(clock: Hand) -> Told:
    return Told(clock)


def test_the_first_change_is_told_at_once_and_then_each_at_its_pace(told: Told) -> None:
    paces = []
    for _ in range(25):  # Six minutes of looks, fifteen seconds apart.
        told.batch()
        paces.append(told.look())
        told.clock.now_ms += 15_000
    assert [number for number, names in enumerate(paces) if names & OFTEN] == [0, 4, 8, 12, 16, 20, 24]
    assert [number for number, names in enumerate(paces) if names & SELDOM] == [0, 12, 24]
    assert paces[0] == paces[12] == OFTEN | SELDOM


def test_what_nothing_changed_in_is_not_told(told: Told) -> None:
    told.batch(rows=1, sends=0)
    assert told.look() == {"landing", "event_stream", *STREAMED_MODELS}
    told.clock.now_ms += 600_000
    assert told.look() == set()
    told.batch(rows=0, sends=1)
    assert told.look() == {"sends", "campaigns/abandoned_cart"}


def test_nothing_is_lost_between_two_reports_and_at_the_end_everything_is_told(told: Told) -> None:
    told.batch()
    told.look()
    told.batch(rows=3)
    told.reporter.add_copied(7)
    assert told.look() == set()
    told.batch(rows=4)
    numbers = told.numbers("landing")
    assert (numbers["received"], numbers["batches"]) == (7, 2)
    assert told.reporter.whole().rows == 8


def test_a_report_says_how_fast_and_how_far_behind(told: Told) -> None:
    told.clock.now_ms += 2_000
    told.batch(rows=30)
    told.clock.now_ms += 1_000
    numbers = told.numbers("landing")
    assert (numbers["events_per_second"], numbers["lag_seconds"]) == (10.0, 3.0)


def test_a_quiet_time_does_not_count_to_the_pace_of_events(told: Told) -> None:
    told.clock.now_ms += 3_600_000
    told.look()
    told.batch(rows=30)
    told.clock.now_ms += 1_000
    assert told.numbers("landing")["events_per_second"] == 30.0


def test_the_story_of_a_run_begins_with_what_matters(told: Told, clock: Hand) -> None:
    warnings = Warnings(lambda sentence: None, clock)
    warnings("ClickHouse is gone.")
    told.batch(rows=3, sends=2)
    lines = story(told.reporter.whole(), warnings, "handed over")
    assert list(lines)[:7] == ["ended", "last_warning", "batches", "received", "quarantined", "sent", "skipped"]
    assert {name: lines[name] for name in ("ended", "last_warning", "batches", "received", "claimed", "warnings")} == {
        "ended": "handed over",
        "last_warning": "ClickHouse is gone.",
        "batches": 1,
        "received": 3,
        "claimed": 2,
        "warnings": 1,
    }
