"""A burst of bounces pauses exactly the campaign that sent them, says so once, and a person lets it go on."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest
from support.clocks import HOUR_MS, MINUTE_MS, NOW_MS
from support.messages import append, track
from support.sending import RecordingEsp, answered, intended
from support.warehouse import Site, no_warnings

from wakeline.activation.campaigns import load_campaigns
from wakeline.activation.esp.protocol import Accepted
from wakeline.activation.ledger.summary import Summary
from wakeline.settings import MAIL_SOURCE
from wakeline.warehouse.mirror import Mirror

with no_warnings():  # Of what Dagster imports.
    from orchestration import deliverability_checks
    from orchestration.deliverability_checks import CHECK, WATCH, build_deliverability_checks
    from orchestration.streaming import campaign_key
    from sensors import deliverability
    from sensors.deliverability import deliverability_sensor

pytestmark = pytest.mark.stack

GUILTY, INNOCENT = "category_dwell", "order_confirmation"
MIN_SENDS = 20


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as opened:
        yield opened


@pytest.fixture
def site(site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """The site, with a watch over it that goes by its clock."""
    site.client.command("TRUNCATE TABLE sends")
    watched = site.with_settings(activation={"deliverability_min_sends": MIN_SENDS})
    for module in (deliverability_checks, deliverability):
        monkeypatch.setattr(module, "settings", lambda: watched.settings)
        monkeypatch.setattr(module, "system_clock", watched.clock)
    campaigns = load_campaigns(watched.settings.campaigns_dir)
    monkeypatch.setattr(deliverability_checks, "campaigns", lambda: campaigns)
    return watched


def send(site: Site, campaign: str, mails: int, first: int = 0) -> list[str]:
    """The keys of mails that the ESP has accepted."""
    lease = site.book.lanes.acquire("0", f"run-{campaign}-{first}", site.clock(), 1)
    assert lease is not None
    all_of_them = [intended(f"o/{first + one}", campaign=campaign, expires_at_ms=site.clock() + HOUR_MS)
                   for one in range(mails)]  # fmt: skip
    claims = [one.claim for one in site.book.claim(lease, *all_of_them, now_ms=site.clock())]
    site.book.ledger.settle([answered(claim, Accepted("1"), site.clock()) for claim in claims])
    site.book.lanes.release(lease)
    return [one.key for one in all_of_them]


def report(site: Site, event: str, keys: list[str], source: str = MAIL_SOURCE, **properties: str) -> None:
    """The ESP reports on mails, and the pipeline takes it in."""
    messages = [
        track(event, f"{event}-{key}-{source}", user="ann", at_ms=site.clock(), idempotency_key=key, **properties)
        for key in keys
    ]
    with site.micro_batches(RecordingEsp()) as batches:
        append(batches.stream, messages, site.clock(), source)
        site.work(batches)


def tick(site: Site, instance: dg.DagsterInstance) -> str:
    Mirror(site.client, Summary(site.engine)).copy()
    result = deliverability_sensor(dg.build_sensor_context(instance=instance))
    assert isinstance(result, dg.SkipReason)
    return str(result.skip_message)


def checks(instance: dg.DagsterInstance, campaign: str) -> list[Any]:
    """Every evaluation of the campaign's check, oldest first."""
    key = dg.AssetCheckKey(campaign_key(campaign), CHECK)
    found = instance.event_log_storage.get_asset_check_execution_history(key, limit=100)
    return [record.event.dagster_event.event_specific_data for record in reversed(found)]


def test_a_burst_of_bounces_pauses_the_guilty_campaign_and_a_person_resumes_it(
    site: Site, instance: dg.DagsterInstance
) -> None:
    guilty, innocent = send(site, GUILTY, 40), send(site, INNOCENT, 40)
    assert tick(site, instance) == "The mails of every campaign arrive."

    report(site, "Email Bounced", guilty[:3], bounce_type="hard")
    report(site, "Email Bounced", innocent[:10], bounce_type="soft")
    report(site, "Email Bounced", innocent[10:20], source="default")
    reason = "3 of 40 mails bounced (7.50%, allowed 2%)"
    for _ in range(2):
        assert tick(site, instance) == f"{GUILTY} is paused: {reason}."
    pauses = site.book.ledger.pauses()
    assert {name: (pause["paused_by"], pause["reason"]) for name, pause in pauses.items()} == {GUILTY: (WATCH, reason)}
    assert [one.passed for one in checks(instance, INNOCENT)] == [True]
    [before, failed] = checks(instance, GUILTY)
    assert (before.passed, failed.passed, failed.severity) == (True, False, dg.AssetCheckSeverity.ERROR)
    assert {name: value.value for name, value in failed.metadata.items()} == {
        "sends": 40, "bounces": 3, "complaints": 0, "reason": reason,
    }  # fmt: skip

    site.clock.now_ms += 25 * HOUR_MS
    tick(site, instance)
    assert GUILTY in site.book.ledger.pauses(), "The watch resumes nothing."
    assert len(checks(instance, GUILTY)) == 2, "Mails that leave the window are no recovery."
    site.book.ledger.resume(GUILTY, "ann", site.clock())
    assert tick(site, instance) == "The mails of every campaign arrive."
    assert [one.passed for one in checks(instance, GUILTY)] == [True, False, True]


def test_after_a_resume_only_later_mails_count(site: Site, instance: dg.DagsterInstance) -> None:
    first = send(site, GUILTY, 40)
    report(site, "Email Marked as Spam", first[:1])
    tick(site, instance)
    assert GUILTY in site.book.ledger.pauses()
    site.clock.now_ms += MINUTE_MS
    site.book.ledger.resume(GUILTY, "ann", site.clock())
    report(site, "Email Bounced", first[1:30])
    tick(site, instance)
    assert site.book.ledger.pauses() == {}, "These mails are from before the resume."
    site.clock.now_ms += MINUTE_MS
    second = send(site, GUILTY, 40, first=100)
    tick(site, instance)
    assert site.book.ledger.pauses() == {}
    report(site, "Email Bounced", second[:1])
    tick(site, instance)
    assert site.book.ledger.pauses()[GUILTY]["reason"] == "1 of 40 mails bounced (2.50%, allowed 2%)"


def test_few_mails_and_old_mails_are_not_judged(site: Site, instance: dg.DagsterInstance) -> None:
    report(site, "Email Bounced", send(site, GUILTY, MIN_SENDS - 1))
    report(site, "Email Bounced", send(site, INNOCENT, 40))
    site.clock.now_ms += 24 * HOUR_MS
    tick(site, instance)
    assert site.book.ledger.pauses() == {}


def test_a_pause_by_a_person_is_not_taken_over(site: Site, instance: dg.DagsterInstance) -> None:
    report(site, "Email Bounced", send(site, GUILTY, 40))
    site.book.ledger.pause(GUILTY, "ann", "a typo", NOW_MS)
    tick(site, instance)
    assert site.book.ledger.pauses()[GUILTY]["paused_by"] == "ann"
    assert [one.passed for one in checks(instance, GUILTY)] == [False]


def test_a_warehouse_that_does_not_answer_is_one_sentence_and_pauses_nothing(
    site: Site, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = site.with_settings(warehouse={"port": 1}).settings
    monkeypatch.setattr(deliverability_checks, "settings", lambda: closed)
    result = deliverability_sensor(dg.build_sensor_context(instance=instance))
    assert isinstance(result, dg.SkipReason)
    assert str(result.skip_message).startswith("ClickHouse does not answer at 127.0.0.1:1; ")
    assert site.book.ledger.pauses() == {}


def test_the_check_can_be_run_by_hand_and_pauses_nothing(site: Site, instance: dg.DagsterInstance) -> None:
    report(site, "Email Bounced", send(site, GUILTY, 40))
    Mirror(site.client, Summary(site.engine)).copy()
    check = build_deliverability_checks()
    job = dg.Definitions(
        assets=[dg.AssetSpec(campaign_key(name)) for name in deliverability_checks.campaigns()],
        asset_checks=[check],
        jobs=[dg.define_asset_job("checks", selection=dg.AssetSelection.checks(check))],
    ).resolve_job_def("checks")
    assert job.execute_in_process(instance=instance).success
    assert [one.passed for one in checks(instance, GUILTY)] == [False]
    assert [one.passed for one in checks(instance, INNOCENT)] == [True]
    assert site.book.ledger.pauses() == {}
