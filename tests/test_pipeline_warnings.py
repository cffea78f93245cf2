"""A warning that repeats itself is said once a minute, with how often it came."""

from support.clocks import Hand

from wakeline.pipeline.warnings import PAUSE_MS, Warnings


def test_a_sentence_is_said_at_once_and_its_repetitions_are_counted(clock: Hand) -> None:
    said: list[str] = []
    warn = Warnings(said.append, clock)
    for _ in range(120):
        warn("ClickHouse is gone.")
        clock.now_ms += 500
    warn("ClickHouse is gone.")
    assert said == ["ClickHouse is gone.", "ClickHouse is gone. (119 times more since it was said last)"]
    assert (warn.count, warn.last) == (121, "ClickHouse is gone.")


def test_another_sentence_is_not_held_back(clock: Hand) -> None:
    said: list[str] = []
    warn = Warnings(said.append, clock)
    warn("ClickHouse is gone.")
    warn("The ledger is gone.")
    warn("ClickHouse is gone.")
    assert said == ["ClickHouse is gone.", "The ledger is gone."]
    assert warn.last == "ClickHouse is gone."


def test_a_sentence_that_comes_again_much_later_is_new(clock: Hand) -> None:
    said: list[str] = []
    warn = Warnings(said.append, clock)
    warn("ClickHouse is gone.")
    clock.now_ms += PAUSE_MS
    warn("ClickHouse is gone.")
    assert said == ["ClickHouse is gone.", "ClickHouse is gone."]
