"""`clean_up` as it is launched: a dry run unless told otherwise, and its output says what it did and what it left."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from support.clocks import DAY_MS, NOW_MS
from support.sending import answered, intended
from support.stack import PROJECT_DIR
from support.warehouse import Site, no_warnings

from wakeline.activation.campaigns import load_campaigns
from wakeline.activation.esp.protocol import Accepted
from wakeline.activation.ledger.summary import Summary
from wakeline.settings import DagsterSettings
from wakeline.stack.dagster_instance import write_instance
from wakeline.warehouse.mirror import Mirror

with no_warnings():  # Of what Dagster imports.
    from orchestration import retention
    from orchestration.retention import clean_up, clean_up_schedule

pytestmark = pytest.mark.stack


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    write_instance(PROJECT_DIR, tmp_path, DagsterSettings())
    with no_warnings(), dg.DagsterInstance.from_config(str(tmp_path)) as opened:
        yield opened


@pytest.fixture
def site(site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """The site a hundred days after three mails, of which two are in ClickHouse."""
    site.client.command("TRUNCATE TABLE sends")
    kept = site.with_settings(retention={"sends_days": 95.0})
    lease = kept.book.hold()
    for number in range(3):
        if number == 2:
            Mirror(kept.client, Summary(kept.engine)).copy()
        [told] = kept.book.claim(lease, intended(f"order/{number}", expires_at_ms=NOW_MS + DAY_MS))
        kept.book.ledger.settle([answered(told.claim, Accepted("1"))])
    kept.clock.now_ms = NOW_MS + 100 * DAY_MS
    campaigns = load_campaigns(kept.settings.campaigns_dir)
    monkeypatch.setattr(retention, "settings", lambda: kept.settings)
    monkeypatch.setattr(retention, "campaigns", lambda: campaigns)
    monkeypatch.setattr(retention, "system_clock", kept.clock)
    return kept


def launch(instance: dg.DagsterInstance, config: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """What its step's output says, and its log."""
    with no_warnings():
        run = clean_up.execute_in_process(instance=instance, run_config=config)
    [output] = [event for event in run.all_events if event.event_type_value == "STEP_OUTPUT"]
    metadata = {name: one.value for name, one in output.step_output_data.metadata.items()}
    return metadata, "\n".join(entry.user_message for entry in instance.all_logs(run.run_id))


def test_by_hand_it_only_says_and_by_its_schedule_it_deletes(site: Site, instance: dg.DagsterInstance) -> None:
    said, log = launch(instance, {})
    assert (said["dry_run"], said["sends"], said["sends_left"], len(site.book.rows())) == (True, 2, 1, 3)
    assert "1 old sends are left: analytics has no copy of them, or an older one." in log
    scheduled = clean_up_schedule.evaluate_tick(dg.build_schedule_context(instance=instance))
    [request] = scheduled.run_requests or []
    said, _ = launch(instance, request.run_config)
    assert (said["dry_run"], said["sends"], said["sends_left"], len(site.book.rows())) == (False, 2, 1, 1)


def test_without_the_setting_every_send_stays(
    site: Site, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "settings", lambda: site.with_settings(retention={"sends_days": 0.0}).settings)
    said, log = launch(instance, {"ops": {"delete_what_is_old": {"config": {"dry_run": False}}}})
    assert (said["sends"], said["sends_left"], len(site.book.rows())) == (0, 0, 3)
    assert "The ledger keeps every send: retention.sends_days is 0." in log
