"""A past window activated again from Dagster's own page, as somebody on call does: look, then do, and no mail twice."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from playwright.sync_api import Page
from support.browser import open_browser, open_context
from support.stack import DEAR_POLL_SECONDS, PROJECT_DIR, RunningStack, await_that

from wakeline.clock import system_clock, to_iso
from wakeline.database import audit, sends

pytestmark = [pytest.mark.whole_stack, pytest.mark.timeout(400)]

CAMPAIGN = "order_confirmation"
ORDERS = 5
#: The first run of a job imports everything.
RUN_MS = 120_000


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """A stack of a project of its own, which lacks a campaign."""
    folder = tmp_path_factory.mktemp("replay")
    project = folder / "project"
    copy_project(project)
    (project / "campaigns" / CAMPAIGN).rename(folder / CAMPAIGN)
    running = RunningStack(folder, {"WAKELINE_PROJECT_DIR": str(project)})
    running.settings = running.settings.model_copy(update={"project_dir": project})
    try:
        running.start()
        yield running
    finally:
        running.kill()


def copy_project(project: Path) -> None:
    """Links to all there is, and campaigns that can be changed."""
    project.mkdir()
    for entry in PROJECT_DIR.iterdir():
        if entry.name != "campaigns" and not entry.name.startswith("."):
            (project / entry.name).symlink_to(entry)
    shutil.copytree(PROJECT_DIR / "campaigns", project / "campaigns")


def test_a_window_is_looked_at_and_then_activated_again_from_the_page(stack: RunningStack) -> None:
    began_ms = system_clock()
    for number in range(ORDERS):
        buy(stack, number)
    await_that("the orders have landed", lambda: sum(stack.landed().values()) == ORDERS, 120, DEAR_POLL_SECONDS)
    assert stack.mails() == {}
    put_campaign_back(stack)
    window = {"from_time": to_iso(began_ms), "to_time": to_iso(system_clock()), "campaign": CAMPAIGN, "by": "ann"}

    with open_browser() as browser, open_context(browser, viewport={"width": 1500, "height": 1600}) as context:
        page = context.new_page()
        launch(page, stack, window)
        page.get_by_text(f"{ORDERS} would be sent").first.wait_for(timeout=RUN_MS)
        assert stack.mails() == {}
        launch(page, stack, {**window, "execute": True})
        page.get_by_text(f"What became of them until now: {ORDERS} sent").first.wait_for(timeout=RUN_MS)

    rows = stack.ledger(sa.select(sends.c.idempotency_key, sends.c.state))
    assert sorted(row["state"] for row in rows) == ["sent"] * ORDERS
    assert stack.mails().keys() == {row["idempotency_key"] for row in rows}
    entries = stack.ledger(sa.select(audit).order_by(audit.c.began_at_ms))
    assert [(one["done_by"], one["config"]["execute"]) for one in entries] == [("ann", False), ("ann", True)]


def buy(stack: RunningStack, number: int) -> None:
    line = {"product_id": "p1", "name": "Tote", "price": 45.0, "quantity": 1}
    message = {
        "userId": f"u{number}", "event": "Order Completed", "context": {"traits": {"email": f"u{number}@example.com"}},
        "properties": {"order_id": f"o{number}", "total": 45.0, "currency": "EUR", "products": [line]},
    }  # fmt: skip
    collector = stack.settings.collector
    url = f"http://{collector.host}:{collector.port}/v1/track"
    httpx.post(url, json=message, auth=(collector.write_key, "")).raise_for_status()


def put_campaign_back(stack: RunningStack) -> None:
    """The campaign is there again, and the lane's next run knows it."""
    folder = stack.settings.campaigns_dir
    (folder.parent.parent / CAMPAIGN).rename(folder / CAMPAIGN)
    before = stack.lane()
    stack.cancel(before.holder)
    await_that("the next run has the lane", lambda: is_next(stack, before.fencing_token), 120, DEAR_POLL_SECONDS)


def is_next(stack: RunningStack, token: int) -> bool:
    state = stack.lane()
    return state.fencing_token > token and state.expires_at_ms > system_clock()


def launch(page: Page, stack: RunningStack, config: dict[str, Any]) -> None:
    """Type the config into the launchpad of the job and launch it; returns on the page of the run."""
    dagster = stack.settings.dagster
    page.goto(f"http://{dagster.host}:{dagster.port}/locations/wakeline/jobs/reactivate_window/playground")
    editor = page.locator(".CodeMirror").first
    editor.click()
    page.keyboard.press("Control+A")
    page.keyboard.insert_text(json.dumps({"ops": {"reactivate": {"config": config}}}))
    page.get_by_role("button", name="Launch Run").click()
    page.wait_for_url("**/runs/**", timeout=RUN_MS)
