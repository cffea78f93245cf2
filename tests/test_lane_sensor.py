"""What an operator sees of a stream that cannot be read: one sentence in the sensor's tick, and a failed check."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest
from support.clocks import NOW_MS
from support.kafka import KafkaBroker
from support.kafka_streams import KafkaMaker
from support.ports import free_ports
from support.sending import LEASE_MS
from support.warehouse import no_warnings

from wakeline.clock import system_clock
from wakeline.errors import StreamError
from wakeline.pipeline.lanes import LanePause, LaneState, Lease
from wakeline.sla.judging import LATENCY, QUARANTINE

with no_warnings():  # Of what Dagster imports.
    from orchestration import configuration
    from orchestration.jobs import batch_models, check_dbt_models
    from orchestration.lane_checks import PAUSE_CHECK
    from orchestration.resident import LANE_TAG, resident_lane
    from orchestration.stream_checks import CHECK, stream_can_be_read
    from orchestration.streaming import EVENT_STREAM, LANDING, SENDS
    from sensors import lanes as sensors_lanes
    from sensors.lanes import lane_sensor

pytestmark = pytest.mark.stack

Settings = Callable[..., None]


@pytest.fixture
def deployed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Settings]:
    """Sets variables of the environment, as a deployment does before its processes start."""
    (tmp_path / "wakeline.toml").write_text(f'data_dir = "{tmp_path}"\n')
    monkeypatch.setenv("WAKELINE_CONFIG", str(tmp_path / "wakeline.toml"))

    def deploy(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(f"WAKELINE_{name}", value)
        forget()

    def forget() -> None:
        for cached in (configuration.settings, configuration.lane_store, sensors_lanes._stream):
            cached.cache_clear()

    deploy()
    yield deploy
    forget()


@pytest.fixture
def maker(kafka: KafkaBroker) -> Iterator[KafkaMaker]:
    opened = KafkaMaker(kafka, partitions=2)
    opened.open().append([("ann", b"1")] * 5)
    yield opened
    opened.close()


def on_kafka(deploy: Settings, maker: KafkaMaker, kafka: KafkaBroker, **more: str) -> None:
    deploy(
        **{
            "STREAM__KIND": "kafka",
            "STREAM__KAFKA__BROKERS": kafka.bootstrap,
            "STREAM__KAFKA__TOPIC": maker.topic,
            "STREAM__KAFKA__APPEND_SECONDS": "2",
            **more,
        }
    )


def tick(instance: dg.DagsterInstance) -> dg.SensorResult:
    result = lane_sensor(dg.build_sensor_context(instance=instance))
    assert isinstance(result, dg.SensorResult)
    return result


def checks(instance: dg.DagsterInstance) -> list[tuple[bool, str]]:
    """Every evaluation of the check, oldest first: whether it passed, and the error."""
    key = dg.AssetCheckKey(EVENT_STREAM, CHECK)
    found = instance.event_log_storage.get_asset_check_execution_history(key, limit=100)
    evaluations = [record.event.dagster_event.event_specific_data for record in reversed(found)]
    return [(one.passed, one.description or "") for one in evaluations]


def test_every_lane_without_a_run_gets_one(deployed: Settings) -> None:
    deployed(LANE__COUNT="3")
    with dg.DagsterInstance.ephemeral() as instance:
        requests = tick(instance).run_requests or []
        assert [request.tags[LANE_TAG] for request in requests] == ["0", "1", "2"]
        assert checks(instance) == [(True, "")]
        tick(instance)
        assert len(checks(instance)) == 1, "The check was reported again though nothing changed."


def test_a_lane_that_is_held_needs_none(deployed: Settings) -> None:
    deployed(LANE__COUNT="2")
    assert configuration.lane_store().acquire("1", "run-1", system_clock(), LEASE_MS) is not None
    with dg.DagsterInstance.ephemeral() as instance:
        requests = tick(instance).run_requests or []
        assert [request.tags[LANE_TAG] for request in requests] == ["0"]


def test_a_paused_lane_gets_no_run_and_the_check_says_who_holds_it(deployed: Settings) -> None:
    deployed(LANE__COUNT="2")
    lanes = configuration.lane_store()
    with dg.DagsterInstance.ephemeral() as instance:
        lanes.pause(LanePause("1", "ann", "an upgrade", NOW_MS, 0))
        requests = tick(instance).run_requests or []
        assert [request.tags[LANE_TAG] for request in requests] == ["0"]
        said = [(False, {"lane_1": "since 2027-01-15T08:00:00.000Z by ann: an upgrade"})]
        assert pause_checks(instance) == said
        tick(instance)
        assert pause_checks(instance) == said, "The check was reported again though nothing changed."
        lanes.resume("1")
        assert [request.tags[LANE_TAG] for request in tick(instance).run_requests or []] == ["0", "1"]
        assert pause_checks(instance) == [*said, (True, {})]


def pause_checks(instance: dg.DagsterInstance) -> list[tuple[bool, dict[str, str]]]:
    """Every evaluation of the check, oldest first: whether it passed, and its metadata."""
    key = dg.AssetCheckKey(EVENT_STREAM, PAUSE_CHECK)
    found = instance.event_log_storage.get_asset_check_execution_history(key, limit=100)
    evaluations = [record.event.dagster_event.event_specific_data for record in reversed(found)]
    return [(one.passed, {name: str(value.value) for name, value in one.metadata.items()}) for one in evaluations]


def test_the_run_of_a_lane_that_there_is_no_more_is_marked_as_failed_once_its_lease_is_over(deployed: Settings) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        deployed(LANE__COUNT="2")
        runs = {lane: in_progress(instance, lane) for lane in ("0", "1")}
        now_ms = system_clock()
        for lane, run_id in runs.items():
            assert configuration.lane_store().acquire(lane, run_id, now_ms, LEASE_MS) is not None
        deployed(LANE__COUNT="1")
        tick(instance)
        assert [status(instance, run_id) for run_id in runs.values()] == ["STARTED", "STARTED"]

        expire(configuration.lane_store().state("1"), "1", now_ms)
        assert not tick(instance).run_requests
        assert [status(instance, run_id) for run_id in runs.values()] == ["STARTED", "FAILURE"]


def in_progress(instance: dg.DagsterInstance, lane: str) -> str:
    """The id of a run of the lane that Dagster believes to go on."""
    run = instance.create_run_for_job(resident_lane, tags={LANE_TAG: lane}, status=dg.DagsterRunStatus.STARTED)
    return run.run_id


def status(instance: dg.DagsterInstance, run_id: str) -> str:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status.value


def expire(state: LaneState, lane: str, now_ms: int) -> None:
    """The holder renews its lease no more, and it is over."""
    lease = Lease(lane, state.holder, state.fencing_token, 2)
    configuration.lane_store().renew(lease, now_ms - LEASE_MS, LEASE_MS)


def test_a_ledger_that_is_away_is_one_sentence_and_the_next_look_goes_on(deployed: Settings) -> None:
    deployed(LEDGER__KIND="postgres", LEDGER__URL="postgresql://wakeline:hunter2@127.0.0.1:9/wakeline")
    with dg.DagsterInstance.ephemeral() as instance:
        said = tick(instance)
        assert not said.run_requests
        assert re.search(r"The ledger database at 127\.0\.0\.1:9 fails: .*refused", str(said.skip_reason))
        assert "hunter2" not in (str(said.skip_reason))


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"STREAM__KAFKA__BROKERS": "127.0.0.1:{closed}"}, "refused"),
        ({"STREAM__KAFKA__BROKERS": "no-such-host.invalid:9092"}, "no-such-host.invalid"),
        (
            {
                "STREAM__KAFKA__BROKERS": "{secured}",
                "STREAM__KAFKA__SECURITY_PROTOCOL": "SASL_SSL",
                "STREAM__KAFKA__SASL_MECHANISM": "SCRAM-SHA-256",
                "STREAM__KAFKA__USERNAME": "wakeline",
                "STREAM__KAFKA__PASSWORD": "wrong-password",
                "STREAM__KAFKA__CA_FILE": "{certificate}",
            },
            "password",
        ),
    ],
    ids=["address", "name", "credentials"],
)
def test_what_is_wrong_is_one_sentence_in_the_tick_and_a_failed_check_that_recovers(
    deployed: Settings, maker: KafkaMaker, kafka: KafkaBroker, wrong: dict[str, str], sentence: str
) -> None:
    facts = {"closed": free_ports(1)[0], "secured": kafka.secured.bootstrap, "certificate": kafka.secured.certificate}
    on_kafka(deployed, maker, kafka, **{name: value.format(**facts) for name, value in wrong.items()})
    with dg.DagsterInstance.ephemeral() as instance:
        for _ in range(2):
            with pytest.raises(StreamError, match=sentence) as raised:
                tick(instance)
        assert str(raised.value).count("\n") == 0
        assert checks(instance) == [(False, str(raised.value))]
        assert "wrong-password" not in str(raised.value)

        for name in wrong:
            deployed(**{name: ""}) if "PASSWORD" in name or "USERNAME" in name else None
        plain = {"STREAM__KAFKA__SECURITY_PROTOCOL": "PLAINTEXT"}
        on_kafka(deployed, maker, kafka, **plain)
        assert tick(instance).run_requests
        assert [passed for passed, _ in checks(instance)] == [False, True]


def test_an_offset_that_has_expired_is_said_and_not_passed_over(
    deployed: Settings, maker: KafkaMaker, kafka: KafkaBroker
) -> None:
    on_kafka(deployed, maker, kafka)
    lane_store = configuration.lane_store()
    lease = lane_store.acquire("0", "run-1", NOW_MS, LEASE_MS)
    assert lease is not None
    partition = maker.partition_of("ann")
    lane_store.correct_offsets(lease, {partition: 2})
    maker.expire(partition, 4)
    with dg.DagsterInstance.ephemeral() as instance:
        with pytest.raises(StreamError, match=r"begins at offset 4, but 2 is the next to process"):
            tick(instance)
        assert [passed for passed, _ in checks(instance)] == [False]
    assert lane_store.committed() == {partition: 2}


def test_a_topic_made_anew_is_not_taken_for_the_old_one(
    deployed: Settings, maker: KafkaMaker, kafka: KafkaBroker
) -> None:
    on_kafka(deployed, maker, kafka)
    with dg.DagsterInstance.ephemeral() as instance:
        tick(instance)
        maker.recreate()
        deployed()
        with pytest.raises(StreamError, match="was deleted and made anew"):
            tick(instance)


def test_the_check_can_be_run_by_hand(deployed: Settings, maker: KafkaMaker, kafka: KafkaBroker) -> None:
    on_kafka(deployed, maker, kafka)
    passed = stream_can_be_read()
    assert isinstance(passed, dg.AssetCheckResult)
    assert passed.passed
    assert passed.metadata["partitions"].value == 2
    on_kafka(deployed, maker, kafka, STREAM__KAFKA__BROKERS=f"127.0.0.1:{free_ports(1)[0]}")
    failed = stream_can_be_read()
    assert isinstance(failed, dg.AssetCheckResult)
    assert not failed.passed


def test_the_jobs_that_run_dbt_tests_leave_the_stream_s_check_to_the_sensor() -> None:
    @dg.asset_check(asset="orders")
    def dbt_test() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=True)

    judged = [dg.AssetCheckSpec(QUARANTINE, asset=LANDING), dg.AssetCheckSpec(LATENCY, asset=SENDS)]

    @dg.multi_asset_check(specs=judged)
    def service_levels() -> Iterator[dg.AssetCheckResult]:
        yield from (dg.AssetCheckResult(True, asset_key=one.asset_key, check_name=one.name) for one in judged)

    assets = [dg.AssetSpec(key) for key in (EVENT_STREAM, LANDING, SENDS, "orders")]
    definitions = dg.Definitions(assets=assets, asset_checks=[stream_can_be_read, service_levels, dbt_test])
    graph = definitions.get_repository_def().asset_graph
    for job in (batch_models, check_dbt_models):
        assert job.selection.resolve_checks(graph) == {dbt_test.check_key}
