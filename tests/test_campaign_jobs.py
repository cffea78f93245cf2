"""Pausing and resuming campaigns from Dagster, each in a run of the real job."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from support.clocks import NOW_MS
from support.mailing import ROOT
from support.sending import Book, intended
from support.warehouse import no_warnings

from wakeline.engines import open_sqlite
from wakeline.errors import ConfigError
from wakeline.settings import Settings, load_settings

CAMPAIGN = "order_confirmation"


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as opened:
        yield opened


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    shutil.copytree(ROOT / "campaigns", tmp_path / "campaigns")
    (tmp_path / "wakeline.toml").write_text('data_dir = "data"\n', encoding="utf-8")
    return load_settings(tmp_path / "wakeline.toml")


@pytest.fixture
def book(settings: Settings) -> Iterator[Book]:
    engine = open_sqlite(settings.ledger_path)
    yield Book(engine)
    engine.dispose()


@pytest.fixture
def jobs(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module of the jobs, on the deployment."""
    with no_warnings():
        from orchestration import campaigns

    monkeypatch.setattr(campaigns, "settings", lambda: settings)
    monkeypatch.setattr(campaigns, "system_clock", lambda: NOW_MS)
    return campaigns


def run(instance: dg.DagsterInstance, job: dg.JobDefinition, **config: str) -> dg.ExecuteInProcessResult:
    [node] = job.nodes
    return job.execute_in_process(instance=instance, run_config={"ops": {node.name: {"config": config}}})


def metadata(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    [output] = [event for event in result.all_node_events if event.is_successful_output]
    return {name: value.value for name, value in output.step_output_data.metadata.items()}


def test_a_pause_holds_the_campaign_and_names_the_job(instance: dg.DagsterInstance, jobs: Any, book: Book) -> None:
    done = run(instance, jobs.pause_campaign, campaign=CAMPAIGN, reason="wrong price")
    pause = book.ledger.pauses()[CAMPAIGN]
    assert (pause["paused_by"], pause["reason"]) == ("pause_campaign", "wrong price")
    assert [one.reason for one in book.claim(book.hold(), intended())] == ["campaign_paused"]
    assert metadata(done) == {"since": "2027-01-15T08:00:00.000Z", "by": "pause_campaign", "reason": "wrong price"}


def test_an_earlier_pause_stays_and_is_shown(instance: dg.DagsterInstance, jobs: Any, book: Book) -> None:
    book.ledger.pause(CAMPAIGN, "ann", "a typo", NOW_MS - 1)
    done = run(instance, jobs.pause_campaign, campaign=CAMPAIGN, reason="wrong price")
    assert (metadata(done)["by"], metadata(done)["reason"]) == ("ann", "a typo")


def test_a_resume_lets_it_go_on_and_says_whether_it_was_paused(
    instance: dg.DagsterInstance, jobs: Any, book: Book
) -> None:
    book.ledger.pause(CAMPAIGN, "ann", "a typo", NOW_MS - 1)
    assert metadata(run(instance, jobs.resume_campaign, campaign=CAMPAIGN)) == {"was_paused": True}
    assert book.ledger.pauses() == {}
    assert book.ledger.resumes()[CAMPAIGN]["resumed_by"] == "resume_campaign"
    assert metadata(run(instance, jobs.resume_campaign, campaign=CAMPAIGN)) == {"was_paused": False}


def test_a_run_can_be_found_by_its_campaign(instance: dg.DagsterInstance, jobs: Any) -> None:
    run(instance, jobs.pause_campaign, campaign=CAMPAIGN, reason="wrong price")
    [found] = instance.get_runs(dg.RunsFilter(tags={jobs.CAMPAIGN_TAG: CAMPAIGN}))
    assert found.job_name == "pause_campaign"
    own = {name: value for name, value in found.tags.items() if name.startswith("wakeline/")}
    assert own == {jobs.CAMPAIGN_TAG: CAMPAIGN, jobs.KIND_TAG: "campaign"}


@pytest.mark.parametrize("job", ["pause_campaign", "resume_campaign"])
def test_an_unknown_campaign_fails_the_run_with_a_sentence(
    instance: dg.DagsterInstance, jobs: Any, book: Book, job: str
) -> None:
    reason = {"reason": "why"} if job == "pause_campaign" else {}
    with pytest.raises(ConfigError, match="There is no campaign 'nobody'; known are abandoned_cart, "):
        run(instance, getattr(jobs, job), campaign="nobody", **reason)
    assert book.ledger.pauses() == {}
