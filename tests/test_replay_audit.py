"""Who did what by hand: kept before it is done, and shown with what came of it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from support.clocks import NOW_MS, Hand
from support.ledgers import BACKENDS, OpenBook, books
from support.sending import DynamoBook

from wakeline.cli import cli
from wakeline.errors import ConfigError
from wakeline.replay.audit import AuditLog, Doing, audited, audited_on, open_audit
from wakeline.settings import CONFIG_VARIABLE, Settings, load_settings

DOING = Doing("pause_lane", "ann", "run-1", {"lane": "0"})


@pytest.fixture(params=BACKENDS)
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[AuditLog]:
    with books(request.param, request, tmp_path) as opener:
        yield audit_of(opener)


def audit_of(opener: OpenBook) -> AuditLog:
    book = opener()
    return open_audit(book.table if isinstance(book, DynamoBook) else book.engine)


def test_an_entry_is_there_before_anything_is_done_and_ends_with_its_result(log: AuditLog, clock: Hand) -> None:
    with audited(log, clock, DOING) as result:
        [begun] = log.latest(10)
        assert (begun.state, begun.ended_at_ms, begun.config) == ("started", None, {"lane": "0"})
        clock.now_ms += 5
        result["was_paused"] = False
    [done] = log.latest(10)
    assert (done.operation, done.done_by, done.run_id) == ("pause_lane", "ann", "run-1")
    assert (done.state, done.result, done.error) == ("done", {"was_paused": False}, "")
    assert (done.began_at_ms, done.ended_at_ms) == (NOW_MS, NOW_MS + 5)


def test_what_fails_is_kept_with_its_sentence_and_goes_on(log: AuditLog, clock: Hand) -> None:
    def fail() -> None:
        with audited(log, clock, DOING) as result:
            result["hours"] = 1
            raise ConfigError("There is no lane 7.")

    with pytest.raises(ConfigError):
        fail()
    [failed] = log.latest(10)
    assert (failed.state, failed.error, failed.result) == ("failed", "There is no lane 7.", {"hours": 1})


def test_the_text_of_an_unknown_error_is_not_kept(log: AuditLog, clock: Hand) -> None:
    with pytest.raises(ValueError, match="ann@"), audited(log, clock, DOING):
        raise ValueError("ann@example.com")
    assert [entry.error for entry in log.latest(10)] == ["ValueError"]


def test_the_newest_come_first_and_no_more_than_asked_for(log: AuditLog, clock: Hand) -> None:
    for number in range(3):
        clock.now_ms += 1
        with audited(log, clock, Doing(f"job-{number}", "ann", "", {})):
            pass
    assert [entry.operation for entry in log.latest(2)] == ["job-2", "job-1"]


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    (tmp_path / "wakeline.toml").write_text('data_dir = "data"\n', encoding="utf-8")
    monkeypatch.setenv(CONFIG_VARIABLE, str(tmp_path / "wakeline.toml"))
    monkeypatch.setenv("COLUMNS", "300")
    return load_settings()


def shown(*options: str) -> str:
    return CliRunner(catch_exceptions=False).invoke(cli, ["audit", *options]).output


def test_the_command_shows_who_when_what_and_what_came_of_it(settings: Settings, clock: Hand) -> None:
    assert shown() == "Nothing was done by hand yet.\n"
    with audited_on(settings, clock, DOING) as result:
        result["sent"] = 3
    for part in ("2027-01-15T08:00:00.000Z", "ann", "pause_lane", "lane=0", "done: sent=3"):
        assert part in shown()
    [entry] = json.loads(shown("--json"))
    assert (entry["operation"], entry["config"], entry["result"]) == ("pause_lane", {"lane": "0"}, {"sent": 3})
