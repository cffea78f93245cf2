import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

from deployment import overlapping, settings_text
from load import Plan, Post, Requests, Tally
from measure import STAGES, latencies
from render import markdown, table
from resources import parse_stat
from results import Step, Totals, events_per_post, faults, highest_sustained
from streams import Case, Result, streams_table
from summary import summary
from traffic import VISIT, Traffic, identified, is_order, new_people, order_id, scheduled_at_ms

from wakeline.pipeline.classify import classify
from wakeline.pipeline.percentiles import percentiles
from wakeline.settings import load_settings
from wakeline.streams.protocol import Record

PLAN = Plan("127.0.0.1", 8200, "key", "bench-x", 1_000, 1, 1_000_000, 10, warm_up_seconds=2, known_people=100)
TOTALS = Totals(
    accepted=1_000,
    unanswered=0,
    orders_accepted=10,
    orders_unanswered=0,
    landed={"accepted": 1_000, "duplicate": 0, "quarantined": 0},
    decisions=10,
    orders_decided=10,
    states={"sent": 12, "skipped": 1},
    mails=12,
)
LATENCY = {stage: summary([100.0, 200.0, 300.0]) for stage, _, _ in STAGES}
STEP = Step(
    rate=1_000,
    events_per_post=1,
    seconds=30,
    offered_per_second=1_000,
    accepted_per_second=999.5,
    refused=0,
    lag_seconds=0.1,
    unread_events=12,
    drained_after_seconds=0.2,
    processed_per_second=998.2,
    cpu_ms_per_event=1.25,
    latency_ms=LATENCY,
    late_ms=summary([1.0]),
    answer_ms=summary([2.0]),
    resources={"warehouse": {"cores": 0.5, "rss_bytes": 400e6}, "generator": {"cores": 0.1, "rss_bytes": 30e6}},
)
FACTS = {"machine": {"cores": 2, "libraries": {"dagster": "1.2.3"}}, "stream": "kafka", "lanes": 2}


def test_posts_are_due_at_the_rate_whatever_became_of_those_before() -> None:
    assert [PLAN.due_ms(post) for post in (0, 1, 500)] == [1_000_000, 1_000_001, 1_000_500]
    batches = replace(PLAN, rate=10_000, events_per_post=100)
    assert [batches.due_ms(post) for post in (0, 1, 100)] == [1_000_000, 1_000_010, 1_001_000]
    assert (PLAN.posts, batches.posts, batches.warm_up_posts) == (10_000, 1_000, 200)


def test_one_event_in_a_hundred_is_an_order_with_an_id_of_its_own_evenly_spread() -> None:
    traffic = Traffic("bench-x", 1_000, 100)
    orders = {
        index: event["properties"]["order_id"]
        for index in range(10_000)
        if (event := traffic.event(index, index)).get("event") == "Order Completed"
    }
    assert list(orders) == [index for index in range(10_000) if is_order(index)] == list(range(19, 10_000, 100))
    assert len(set(orders.values())) == 100
    assert all(scheduled_at_ms(order) == index for index, order in orders.items())


def test_the_time_an_order_was_due_is_found_in_its_occurrence_key_too() -> None:
    assert scheduled_at_ms("order/" + order_id("bench-0.5", 1_234, 19)) == 1_234


def test_every_buyer_was_identified_with_an_address_before() -> None:
    traffic, known, first_people = Traffic("bench-x", 1_000, 100), set(), 100
    buyers = []
    for index in range(60_000):
        event = traffic.event(index, index)
        if event["type"] == "identify":
            assert "@example.com" in event["traits"]["email"]
            assert event["context"]["consent"] == {"categoryPreferences": {"marketing": True}}
            known.add(event["userId"])
        elif event.get("event") == "Order Completed":
            buyers.append(event["userId"])
    assert first_people < len(known) == new_people(60_000)
    before = {identified(number, 0)["userId"] for number in range(first_people)}
    assert set(buyers) <= known | before
    assert before <= {traffic.event(index, 0)["userId"] for index in range(60_000)}


@pytest.mark.parametrize("events", [1, 20, 21, 40, 41, 2_000, 2_021])
def test_the_next_load_counts_nobody_as_known_who_was_not_made_known(events: int) -> None:
    traffic = Traffic("bench-x", 1_000, 100)
    assert new_people(events) == sum(traffic.event(index, index)["type"] == "identify" for index in range(events))


def test_a_visit_is_long_enough_for_a_step_to_have_all_kinds_of_events() -> None:
    traffic = Traffic("bench-x", 100, 100)
    kinds = Counter((event := traffic.event(index, 0)).get("event", event["type"]) for index in range(10_000))
    assert set(kinds) == {
        "page", "identify", "Product List Viewed", "Product Viewed", "Product Added", "Page Engaged", "Order Completed",
    }  # fmt: skip
    assert kinds["Page Engaged"] > kinds["page"] > kinds["Product Added"] > kinds["Order Completed"] == 100
    assert len(VISIT) == 20


@pytest.mark.parametrize(("per_post", "path"), [(1, b"POST /v1/"), (50, b"POST /v1/batch ")])
def test_requests_carry_events_that_landing_accepts(per_post: int, path: bytes) -> None:
    requests = Requests(replace(PLAN, events_per_post=per_post))
    head, _, body = requests.post(3).request.partition(b"\r\n\r\n")
    assert head.startswith(path)
    assert f"Content-Length: {len(body)}".encode() in head
    content = orjson.loads(body)
    messages = content.get("batch", [content])
    assert len(messages) == per_post
    for message in messages:
        envelope = b'{"receivedAt":1000005,"source":"default","sentAt":null}\n' + orjson.dumps(message)
        assert classify(Record(0, 0, 1_000_006, "", envelope), 10_000).status == "accepted"


def test_the_first_people_are_identified_by_a_load_that_knows_nobody() -> None:
    posts = [Requests(replace(PLAN, known_people=0)).post(number).request for number in range(3)]
    assert all(b"POST /v1/identify " in post for post in posts)
    assert len({orjson.loads(post.partition(b"\r\n\r\n")[2])["userId"] for post in posts}) == 3


def test_latencies_count_from_when_a_post_was_due_and_leave_the_warm_up_out() -> None:
    tally = Tally(PLAN)
    tally.add(Post(10, 1_000.0, b"", sent_ms=9_000.0), 200, 9_100.0)
    tally.add(Post(2_000, 3_000.0, b"", sent_ms=3_050.0), 200, 3_080.0)
    tally.add(Post(2_019, 3_019.0, b"", sent_ms=3_019.0), 503, 3_020.0)
    tally.add(Post(2_020, 3_020.0, b""), 0, 4_020.0)
    said = tally.as_dict()
    assert (said["accepted"], said["refused"], said["unanswered"]) == (2, 1, 1)
    assert (said["measured_accepted"], said["measured_refused"], said["order_refused"]) == (1, 1, 1)
    assert said["posts_by_status"] == {"0": 1, "200": 2, "503": 1}
    assert said["answer_ms"]["max"] == 1_000
    assert tally.late_ms[:2] == [50.0, 0.0]


def test_a_summary_is_the_percentiles_with_maximum_and_count() -> None:
    values = [float(value) for value in range(1, 1_001)]
    expected = {name: round(value, 1) for name, value in percentiles(values).items()}
    assert summary(values) == {**expected, "max": 1_000.0, "count": 1_000}
    assert summary([]) == {"count": 0}


def test_stage_latencies_are_those_of_mails_due_after_the_warm_up() -> None:
    times = dict.fromkeys({name for _, *pair in STAGES for name in pair}, 500)
    sent = {"state": "sent", **times, "due_at_ms": 400, "received_at_ms": 410, "esp_accepted_at_ms": 600}
    rows = [sent, {**sent, "due_at_ms": 100}, {**sent, "state": "skipped", "esp_accepted_at_ms": None}]
    found = latencies(rows, from_ms=300)
    assert {name: found[name]["p50"] for name in ("posted", "total", "total_from_due")} == {
        "posted": 10, "total": 190, "total_from_due": 200,
    }  # fmt: skip
    assert all(values["count"] == 1 for values in found.values())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, ""),
        ({"lag_seconds": 2.0}, "lag 2.0 s"),
        ({"refused": 7}, "7 events refused"),
        ({"stopped_early": True}, "stopped early"),
        ({"late_ms": summary([5_000.0])}, "the generator fell behind"),
        ({"latency_ms": {**LATENCY, "total_from_due": summary([2_000.0])}}, "p95 2,000 ms"),
        ({"latency_ms": {**LATENCY, "total_from_due": summary([])}}, "no mail"),
        ({"not_sent": {"skipped no_address": 3}}, "3 orders not mailed"),
    ],
)
def test_a_rate_is_sustained_unless_there_is_a_reason(change: dict[str, object], reason: str) -> None:
    assert replace(STEP, **change).not_sustained == reason


def test_the_highest_sustained_rate_is_below_the_first_that_is_not() -> None:
    steps = [replace(STEP, rate=rate, refused=int(rate == 5_000)) for rate in (100, 1_000, 5_000, 10_000)]
    assert highest_sustained(steps) == 1_000
    assert highest_sustained(steps[2:]) is None


def test_high_rates_come_in_batches() -> None:
    assert [events_per_post(rate) for rate in (100, 1_000, 2_000, 5_000, 20_000)] == [1, 1, 50, 50, 100]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"accepted": 1_003}, "3 accepted events did not land."),
        ({"accepted": 998}, "2 events landed that nobody posted."),
        ({"landed": {"accepted": 999, "duplicate": 1}}, "1 events count as duplicates."),
        ({"landed": {"accepted": 999, "quarantined": 1}}, "1 events are quarantined."),
        ({"orders_accepted": 11}, "1 accepted orders have no decision."),
        ({"decisions": 11}, "1 orders were decided on twice."),
        ({"mails": 13}, "12 sends are 'sent', but there are 13 mails."),
        ({"states": {"sent": 12, "unknown": 1}}, "1 sends are 'unknown'."),
    ],
)
def test_what_must_never_happen_is_a_fault(change: dict[str, object], sentence: str) -> None:
    assert faults(TOTALS) == []
    assert faults(replace(TOTALS, **change)) == [sentence]


def test_an_event_without_an_answer_may_or_may_not_have_landed() -> None:
    assert faults(replace(TOTALS, accepted=990, unanswered=10, orders_accepted=9, orders_unanswered=1)) == []
    assert faults(replace(TOTALS, unanswered=10, orders_unanswered=1)) == []


def test_a_process_is_read_whatever_its_command_is_called() -> None:
    rest = "S 7 1 1 0 -1 4194560 10 20 0 0 150 50 30 5 20 0 3 0 1000 12345678 2048 1"
    process = parse_stat(f"42 (python) -c (x)) {rest}\n")
    assert (process.pid, process.parent) == (42, 7)
    assert (process.own_ticks, process.waited_ticks, process.rss_pages) == (200, 35, 2_048)


def test_runs_that_took_part_of_a_step_are_named_once() -> None:
    run = {"jobName": "batch_models", "startTime": 10.0, "endTime": 20.0}
    runs = [run, run, {**run, "jobName": "running", "endTime": None}, {**run, "jobName": "queued", "startTime": None}]
    assert overlapping(runs, 15, 30) == ["batch_models", "running"]
    assert overlapping(runs, 25, 30) == ["running"]
    assert overlapping(runs, 1, 10) == []


def test_the_settings_are_the_defaults_but_for_ports_and_folders(tmp_path: Path) -> None:
    folder = tmp_path / "bench"
    folder.mkdir()
    (folder / "wakeline.toml").write_text(settings_text([1, 2, 3, 4, 5, 6, 7, 8]), encoding="utf-8")
    settings = load_settings(folder / "wakeline.toml")
    assert settings.data_dir.resolve() == folder
    assert settings.project_dir.resolve() == tmp_path
    assert (settings.collector.port, settings.warehouse.native_port, settings.dagster.code_port) == (1, 3, 8)


def test_a_table_is_markdown() -> None:
    assert table(("a", "b"), [("1", "2")]) == "| a | b |\n| :-- | --: |\n| 1 | 2 |"


def test_the_results_read_as_rates_stages_resources_and_machine() -> None:
    slow = replace(STEP, rate=5_000, events_per_post=50, lag_seconds=9, other_runs=["batch_models"])
    facts = {**FACTS, "cold_start_seconds": 33.33, "idle_seconds": None, "faults": []}
    text = markdown(facts, [STEP, slow])
    assert "Stream: kafka. Lanes: 2." in text
    assert "Highest sustained rate: 1,000 events/s." in text
    assert "Cold start to the first mail: 33.3 s." in text
    assert "Most resident memory: 0.40 GB of 3 GB." in text
    assert "| 1,000 | 1 | 30 | 1,000 | 1,000 | 0 | 0.1 | 0.2 | 3 | 200 | 290 | 298 | 300 | yes | - |" in text
    assert "| no: lag 9.0 s | batch_models |" in text
    assert "| `ingested` read → in ClickHouse with all its views | 200 | 290 | 298 | 300 |" in text
    assert "| 1,000 | 0.50 / 400 | 0.10 / 30 | 400 |" in text
    assert "| libraries | dagster 1.2.3 |" in text


def test_streams_are_compared_with_the_first() -> None:
    slow = {stage: {**values, "p50": 400.0, "p95": 435.0} for stage, values in LATENCY.items()}
    busy = {**STEP.resources, "others": {"cores": 0.71, "rss_bytes": 0.0}}
    too_much = replace(STEP, processed_per_second=1_497.3, resources=busy)
    kafka = Result(Case("kafka", 2), replace(STEP, latency_ms=slow), too_much)
    text = streams_table([Result(Case("embedded", 1), STEP, STEP), kafka])
    assert "| stream | lanes | p50 ms at 1,000 events/s |" in text
    assert "| embedded | 1 | 200 | 290 | 1.00 | 998 | 1.00 | 1.25 | 0.0 |" in text
    assert "| kafka | 2 | 400 | 435 | 1.50 | 1,497 | 1.50 | 1.25 | 0.7 |" in text


def test_the_results_name_every_fault() -> None:
    text = markdown({**FACTS, "faults": ["The web process ended."]}, [])
    assert "**The web process ended.**" in text
    assert "Highest sustained rate: none." in text
