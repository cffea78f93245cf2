"""Service levels: what passes, what fails, and what is too little to be judged; each with a sentence."""

import random
import socket
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from unittest.mock import Mock

import pytest
from support.clocks import HOUR_MS, MINUTE_MS, NOW_MS, SECOND_MS
from support.collecting import Collector
from support.stack import PROJECT_DIR

from wakeline.activation.campaigns import load_campaigns
from wakeline.activation.gates import MARKETING
from wakeline.errors import ConfigError
from wakeline.play.delivery import Answer
from wakeline.settings import HEARTBEAT_SOURCE, Settings, load_secrets, load_settings
from wakeline.sla import judging, looking
from wakeline.sla.freshness import all_freshness, freshness_of
from wakeline.sla.heartbeats import EVENT, Heartbeats, heartbeat_ids
from wakeline.sla.holds import Holds
from wakeline.sla.inputs import Input, inputs_of
from wakeline.sla.judging import Activity, Judgement, Latencies
from wakeline.sla.settings import SlaSettings
from wakeline.sla.volume import Minute, Window
from wakeline.streams.protocol import partition_of

SLA = SlaSettings(window_minutes=1, lag_seconds=30, heartbeat_fail_after_seconds=30)
WEEK_MS = 7 * 24 * HOUR_MS
PARTITIONS = 4
BEATS = 12 * PARTITIONS
LONG_AGO = NOW_MS - HOUR_MS


def lag(seconds: float, since_ms: int = LONG_AGO) -> Judgement:
    return judging.judge_lag({"0": NOW_MS, "1": NOW_MS - round(seconds * SECOND_MS)}, SLA, NOW_MS, since_ms)


def test_a_clickhouse_that_hangs_holds_up_nothing_that_needs_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "_PATIENCE_SECONDS", 1)
    lanes, ledger = Mock(read_until=lambda: {"0": NOW_MS}), Mock()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings = Settings.model_validate({"warehouse": {"port": silent.getsockname()[1]}})
        look = looking.Look(settings, lanes, ledger, {}, [], lambda: NOW_MS)
        assert [one.check for one in look.judgements()] == [judging.LAG]
    [fault] = look.faults
    assert fault.startswith("ClickHouse does not answer at 127.0.0.1:")


def test_the_lane_that_is_furthest_behind_is_judged() -> None:
    assert lag(30).passed
    late = lag(31)
    assert (late.passed, late.is_warning, late.is_known) == (False, False, True)
    assert late.description == "Lane 1 has read what was appended until 31 s ago; 30 s are allowed."
    assert late.figures == {"lane": "1", "lag_seconds": 31.0}


def test_what_is_late_from_before_the_first_look_is_not_known_yet() -> None:
    assert not lag(3_600, since_ms=NOW_MS - 120 * SECOND_MS).is_known
    assert lag(3_600, since_ms=NOW_MS - 121 * SECOND_MS).is_known
    assert lag(31, since_ms=NOW_MS - 31 * SECOND_MS).is_known, "It was up to date when somebody looked already."
    assert lag(1, since_ms=NOW_MS).is_known
    never = judging.judge_lag({"0": 0}, SLA, NOW_MS, LONG_AGO)
    assert (never.passed, never.description) == (False, "Lane 0 has never read the stream; 30 s are allowed.")


def heartbeats(ages: Mapping[int, float], partitions: int | None = PARTITIONS) -> Judgement:
    found = {partition: NOW_MS - round(age * SECOND_MS) for partition, age in ages.items()}
    return judging.judge_heartbeats(found, partitions, SLA, NOW_MS, LONG_AGO)


def test_each_partition_needs_a_heartbeat() -> None:
    assert heartbeats(dict.fromkeys(range(4), 30)).passed
    late = heartbeats({0: 1, 1: 1, 2: 31, 3: 1})
    assert not late.passed
    assert late.description == (
        "The last heartbeat in partition 2 was received 31 s before what was read last; 30 s are allowed."
    )
    missing = heartbeats({0: 1, 1: 1, 2: 1})
    assert not missing.passed
    assert missing.description == "No heartbeat in partition 3 has been received in the last day; 30 s are allowed."
    assert heartbeats({7: 1}, partitions=None).passed
    assert not heartbeats({}, partitions=None).passed


def test_without_heartbeats_in_the_settings_none_is_missed() -> None:
    off = SLA.model_copy(update={"heartbeat_seconds": 0})
    assert judging.judge_heartbeats({}, PARTITIONS, off, NOW_MS, LONG_AGO).passed


@pytest.mark.parametrize(("bad", "passed"), [(5, True), (6, False)])
def test_a_share_in_quarantine_is_allowed(bad: int, passed: bool) -> None:
    found = judging.judge_quarantine(Window(100 - bad, bad, 100, 0, 60), SLA)
    assert found.passed == passed
    assert (
        found.description
        == f"{bad} of 100 events of the last 1 minutes are in quarantine ({bad:.1f}%, 5% are allowed)."
    )
    assert judging.judge_quarantine(Window(0, 49, 49, 0, 60), SLA).description.startswith("Not judged: 49 events")


def steady(rate: int, at_ms: int = NOW_MS, weeks: int = 8, seed: int = 1) -> dict[int, Minute]:
    """Minutes around the same time of earlier weeks, with about `rate` events each, as they come by chance."""
    drawn = random.Random(seed)  # noqa: S311 - made-up traffic
    start_ms = at_ms - at_ms % MINUTE_MS
    offsets = [minute * MINUTE_MS - week * WEEK_MS for week in range(1, weeks + 1) for minute in range(-30, 30)]
    return {start_ms + one: Minute(round(drawn.gauss(rate, rate**0.5)), heartbeats=BEATS) for one in offsets}


def volume(now: float, usual: dict[int, Minute], seconds: int = 30, beats: int = BEATS) -> Judgement:
    """`now` events a minute in the last whole minute, and then for some seconds."""
    share = seconds / 60
    latest = {
        NOW_MS - MINUTE_MS: Minute(accepted=round(now), heartbeats=beats),
        NOW_MS: Minute(accepted=round(now * share), heartbeats=round(beats * share)),
    }
    return judging.judge_volume(usual | latest, PARTITIONS, SLA, NOW_MS + seconds * SECOND_MS)


@pytest.mark.parametrize("seed", range(20))
def test_usual_traffic_is_usual_and_half_of_it_is_not(seed: int) -> None:
    usual = steady(600, seed=seed)
    assert volume(600, usual).passed
    assert volume(560, usual).passed
    half = volume(300, usual)
    assert (half.passed, half.is_warning, half.is_known) == (False, True, True)
    assert "450 events came in 90 s, " in half.description
    assert volume(6_000, usual).passed, "More is no fault."


def test_the_edge_of_what_is_usual_is_the_score() -> None:
    found = volume(600, steady(600))
    expected = float(found.figures["expected"])
    deviation = (float(found.figures["events"]) - expected) / float(found.figures["score"])
    edge = (expected - 6 * deviation) / 1.5
    assert volume(edge + 2, steady(600)).passed
    assert not volume(edge - 2, steady(600)).passed


def test_what_always_varies_may_vary() -> None:
    """From nearly nothing to twice as much from minute to minute, week after week."""
    varying = {at: replace(one, accepted=100 + at // MINUTE_MS * 7919 % 1_000) for at, one in steady(600).items()}
    assert volume(50, varying).passed
    assert not volume(50, steady(600)).passed


def test_too_little_to_compare_with_is_not_judged() -> None:
    assert volume(0, steady(600, weeks=2)).description.startswith("Not judged: fewer than 3 earlier weeks")
    assert not volume(0, steady(600, weeks=3)).passed
    assert volume(0, steady(30)).description == (
        f"Not judged: 0 events came in 90 s, {volume(0, steady(30)).figures['expected']:.0f} are usual at this time of"
        " the week."
    )


def test_where_heartbeats_are_missing_traffic_says_nothing() -> None:
    usual = steady(600)
    assert not volume(0, usual, beats=0).is_known
    assert volume(0, usual, beats=0).passed
    assert volume(400, usual, beats=BEATS * 2 // 3).passed, "A third of the time was lost."
    assert not volume(200, usual, beats=BEATS * 2 // 3).passed


def test_latency_fails_when_more_than_five_in_a_hundred_are_late() -> None:
    assert judging.judge_latency(Latencies(100, 5, 30.0), SLA).passed
    late = judging.judge_latency(Latencies(100, 6, 31.25), SLA)
    assert not late.passed
    assert late.description == (
        "6 of 100 mails of the last 1 minutes were accepted late or not yet (p95 31.2 s, 30 s are allowed)."
    )
    assert judging.judge_latency(Latencies(19, 19, 500.0), SLA).passed


def test_a_silent_campaign_fails_unless_somebody_paused_it() -> None:
    def judged(done: Activity | None, paused: bool = False) -> tuple[bool, str]:
        found = judging.judge_sends("abandoned_cart", 2, done, paused, NOW_MS)
        assert found.subject == "abandoned_cart"
        return found.passed, found.description

    assert judged(Activity(1, NOW_MS - 2 * HOUR_MS))[0]
    late = Activity(1, NOW_MS - 3 * HOUR_MS)
    assert judged(late) == (False, "The last mail was sent 3.0 h ago; 2 h of silence are allowed.")
    assert judged(late, paused=True)[0]
    assert not judged(Activity(NOW_MS - 3 * HOUR_MS, 0))[0]
    assert judged(None) == (True, "Not judged: its trigger has found nobody yet.")


def node(**meta: Any) -> dict[str, Any]:
    return {
        "name": "products", "resource_type": "model", "unique_id": "model.wakeline.products",
        "patch_path": "wakeline://models/marts/products.yml", "original_file_path": "models/marts/products.sql",
        "config": {"materialized": "table", "meta": meta},
    }  # fmt: skip


def test_a_short_window_warns_and_then_fails() -> None:
    freshness = freshness_of(node(freshness={"warn_after_seconds": 20, "fail_after_seconds": 40}))
    assert freshness
    assert freshness.is_short

    def judged(age: int) -> tuple[bool, bool]:
        found = judging.judge_freshness("x", freshness, True, NOW_MS - age * SECOND_MS, NOW_MS, LONG_AGO)
        return found.passed, found.is_warning

    assert [judged(age)[0] for age in (20, 21, 41)] == [True, False, False]
    assert [judged(age)[1] for age in (21, 41)] == [True, False]


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ({"fail_after_seconds": "soon"}, "meta key 'freshness.fail_after_seconds' is wrong: Input should be a"),
        ({"fail_after_seconds": 0}, "meta key 'freshness.fail_after_seconds' is wrong: Input should be greater than 0"),
        ({"warn_after_seconds": 1}, "meta key 'freshness.fail_after_seconds' is missing; add it"),
        ({"fail_after_seconds": 9, "fail": 1}, "meta key 'freshness.fail' is not a key; remove it"),
        (
            {"warn_after_seconds": 9, "fail_after_seconds": 8},
            "meta key 'freshness' is wrong: fail_after_seconds must be more than warn_after_seconds",
        ),
        (90, "meta key 'freshness' is wrong: Input should be a valid dictionary"),
    ],
)  # fmt: skip
def test_a_wrong_meta_names_the_models_file_and_the_key(declared: Any, said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        all_freshness({"nodes": {"model.wakeline.products": node(freshness=declared)}})
    assert str(raised.value).startswith(f"dbt_project/models/marts/products.yml: model products: {said}")


def test_no_meta_and_null_are_no_promise_and_views_have_none() -> None:
    view = node(freshness={"fail_after_seconds": 90})
    view["config"]["materialized"] = "view"
    assert [freshness_of(one) for one in (node(), node(freshness=None), view)] == [None, None, None]


def manifest() -> dict[str, Any]:
    def model(name: str, materialized: str, *parents: str, **meta: Any) -> dict[str, Any]:
        own = node(**meta)
        own |= {"name": name, "unique_id": name, "parents": parents}
        own["config"] = {**own["config"], "materialized": materialized}
        return own

    ten = {"fail_after_seconds": 10}
    nodes = [
        model("landing", "incremental", freshness=ten),
        model("person_states", "materialized_view", "landing", freshness={"fail_after_seconds": 20}),
        model("contacts", "view", "person_states"),
        model("product_recommendations", "table", "landing", freshness={"fail_after_seconds": 60}),
        model("rfm", "table", "landing", freshness=ten),
        *(model(name, "view", "product_recommendations") for name in ("abandoned_cart", "order_confirmation")),
        model("category_dwell", "view", "person_states"),
        model("confirm_opt_in", "view"),
    ]
    return {"nodes": {one["name"]: one for one in nodes}, "parent_map": {one["name"]: one["parents"] for one in nodes}}


def test_a_campaigns_inputs_are_what_is_upstream_of_its_trigger_and_of_the_contact() -> None:
    found = inputs_of(manifest(), load_campaigns(PROJECT_DIR / "campaigns"))
    streamed = (Input("landing", True, 10), Input("person_states", True, 20))
    assert found == {
        "abandoned_cart": (*streamed, Input("product_recommendations", False, 60)), "category_dwell": streamed,
    }, f"Only {MARKETING} campaigns are held."  # fmt: skip
    assert [one.model for one in found["abandoned_cart"]] == ["landing", "person_states", "product_recommendations"]


def test_a_campaign_is_held_by_its_own_inputs_and_looked_at_seldom() -> None:
    built, asked = {"product_recommendations": NOW_MS - 61 * SECOND_MS}, []

    def ask() -> Mapping[str, int]:
        asked.append(now[0])
        return dict(built)

    now = [NOW_MS]
    holds = Holds(inputs_of(manifest(), load_campaigns(PROJECT_DIR / "campaigns")), ask, lambda: now[0])
    record = {"input": "product_recommendations", "built_at_ms": NOW_MS - 61 * SECOND_MS, "fail_after_seconds": 60}
    assert [holds.stale(NOW_MS) for _ in range(100)] == [{"abandoned_cart": record}] * 100
    assert len(asked) == 1
    assert holds.stale(NOW_MS - 11 * SECOND_MS)["category_dwell"]["input"] == "landing"
    built["product_recommendations"] = NOW_MS
    now[0] += 5 * SECOND_MS
    assert holds.stale(now[0]) == {}
    built.clear()
    now[0] += HOUR_MS
    assert holds.stale(now[0]) == {}, "A table that was never built is read by nobody."


def test_there_is_a_heartbeat_for_each_partition_and_they_are_the_same_ones_always() -> None:
    ids = heartbeat_ids(7)
    assert [partition_of(one, 7) for one in ids] == list(range(7))
    assert ids == heartbeat_ids(7)


def test_heartbeats_come_in_as_a_source_that_nobody_else_can_be(tmp_path: Any) -> None:
    collector = Collector(tmp_path)
    key = load_secrets(tmp_path).heartbeat_key
    assert key not in load_secrets(tmp_path).model_dump().values()

    def post(body: bytes) -> Answer:
        response = collector.call("POST", "/v1/batch", content=body, auth=(key, ""))
        return Answer(response.status_code, response.text)

    Heartbeats(post, heartbeat_ids(2), lambda: NOW_MS).beat()
    rows = collector.rows()
    assert sorted(row.partition for row in rows) == [0, 1]
    assert {(row.status, row.source, row.event) for row in rows} == {("accepted", HEARTBEAT_SOURCE, EVENT)}
    assert collector.call("POST", "/v1/batch", content=b'{"batch": []}', auth=(f"{key}x", "")).status_code == 401


def test_a_collector_that_takes_no_heartbeat_is_said_once_and_so_is_that_it_does_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    answers = [Answer(200, ""), *[Answer(0, "refused")] * 3, Answer(200, ""), Answer(200, "")]
    heart = Heartbeats(lambda _body: answers.pop(0), ["heartbeat-1"], lambda: NOW_MS)
    with caplog.at_level("INFO"):
        while answers:
            heart.beat()
    assert caplog.messages == ["The collector takes no heartbeat: refused", "The collector takes heartbeats again"]


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("[sources.heartbeat]\nwrite_keys = ['12345678']", "sources.heartbeat: the name is taken"),
        ("[webhooks.heartbeat]\nkind = 'mapped'\nsecret = '123456789012345678901234'", "heartbeat"),
        ("[sla]\nheartbeat_fail_after_seconds = 9", "at least 3 times heartbeat_seconds"),
        ("[sla]\nlatency_p95_seconds = 600", "must be less than the window"),
        ("[sla]\nlag = 1", "'sla.lag' is not a setting"),
    ],
)
def test_wrong_settings_are_one_sentence(tmp_path: Any, written: str, said: str) -> None:
    (tmp_path / "wakeline.toml").write_text(written)
    with pytest.raises(ConfigError, match=said):
        load_settings(tmp_path / "wakeline.toml")


def test_the_macro_and_the_settings_know_heartbeats_by_the_same_name() -> None:
    macro = (PROJECT_DIR / "dbt_project" / "macros" / "heartbeat.sql").read_text(encoding="utf-8")
    assert f"}}}} = '{HEARTBEAT_SOURCE}'" in macro
    assert HEARTBEAT_SOURCE not in Settings().trusted_sources
