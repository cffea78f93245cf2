"""What Prometheus is told, that it is documented, and that the dashboard asks for nothing else."""

import json
import re
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from support.clocks import NOW_MS, SECOND_MS
from support.collecting import WRITE_KEY, Collector
from support.messages import rows, track
from support.metrics import GRAFANA, Samples, asked_for, dashboard, samples_of, types_of, value
from support.ports import free_ports
from support.sending import LANE, LEASE_MS, Book, intended

from wakeline.activation.claims import Claim, Decided
from wakeline.activation.esp.protocol import Accepted, Rejected, TryLater, Unknown
from wakeline.activation.mailer import Answer
from wakeline.errors import StreamError, WakelineError
from wakeline.metrics.lanes import EspMetrics, LaneMetrics, counting
from wakeline.metrics.program import registry_of
from wakeline.metrics.serving import serving
from wakeline.pipeline.microbatch import BatchResult
from wakeline.pipeline.reporting import to_all
from wakeline.pipeline.stages import Stopwatch
from wakeline.settings import Settings

METRICS_PAGE = (Path(__file__).resolve().parent.parent / "docs" / "metrics.md").read_text(encoding="utf-8")
TRACK = {"type": "track", "event": "Seen", "userId": "1"}
CLAIM = Claim("0" * 32, "welcome", "user:ann", {}, {}, "", 1, NOW_MS)
BATCH = BatchResult(
    {0: (0, 2)},
    rows(track("Product Viewed", "m1", user="ann"), track("Product Viewed", "m2", user="ann")),
    [Decided("welcome", CLAIM, "claimed", ""), Decided("welcome", None, "skipped", "no_consent")],
    [Answer(CLAIM, Accepted("id", "outbox"), NOW_MS)],
    latency_ms=120,
    stage_seconds={"read": 5.0, "ingest": 0.25, "claim": 0.5},
)


def of_collector(collector: Collector) -> Samples:
    return samples_of(generate_latest(collector.metrics.registry).decode())


def of_lanes(folder: Path) -> Samples:
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(folder))
    return samples_of(generate_latest(registry).decode())


# The collector


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[Collector]:
    opened = Collector(tmp_path)
    yield opened
    opened.stream.close()


def test_requests_are_counted_by_endpoint_and_status_whatever_strangers_ask_for(collector: Collector) -> None:
    collector.post("/v1/track", TRACK)
    collector.post("/v1/track", TRACK, auth=("wrong", ""))
    collector.call("GET", f"/v1/projects/{WRITE_KEY}/settings")
    for path in ("/.env", "/wp-login.php", "/v1/ann@example.com"):
        collector.call("GET", path)
    counted = of_collector(collector)
    requests = {
        labels: count for (name, labels), count in counted.items() if name == "wakeline_collector_requests_total"
    }
    assert requests == {
        (("endpoint", "/v1/track"), ("status", "200")): 1,
        (("endpoint", "/v1/track"), ("status", "401")): 1,
        (("endpoint", "/v1/projects/{write_key}/settings"), ("status", "200")): 1,
        (("endpoint", "other"), ("status", "404")): 3,
    }


def test_events_are_counted_by_source_when_they_are_durable(collector: Collector) -> None:
    collector.post("/v1/batch", {"batch": [TRACK, TRACK]})
    counted = of_collector(collector)
    assert value(counted, "wakeline_collector_events_total", source="default", outcome="appended") == 2
    size = sum(len(record.value) for record in collector.records())
    assert value(counted, "wakeline_collector_event_bytes_total", source="default") == size
    assert value(counted, "wakeline_collector_append_duration_seconds_count") == 1
    assert value(counted, "wakeline_collector_pending_bytes") == 0


def test_events_that_the_stream_does_not_take_are_failed_ones(collector: Collector) -> None:
    def refuse(events: Any) -> None:
        raise StreamError("The disk is gone.")

    collector.stream.append = refuse  # type: ignore[method-assign]
    assert collector.post("/v1/track", TRACK).status_code == 503
    counted = of_collector(collector)
    assert value(counted, "wakeline_collector_events_total", source="default", outcome="failed") == 1
    assert ("wakeline_collector_event_bytes_total", (("source", "default"),)) not in counted


def test_what_is_pushed_back_is_counted_with_its_reason(tmp_path: Path) -> None:
    collector = Collector(tmp_path, {"max_pending_bytes": 400})
    body = {"batch": [{**TRACK, "properties": {"x": "y" * 90}}]}
    assert collector.post("/v1/batch", body).status_code == 413
    collector.metrics.pushed_back("unread")
    counted = of_collector(collector)
    assert value(counted, "wakeline_collector_events_total", source="default", outcome="refused") == 1
    assert value(counted, "wakeline_collector_backpressure_total", reason="unread") == 1
    assert value(counted, "wakeline_collector_backpressure_total", reason="pending") == 0
    collector.stream.close()


# Lanes


def test_what_a_lane_counts_goes_on_with_the_next_run(tmp_path: Path) -> None:
    for _ in range(2):
        with counting(tmp_path):
            LaneMetrics("0", lambda: 1_000 * SECOND_MS).add(BATCH)
    counted = of_lanes(tmp_path)
    assert value(counted, "wakeline_batches_total", lane="0") == 2
    assert value(counted, "wakeline_rows_total", lane="0", status="accepted") == 4
    assert value(counted, "wakeline_decisions_total", campaign="welcome", state="skipped", reason="no_consent") == 2
    assert value(counted, "wakeline_send_answers_total", campaign="welcome", state="sent") == 2
    assert value(counted, "wakeline_batch_duration_seconds_sum", lane="0") == 1.5
    assert value(counted, "wakeline_batch_stage_duration_seconds_sum", lane="0", stage="read") == 10
    assert value(counted, "wakeline_event_latency_seconds_bucket", lane="0", le="0.15") == 2
    assert value(counted, "wakeline_last_batch_timestamp_seconds", lane="0") == 1_000
    assert value(counted, "wakeline_lane_faults_total", lane="0") == 0


def test_a_fault_that_is_waited_out_is_counted_and_said(tmp_path: Path) -> None:
    said: list[str] = []
    with counting(tmp_path):
        to_all(said.append, LaneMetrics("0", lambda: 0).fault)("The warehouse is away.")
    assert value(of_lanes(tmp_path), "wakeline_lane_faults_total", lane="0") == 1
    assert said == ["The warehouse is away."]


def test_two_runs_at_a_handover_have_places_of_their_own(tmp_path: Path) -> None:
    with counting(tmp_path):
        LaneMetrics("0", lambda: 1_000 * SECOND_MS).add(BATCH)
        successor = get_context("spawn").Process(target=count_a_batch, args=(tmp_path, 2_000))
        successor.start()
        successor.join()
    assert successor.exitcode == 0
    counted = of_lanes(tmp_path)
    assert value(counted, "wakeline_batches_total", lane="0") == 2
    assert value(counted, "wakeline_last_batch_timestamp_seconds", lane="0") == 2_000
    count_a_batch(tmp_path, 3_000)
    assert sorted(path.name for path in tmp_path.glob("*.lock")) == ["0.lock", "1.lock"]


def count_a_batch(folder: Path, now_seconds: int) -> None:
    with counting(folder):
        LaneMetrics("0", lambda: now_seconds * SECOND_MS).add(BATCH)


def test_a_look_that_found_nothing_is_no_batch(tmp_path: Path) -> None:
    with counting(tmp_path):
        LaneMetrics("0", lambda: 1_000 * SECOND_MS).add(BatchResult({}, stage_seconds={"read": 1.0}))
    assert ("wakeline_batches_total", (("lane", "0"),)) not in of_lanes(tmp_path)


def test_providers_are_counted_by_what_they_answer(tmp_path: Path) -> None:
    with counting(tmp_path):
        metrics = EspMetrics()
        for outcome in (Accepted("1"), Rejected("no"), TryLater(1.0, "later"), Unknown("lost")):
            metrics.answered("main", outcome, 0.2)
    counted = of_lanes(tmp_path)
    for name in ("accepted", "rejected", "try_later", "unknown"):
        assert value(counted, "wakeline_esp_requests_total", esp="main", outcome=name) == 1
    assert value(counted, "wakeline_esp_request_duration_seconds_count", esp="main") == 4


def test_the_stages_of_a_batch_add_up_and_begin_anew() -> None:
    times = iter([1.0, 3.0, 10.0, 10.5, 20.0, 21.0])
    stopwatch = Stopwatch(lambda: next(times))
    for name in ("claim", "send", "claim"):
        with stopwatch.stage(name):
            pass
    assert stopwatch.lap() == {"claim": 3.0, "send": 0.5}
    assert stopwatch.lap() == {}


# Stream and ledger


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path)


def of_state(settings: Settings, now_ms: int = NOW_MS) -> Samples:
    return samples_of(generate_latest(registry_of(settings, lambda: now_ms)).decode())


def test_lanes_and_waiting_sends_are_read_from_the_ledger(settings: Settings, book: Book) -> None:
    lease = book.hold()
    book.lanes.note_read(lease, NOW_MS - 4 * SECOND_MS)
    book.ledger.pause("order_confirmation", "ann", "a typo", NOW_MS)
    book.claim(lease, intended())
    told = of_state(settings)
    assert value(told, "wakeline_ledger_up") == 1
    assert value(told, "wakeline_lane_held", lane=LANE) == 1
    assert value(told, "wakeline_lane_holders_total", lane=LANE) == 1
    assert value(told, "wakeline_lane_lag_seconds", lane=LANE) == 4
    assert value(told, "wakeline_campaign_paused", campaign="order_confirmation") == 1
    assert value(told, "wakeline_waiting_sends", campaign="order_confirmation", state="held") == 1
    assert value(told, "wakeline_waiting_sends", campaign="order_confirmation", state="retry") == 0
    assert value(of_state(settings, NOW_MS + LEASE_MS), "wakeline_lane_held", lane=LANE) == 0


def test_every_campaign_is_told_of_also_while_nothing_waits(settings: Settings, book: Book) -> None:
    folder = settings.data_dir / "campaigns" / "welcome"
    folder.mkdir(parents=True)
    (folder / "campaign.yml").touch()
    told = of_state(settings.model_copy(update={"project_dir": settings.data_dir}))
    assert value(told, "wakeline_campaign_paused", campaign="welcome") == 0
    assert value(told, "wakeline_waiting_sends", campaign="welcome", state="held") == 0


def test_unread_events_and_their_age_are_read_from_the_stream(settings: Settings, book: Book) -> None:
    collector = Collector(settings.data_dir)
    assert value(of_collector(collector), "wakeline_collector_unread_events") == 0
    collector.stream.append([("user:1", b"{}")])
    collector.stream.close()
    settings = settings.model_copy(update={"stream": settings.stream.model_copy(update={"partitions": 2})})
    told = of_state(settings)
    assert value(told, "wakeline_stream_up") == 1
    assert value(told, "wakeline_stream_unread_events") == 1


def test_a_part_that_does_not_answer_is_down_and_the_rest_is_told(settings: Settings, book: Book) -> None:
    settings.stream_path.write_bytes(b"something else")
    told = of_state(settings)
    assert value(told, "wakeline_ledger_up") == 1
    assert value(told, "wakeline_stream_up") == 0
    assert not [name for name, _ in told if name == "wakeline_stream_lag_seconds"]


def test_a_ledger_that_is_not_there_yet_is_down_and_is_not_made(settings: Settings, tmp_path: Path) -> None:
    elsewhere = settings.model_copy(update={"data_dir": tmp_path / "elsewhere"})
    assert value(of_state(elsewhere), "wakeline_ledger_up") == 0
    assert not elsewhere.ledger_path.exists()


# Serving


def test_metrics_are_served_on_their_own_port(collector: Collector) -> None:
    [port] = free_ports(1)
    with serving(collector.metrics.registry, "127.0.0.1", port, "metrics.port"):
        answer = httpx.get(f"http://127.0.0.1:{port}/metrics")
        assert answer.headers["content-type"].startswith("text/plain")
        assert "wakeline_collector_pending_bytes 0.0" in answer.text
        with (
            pytest.raises(WakelineError, match=rf"127\.0\.0\.1:{port} \(Address already in use\); .*metrics\.port"),
            serving(collector.metrics.registry, "127.0.0.1", port, "metrics.port"),
        ):
            pass
    assert collector.call("GET", "/metrics").status_code == 404


# The dashboard and the documentation


@pytest.fixture
def exposition(settings: Settings, book: Book) -> str:
    """What a collector with a spool and a stack with everything that can be told of it say."""
    collector = Collector(settings.data_dir / "other")
    collector.post("/v1/track", TRACK)
    for name in ("spool_events", "spool_bytes"):
        collector.metrics.watch(name, "As with a broker.", lambda: 0.0)
    collector.stream.close()
    with counting(settings.lane_metrics_dir):
        LaneMetrics("0", lambda: 1_000 * SECOND_MS).add(BATCH)
        EspMetrics().answered("outbox", Accepted("1"), 0.1)
    lease = book.hold()
    book.lanes.note_read(lease, NOW_MS)
    book.ledger.pause("order_confirmation", "ann", "a typo", NOW_MS)
    book.claim(lease, intended())
    of_stack = generate_latest(registry_of(settings, lambda: NOW_MS))
    return (generate_latest(collector.metrics.registry) + of_stack).decode()


def test_every_metric_is_documented_with_its_type_and_labels(exposition: str) -> None:
    told: dict[str, tuple[str, set[str]]] = {name: (kind, set()) for name, kind in types_of(exposition).items()}
    for name, labels in samples_of(exposition):
        base = name if name in told else re.sub(r"_(bucket|sum|count)$", "", name)
        told[base][1].update(label for label, _ in labels if label != "le")
    shown = re.findall(r"^\| `(wakeline_\w+)` \| (\w+) \| ([^|]+) \|", METRICS_PAGE, re.MULTILINE)
    documented = {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels in shown}
    assert documented == {name: one for name, one in told.items() if name.startswith("wakeline_")}


def test_names_follow_the_conventions_of_prometheus(exposition: str) -> None:
    for name, kind in types_of(exposition).items():
        assert (kind == "counter") is name.endswith("_total"), name
        assert not re.search(r"_(ms|minutes|kb|mb|percent)(_|$)", name), name


def test_the_dashboard_is_as_it_is_written_by_its_script() -> None:
    assert (GRAFANA / "wakeline.json").read_text(encoding="utf-8") == dashboard().dashboard_json()


def test_the_dashboard_asks_only_for_metrics_that_there_are(exposition: str) -> None:
    board = json.loads((GRAFANA / "wakeline.json").read_text(encoding="utf-8"))
    expressions = [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]
    assert expressions == list(dashboard().expressions())
    there_are = {name for name, _ in samples_of(exposition)}
    assert [name for one in expressions for name in asked_for(one) if name not in there_are] == []


def test_the_dashboard_shows_every_metric_of_ours(exposition: str) -> None:
    shown = {name for one in dashboard().expressions() for name in asked_for(one)}
    shown |= {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown}
    assert [name for name in types_of(exposition) if name.startswith("wakeline_") and name not in shown] == []


def test_a_name_that_there_is_not_is_found_in_any_part_of_an_expression() -> None:
    expression = "sum by (a) (rate(one_total{b='c'}[5m])) / (-two) + time() > histogram_quantile(0.5, three_bucket)"
    assert asked_for(expression) == {"one_total", "two", "three_bucket"}


def test_the_alert_rules_of_the_page_are_valid_and_ask_for_metrics_that_there_are(exposition: str) -> None:
    there_are = {name for name, _ in samples_of(exposition)} | {"up"}
    [rules] = [block for block in map(yaml.safe_load, yaml_blocks()) if "groups" in block]
    asked = [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    assert len(asked) > 3
    assert [name for one in asked for name in asked_for(one) if name not in there_are] == []


def test_the_scrape_configuration_of_the_page_names_the_ports(settings: Settings) -> None:
    [scrape] = [block for block in map(yaml.safe_load, yaml_blocks()) if "scrape_configs" in block]
    targets = {one["job_name"]: one["static_configs"][0]["targets"] for one in scrape["scrape_configs"]}
    metrics = settings.metrics
    assert targets == {
        "wakeline-collector": [f"{metrics.host}:{metrics.collector_port}"],
        "wakeline": [f"{metrics.host}:{metrics.port}"],
    }


def yaml_blocks() -> list[str]:
    return re.findall(r"^```yaml\n(.*?)^```", METRICS_PAGE, re.MULTILINE | re.DOTALL)
