"""Taking parts of a re-activated window back, as somebody at a terminal or in Dagster sees it."""

import json
import shutil
from dataclasses import replace
from typing import Any

import dagster as dg
import pytest
from support.clocks import NOW_MS
from support.deployed import run
from support.sending import Book
from support.warehouse import no_warnings

from wakeline.activation.campaigns import load_campaigns
from wakeline.errors import ReplayError
from wakeline.pipeline.triggers import Occurrence
from wakeline.replay.audit import open_audit
from wakeline.replay.requests import ReplayRequests, Request, open_requests
from wakeline.replay.withdrawing import withdraw_deleted
from wakeline.settings import Settings

FOUND = Occurrence("order_confirmation", "hash", "user:ann", "order/1", NOW_MS, NOW_MS + 1, {})
OF_ORDERS = Request("run-1/1", "0", "run-1/1", "run-1", "order_confirmation", [FOUND], [("user:bob", "key")])
OF_CARTS = replace(OF_ORDERS, request_id="run-1/2", position="run-1/2", campaign="abandoned_cart", failed=[])
ALL = "2 parts of run run-1 (abandoned_cart), 1 parts of run run-2 (order_confirmation)"


@pytest.fixture
def queue(own_book: Book) -> ReplayRequests:
    opened = open_requests(own_book.engine)
    third = replace(OF_CARTS, request_id="run-1/3", position="run-1/3")
    opened.add([replace(OF_ORDERS, run_id="run-2"), OF_CARTS, third])
    return opened


def test_without_a_run_or_a_campaign_it_is_listed_what_waits(queue: ReplayRequests) -> None:
    assert run("withdraw-reactivation").output == f"Waiting are {ALL}.\n"
    assert json.loads(run("withdraw-reactivation", "--json").output)["parts"] == 3
    queue.withdraw()
    assert run("withdraw-reactivation").output == "Nothing waits.\n"


def test_what_waits_is_withdrawn_and_in_the_audit(queue: ReplayRequests) -> None:
    done = run("withdraw-reactivation", "--run", "run-2", "--by", "ann")
    assert done.output == "Withdrawn: 1 parts with 2 sends of order_confirmation.\n"
    assert [part.campaign for part in queue.parts()] == ["abandoned_cart"] * 2
    [entry] = json.loads(run("audit", "--json").output)
    assert (entry["operation"], entry["done_by"], entry["state"]) == ("withdraw-reactivation", "ann", "done")
    assert entry["result"] == {"parts": 1, "sends": 2, "runs": ["run-2"], "campaigns": ["order_confirmation"]}
    told = json.loads(run("withdraw-reactivation", "--campaign", "abandoned_cart", "--json").output)
    assert told == {"parts": 2, "sends": 2, "runs": ["run-1"], "campaigns": ["abandoned_cart"]}


def test_what_does_not_wait_is_one_sentence_that_says_what_does(queue: ReplayRequests) -> None:
    with pytest.raises(ReplayError) as raised:
        run("withdraw-reactivation", "--run", "run-2", "--campaign", "abandoned_cart")
    assert str(raised.value) == f"Nothing waits of run run-2 and abandoned_cart. Waiting are {ALL}."


def test_what_waits_for_a_campaign_that_is_gone_is_withdrawn_and_the_audit_says_why(
    settings: Settings, own_book: Book, queue: ReplayRequests
) -> None:
    said: list[str] = []

    def clean_up(dry_run: bool) -> int:
        campaigns = load_campaigns(settings.campaigns_dir)
        return withdraw_deleted(settings, lambda: NOW_MS, campaigns, dry_run, said.append)

    assert clean_up(dry_run=False) == 0
    shutil.rmtree(settings.campaigns_dir / "abandoned_cart")
    assert clean_up(dry_run=True) == 2
    assert (len(queue.parts()), open_audit(own_book.engine).latest(9)) == (3, [])
    assert clean_up(dry_run=False) == 2
    assert [part.campaign for part in queue.parts()] == ["order_confirmation"]
    [entry] = open_audit(own_book.engine).latest(9)
    assert entry.config == {"campaign": "abandoned_cart", "reason": "the campaign is gone"}
    assert (entry.operation, entry.done_by, entry.result["parts"]) == ("withdraw_reactivation", "clean_up", 2)
    waiting = "2 parts of a re-activation wait for campaign 'abandoned_cart', which is gone: they"
    assert said == [f"{waiting} would be withdrawn.", f"{waiting} are withdrawn."]


@pytest.fixture
def jobs(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Any:
    with no_warnings():
        from orchestration import replay_jobs

    monkeypatch.setattr(replay_jobs, "settings", lambda: settings)
    return replay_jobs


def launch(job: dg.JobDefinition, **config: Any) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        job.execute_in_process(instance=instance, run_config={"ops": {"withdraw": {"config": config}}})


def test_the_job_does_the_same(jobs: Any, own_book: Book, queue: ReplayRequests) -> None:
    with pytest.raises(ReplayError, match=r"^Name a run or a campaign\. Waiting are 2 parts"):
        launch(jobs.withdraw_reactivation)
    launch(jobs.withdraw_reactivation, campaign="abandoned_cart", by="ann")
    assert [part.run_id for part in queue.parts()] == ["run-2"]
    entries = open_audit(own_book.engine).latest(9)
    assert [(one.operation, one.done_by, one.state) for one in entries] == [
        ("withdraw_reactivation", "ann", "done"),
        ("withdraw_reactivation", "Dagster", "failed"),
    ]
