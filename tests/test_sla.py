"""Heartbeats, holds and service levels on a real warehouse and ledger."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest
from support.clocks import HOUR_MS, MINUTE_MS, NOW_MS, SECOND_MS, Hand
from support.messages import Message, append, identify, track
from support.sending import RecordingEsp, answered, intended
from support.shop import expected_sends, shopping
from support.warehouse import Site, WarehouseProcess, no_warnings

from wakeline.activation.campaigns import load_campaigns
from wakeline.activation.esp.protocol import Accepted
from wakeline.activation.ledger.summary import Summary
from wakeline.clock import system_clock
from wakeline.pipeline.microbatch import MicroBatches
from wakeline.settings import HEARTBEAT_SOURCE
from wakeline.sla import judging, measuring
from wakeline.sla.heartbeats import EVENT, heartbeat_ids
from wakeline.sla.judging import Activity, Latencies
from wakeline.sla.volume import Minute
from wakeline.warehouse.mirror import Mirror

with no_warnings():  # Of what Dagster imports.
    from orchestration import sla_checks
    from orchestration.sla_checks import build_sla_checks
    from orchestration.streaming import EVENT_STREAM, LANDING, SENDS, campaign_key
    from sensors import sla as sensors_sla
    from sensors.sla import sla_sensor
    from wakeline.warehouse.dbt import run_dbt

pytestmark = pytest.mark.stack

MINUTES = 40
END_MS = NOW_MS + MINUTES * MINUTE_MS
MARKETING = ("abandoned_cart", "category_dwell")
LATE = {"product_recommendations": END_MS - 25 * HOUR_MS}


def beat(site: Site, batches: MicroBatches, number: int = 0) -> None:
    """A heartbeat to each partition arrives."""
    ids = heartbeat_ids(site.settings.stream.partitions)
    messages = [track(EVENT, f"{one}-{site.clock()}-{number}", device=one, at_ms=site.clock()) for one in ids]
    append(batches.stream, messages, site.clock(), HEARTBEAT_SOURCE)


def test_heartbeats_are_in_landing_and_in_traffic_and_nowhere_else(site: Site) -> None:
    with site.micro_batches(RecordingEsp()) as batches:
        asked: list[set[str]] = []
        ask = batches.evaluator.candidates
        batches.evaluator.candidates = lambda touched, *more: asked.append(touched) or ask(touched, *more)  # type: ignore
        append(batches.stream, [identify("m1", user="ann", at_ms=NOW_MS)], NOW_MS)
        beat(site, batches)
        [result] = [one for one in site.work(batches) if one.rows]
        looks = batches.evaluator.looks(NOW_MS - MINUTE_MS, NOW_MS + MINUTE_MS, 2 * MINUTE_MS)
    assert Counter((row.source, row.status) for row in result.rows) == {
        (HEARTBEAT_SOURCE, "accepted"): 4, ("default", "accepted"): 1,
    }  # fmt: skip
    assert asked[0] == {"user:ann"}, "A heartbeat is evaluated for nobody."
    assert list(looks.values()) == [{"user:ann"}], "Nor when a past window is looked at again."
    counts = site.counts()
    assert (counts["landing"], counts["traffic_minutes"]) == (5, 5)
    assert (counts["events"], counts["landing_message_ids"], counts["person_states"]) == (1, 1, 1)
    assert site.rows("SELECT profile_id FROM profile_members") == [("user:ann",)]
    assert sorted(measuring.heartbeats_ms(site.client)) == [0, 1, 2, 3]
    minute_ms = NOW_MS - NOW_MS % MINUTE_MS
    assert measuring.traffic(site.client, NOW_MS, 1) == {minute_ms: Minute(accepted=1, received=1, heartbeats=4)}
    assert measuring.last_customer_ms(site.client) == minute_ms + MINUTE_MS


def test_traffic_is_asked_of_the_window_and_of_the_same_hour_of_earlier_weeks(site: Site) -> None:
    week_ms = 7 * 24 * HOUR_MS
    wanted = [0, 10 * MINUTE_MS, week_ms - 20 * MINUTE_MS, week_ms + 20 * MINUTE_MS, 8 * week_ms]
    others = [40 * MINUTE_MS, week_ms - 40 * MINUTE_MS, week_ms + 40 * MINUTE_MS, 3 * 24 * HOUR_MS, 9 * week_ms]
    with site.micro_batches(RecordingEsp()) as batches:
        for number, ago_ms in enumerate([*wanted, *others]):
            message = identify(f"m{number}", user="ann", at_ms=NOW_MS - ago_ms)
            append(batches.stream, [message], NOW_MS - ago_ms)
        site.work(batches)
    found = measuring.traffic(site.client, NOW_MS, 10)
    assert found == {NOW_MS - ago_ms: Minute(accepted=1, received=1) for ago_ms in wanted}


def test_while_recommendations_are_late_marketing_waits_and_nothing_is_lost(site: Site, clock: Hand) -> None:
    messages = shopping(seed=3, people=40, minutes=MINUTES, start_ms=NOW_MS)
    expected, esp = expected_sends(messages), RecordingEsp()
    clock.now_ms, site.built_at_ms = END_MS, dict(LATE)
    site.play(messages, esp)
    clock.now_ms += HOUR_MS
    site.play([], esp)
    held = {send for send, state in site.sends().items() if state.startswith("held")}
    would_be_sent = {send for send, state in expected.items() if state == "sent"}
    assert held == {send for send in would_be_sent if send[0] in MARKETING}
    assert {campaign for campaign, _, _ in held} == set(MARKETING)
    assert {mail.campaign for mail in esp.requests} == {"order_confirmation"}
    records = [row["record"] for row in site.book.rows() if row["state"] == "held"]
    assert {(one["input"], one["built_at_ms"]) for one in records} == set(LATE.items())

    gone, *_ = sorted(held)
    site.built_at_ms = {"product_recommendations": clock()}
    clock.now_ms += 5 * SECOND_MS
    site.play([], esp)
    assert site.sends() == expected, "Every send that was held is decided, and as it would have been."
    assert len(esp.keys) == len(set(esp.keys)) == len(would_be_sent)
    assert gone in would_be_sent


def test_what_expires_while_its_inputs_are_late_is_skipped(site: Site, clock: Hand) -> None:
    messages = shopping(seed=3, people=40, minutes=MINUTES, start_ms=NOW_MS)
    expected, esp = expected_sends(messages), RecordingEsp()
    clock.now_ms, site.built_at_ms = END_MS, dict(LATE)
    site.play(messages, esp)
    clock.now_ms += 48 * HOUR_MS
    site.play([], esp)
    held = [send for send, state in expected.items() if state == "sent" and send[0] in MARKETING]
    decided = site.sends()
    assert held
    assert {decided[send] for send in held if send in decided} == {"skipped:expired"}
    assert "held" not in {state.partition(":")[0] for state in decided.values()}
    assert {mail.campaign for mail in esp.requests} == {"order_confirmation"}


def test_a_table_is_as_old_as_its_last_successful_build(warehouse: WarehouseProcess, site: Site) -> None:
    before = measuring.built_at_ms(site.client)["product_recommendations"]
    assert abs(system_clock() - before) < 24 * HOUR_MS
    arguments = ["run", "--select", "product_recommendations"]
    broken = warehouse.settings.model_copy(update={"dbt_vars": {"recommendations_per_product": "x"}})
    with no_warnings():
        assert not run_dbt(broken, arguments).success
    assert measuring.built_at_ms(site.client)["product_recommendations"] == before
    with no_warnings():
        assert run_dbt(warehouse.settings, arguments).success
    assert measuring.built_at_ms(site.client)["product_recommendations"] > before


def test_latency_is_that_of_mails_that_nothing_but_the_esp_held_up(site: Site) -> None:
    for table in ("sends", "send_latencies", "campaign_activity"):
        site.client.command(f"TRUNCATE TABLE {table}")
    lease = site.book.hold()
    told = site.book.claim(lease, *(intended(f"order/{number}") for number in range(10)))
    for number, one in enumerate(told[:8]):
        site.book.ledger.settle([answered(one.claim, Accepted("1"), NOW_MS + number * SECOND_MS)])
    site.book.ledger.pause("order_confirmation", "ann", "a typo", NOW_MS)
    site.book.claim(lease, intended("order/held"))
    site.book.ledger.resume("order_confirmation", "ann", NOW_MS)
    later_ms = NOW_MS + 5 * MINUTE_MS
    [again] = site.book.reclaim(lease, later_ms)
    site.book.ledger.settle([answered(again.claim, Accepted("1"), later_ms)])
    Mirror(site.client, Summary(site.engine)).copy()
    assert measuring.latencies(site.client, NOW_MS + 8 * SECOND_MS, 10, 30) == Latencies(8, 0, 7.0)
    assert measuring.latencies(site.client, NOW_MS + 60 * SECOND_MS, 10, 5) == Latencies(10, 4, 60.0)
    assert measuring.latencies(site.client, NOW_MS + HOUR_MS, 10, 5).count == 0
    seen = [measuring.latencies(site.client, NOW_MS + seconds * SECOND_MS, 1, 5).count for seconds in (119, 121)]
    assert seen == [10, 0], "The minute that has just begun is no window of its own."
    assert measuring.activity(site.client) == {"order_confirmation": Activity(NOW_MS, later_ms)}


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as opened:
        yield opened


@pytest.fixture
def watched(site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """The site, with the sensor over it, which has looked for long."""
    for table in ("sends", "send_latencies", "campaign_activity"):
        site.client.command(f"TRUNCATE TABLE {table}")
    watched = site.with_settings(sla={"window_minutes": 1})
    campaigns = load_campaigns(site.settings.campaigns_dir)
    campaigns["category_dwell"] = campaigns["category_dwell"].model_copy(update={"max_silence_hours": 1.0})
    monkeypatch.setattr(sla_checks, "settings", lambda: watched.settings)
    monkeypatch.setattr(sla_checks, "campaigns", lambda: campaigns)
    monkeypatch.setattr(sla_checks, "lane_store", lambda: site.book.lanes)
    monkeypatch.setattr(sla_checks, "system_clock", site.clock)
    monkeypatch.setattr(sensors_sla, "system_clock", site.clock)
    monkeypatch.setattr(sensors_sla, "_since_ms", [NOW_MS - HOUR_MS])
    sla_checks._models.cache_clear()
    return watched


def tick(instance: dg.DagsterInstance) -> str:
    result = sla_sensor(dg.build_sensor_context(instance=instance))
    assert isinstance(result, dg.SkipReason)
    return str(result.skip_message)


def told(instance: dg.DagsterInstance, asset: dg.AssetKey, check: str) -> list[tuple[bool, str]]:
    """What was said in a check, oldest first."""
    found = instance.event_log_storage.get_asset_check_execution_history(dg.AssetCheckKey(asset, check), limit=100)
    events: list[Any] = [record.event.dagster_event.event_specific_data for record in reversed(found)]  # type: ignore
    return [(event.passed, event.severity.value) for event in events]


def quiet_minute(site: Site, batches: MicroBatches) -> None:
    """Nobody comes for a minute, heartbeats excepted."""
    for number in range(12):
        site.clock.now_ms += 5 * SECOND_MS
        beat(site, batches, number)
        site.work(batches)


def test_a_quiet_night_keeps_every_service_level_and_each_fault_fails_its_own_check(
    watched: Site, instance: dg.DagsterInstance
) -> None:
    with watched.micro_batches(RecordingEsp()) as batches:
        quiet_minute(watched, batches)
        for _ in range(3):
            assert tick(instance) == "All service levels are kept."
        assert told(instance, EVENT_STREAM, judging.HEARTBEAT_ARRIVES) == [(True, "ERROR")]

        for _ in range(8):  # No heartbeat: the collector is down, and the lane goes on reading.
            watched.clock.now_ms += 5 * SECOND_MS
            watched.work(batches)
        said = tick(instance)
        assert said.startswith("The last heartbeat in partition")
        assert said == tick(instance)
        beat(watched, batches)
        watched.work(batches)
        assert tick(instance) == "All service levels are kept."

        watched.clock.now_ms += 40 * SECOND_MS  # The lane is dead.
        assert tick(instance) == "Lane 0 has read what was appended until 40 s ago; 30 s are allowed."
        beat(watched, batches)
        watched.work(batches)
        assert tick(instance) == "All service levels are kept."

        bad: list[Message] = [{"type": "track", "messageId": f"bad-{number}"} for number in range(60)]
        append(batches.stream, bad, watched.clock())
        watched.work(batches)
        assert tick(instance).startswith("60 of 60 events of the last 1 minutes are in quarantine")
        watched.clock.now_ms += MINUTE_MS
        quiet_minute(watched, batches)
        assert tick(instance) == "All service levels are kept."
    failed_once = [(True, "ERROR"), (False, "ERROR"), (True, "ERROR")]
    assert told(instance, EVENT_STREAM, judging.HEARTBEAT_ARRIVES) == failed_once
    assert told(instance, EVENT_STREAM, judging.LAG) == failed_once
    assert told(instance, LANDING, judging.QUARANTINE) == failed_once
    assert told(instance, EVENT_STREAM, judging.VOLUME) == [(True, "WARN")]
    assert told(instance, SENDS, judging.LATENCY) == [(True, "ERROR")]
    assert told(instance, campaign_key("category_dwell"), judging.SENDS) == [(True, "ERROR")]


def test_after_a_start_of_everything_nothing_is_failed_that_may_still_come(
    watched: Site, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    with watched.micro_batches(RecordingEsp()) as batches:
        beat(watched, batches)
        watched.work(batches)
    watched.clock.now_ms += HOUR_MS
    monkeypatch.setattr(sensors_sla, "_since_ms", [])
    assert tick(instance) == "All service levels are kept."
    assert told(instance, EVENT_STREAM, judging.LAG) == []
    watched.clock.now_ms += 121 * SECOND_MS
    assert tick(instance).startswith("Lane 0 has read what was appended until 3721 s ago")


def test_a_warehouse_that_does_not_answer_is_said_and_no_check_of_it_lies(
    watched: Site, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    with watched.micro_batches(RecordingEsp()) as batches:
        beat(watched, batches)
        watched.work(batches)
    closed = watched.with_settings(warehouse={"port": 1}).settings
    monkeypatch.setattr(sla_checks, "settings", lambda: closed)
    assert tick(instance).startswith("ClickHouse does not answer at 127.0.0.1:1; ")
    assert told(instance, EVENT_STREAM, judging.LAG) == [(True, "ERROR")]
    assert told(instance, EVENT_STREAM, judging.HEARTBEAT_ARRIVES) == []


def test_each_check_can_be_run_by_hand(watched: Site, instance: dg.DagsterInstance) -> None:
    check = build_sla_checks()
    one = dg.AssetCheckKey(EVENT_STREAM, judging.LAG)
    jobs = {"all": dg.AssetSelection.checks(check), "one": dg.AssetSelection.checks(one)}
    defined = dg.Definitions(
        assets=[dg.AssetSpec(key) for key in {key.asset_key for key in check.check_keys}],
        asset_checks=[check],
        jobs=[dg.define_asset_job(name, selection=selection) for name, selection in jobs.items()],
    )
    assert defined.resolve_job_def("one").execute_in_process(instance=instance).success
    assert told(instance, EVENT_STREAM, judging.LAG) == [(False, "ERROR")], "No lane has ever read."
    assert told(instance, LANDING, judging.QUARANTINE) == []
    assert defined.resolve_job_def("all").execute_in_process(instance=instance).success
    assert told(instance, LANDING, judging.QUARANTINE) == [(True, "ERROR")]
