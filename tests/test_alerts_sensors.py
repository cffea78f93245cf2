"""The alert sensors over a real Dagster instance: failed runs, checks, stale assets, lanes, pauses, ticks, disks."""

import re
import socket
from collections import namedtuple
from collections.abc import Callable, Iterator
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from support.alerting import ScriptedChannel
from support.clocks import HOUR_MS, SECOND_MS, Hand
from support.ports import free_ports
from support.sending import LEASE_MS
from support.serving import collecting
from support.warehouse import no_warnings

from wakeline.alerts.book import Book
from wakeline.alerts.checks import CHECKS
from wakeline.alerts.concerns import CONCERNS
from wakeline.alerts.problem import Look
from wakeline.clock import system_clock
from wakeline.errors import LedgerError
from wakeline.pipeline.lanes import LaneState

with no_warnings():  # Of what Dagster imports.
    from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationPlanned
    from dagster._core.definitions.freshness import FreshnessState, FreshnessStateChange
    from dagster._core.definitions.run_request import InstigatorType
    from dagster._core.definitions.sensor_definition import SensorType
    from dagster._core.events import DagsterEvent, DagsterEventType
    from dagster._core.remote_origin import (
        RegisteredCodeLocationOrigin,
        RemoteInstigatorOrigin,
        RemoteRepositoryOrigin,
    )
    from dagster._core.scheduler.instigation import (
        InstigatorState,
        InstigatorStatus,
        SensorInstigatorData,
        TickData,
        TickStatus,
    )
    from dagster._core.test_utils import create_run_for_test
    from dagster._utils.error import SerializableErrorInfo

    from orchestration import configuration
    from orchestration.resident import LANE_TAG, resident_lane
    from orchestration.streaming import EVENT_STREAM
    from sensors.alerts import build, looks
    from sensors.alerts.failures import failure_of

pytestmark = pytest.mark.stack

OWNER = "ann@example.com"


# A small code location


@dg.asset(deps=[dg.AssetKey("landing")], owners=[OWNER])
def marts(context: dg.AssetExecutionContext) -> None:
    if context.run.tags.get("broken"):
        raise ValueError("Code: 47. Unknown column 'x'\n  somewhere")


@dg.asset(deps=[marts])
def report() -> None: ...


@dg.asset_check(asset=marts)
def not_null_id() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=False, metadata={"dagster_dbt/failed_row_count": 3})


def _spec(key: dg.AssetKey | str, deps: list[Any]) -> dg.AssetSpec:
    window = dg.FreshnessPolicy.time_window(fail_window=timedelta(minutes=15))
    return dg.AssetSpec(key, deps=deps, owners=[OWNER], freshness_policy=window)


#: Checks that others report, and no run evaluates.
REPORTED = {("event_stream", "stream_can_be_read"), ("event_stream", "lag_within_sla"), ("landing", "some_test")}


def _reported_checks() -> dg.AssetChecksDefinition:
    specs = [dg.AssetCheckSpec(name, asset=key) for key, name in sorted(REPORTED)]

    @dg.multi_asset_check(specs=specs, name="reported")
    def reported() -> Iterator[dg.AssetCheckResult]:
        yield from ()

    return reported


marts_job = dg.define_asset_job("marts_job", dg.AssetSelection.assets(marts), executor_def=dg.in_process_executor)
checked_job = dg.define_asset_job(
    "checked_job", dg.AssetSelection.checks_for_assets(marts), executor_def=dg.in_process_executor
)


@dg.sensor(job=marts_job)
def marts_sensor() -> dg.SkipReason:
    return dg.SkipReason("Nothing to do.")


DEFINITIONS = dg.Definitions(
    assets=[_spec(EVENT_STREAM, []), _spec("landing", [EVENT_STREAM]), marts, report],
    asset_checks=[not_null_id, _reported_checks()],
    jobs=[marts_job, checked_job, resident_lane],
    sensors=[marts_sensor],
)


class Watch:
    """The sensors of a deployment, ticked by hand by a clock that is set by hand."""

    def __init__(self, instance: dg.DagsterInstance, clock: Hand) -> None:
        self.instance = instance
        self.clock = clock
        self.said: list[str] = []
        self._sensors = {sensor.name: sensor for sensor in build.build_alert_sensors()}

    def tick(self, name: str, after: float = 0) -> str:
        """What the sensor says of its tick, so many seconds later."""
        self.clock.sleep(after)
        result = self._sensors[name](dg.build_sensor_context(instance=self.instance, definitions=DEFINITIONS))
        assert isinstance(result, dg.SkipReason)
        return str(result.skip_message)

    def told(self, name: str, after: float = 60) -> list[str]:
        """Titles of what is told by a tick now, and by one so many seconds later."""
        before = len(build.book().store.messages(1_000))
        self.tick(name)
        self.tick(name, after)
        messages = build.book().store.messages(1_000)
        return [one["title"] for one in reversed(messages[: len(messages) - before])]

    def body(self) -> str:
        """Of the message that was told last."""
        return str(build.book().store.messages(1)[0]["body"])


@pytest.fixture
def instance(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[dg.DagsterInstance]:
    """In memory, where there are no ticks, unless a test asks for files."""
    (tmp_path / "dagster").mkdir()
    open_one = dg.DagsterInstance.local_temp if hasattr(request, "param") else dg.DagsterInstance.ephemeral
    with open_one(str(tmp_path / "dagster")) as opened:
        yield opened


@pytest.fixture
def watch(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Watch]:
    (tmp_path / "wakeline.toml").write_text(
        f'data_dir = "{tmp_path}"\n[warehouse]\nport = {free_ports(1)[0]}\n[dagster]\nurl = "https://dagster.example.com/"\n'
        '[alerts.channels.chat]\nurl = "json://127.0.0.1:1"\n'
    )
    monkeypatch.setenv("WAKELINE_CONFIG", str(tmp_path / "wakeline.toml"))
    clock = Hand(system_clock())
    for module in ("sensors.alerts.build", "sensors.alerts.looks", "sensors.alerts.asset_looks"):
        monkeypatch.setattr(f"{module}.system_clock", clock)
    caches = (configuration.settings, configuration.lane_store, build.book, looks._ledger)
    for cached in caches:
        cached.cache_clear()
    yield Watch(instance, clock)
    for cached in caches:
        cached.cache_clear()


def run(instance: dg.DagsterInstance, job: str, **tags: str) -> str:
    done = DEFINITIONS.resolve_job_def(job).execute_in_process(instance=instance, tags=tags, raise_on_error=False)
    return done.run_id


# Runs


def test_a_failed_run_is_told_with_its_error_and_recovers_with_the_next_success(watch: Watch) -> None:
    assert watch.told("alert_runs") == []
    run_id = run(watch.instance, "marts_job", broken="yes")
    assert watch.told("alert_runs") == ["[error] run/marts_job"]
    assert watch.body().startswith(
        "The last run of marts_job failed in the step marts: ValueError: Code: 47. Unknown column 'x'\nSince: "
    )
    assert "Affected: marts, report" in watch.body()
    assert f"Owner: {OWNER}" in watch.body()
    assert f"Run: https://dagster.example.com/runs/{run_id}" in watch.body()
    assert "somewhere" not in watch.body()
    run(watch.instance, "marts_job", broken="yes")
    assert watch.told("alert_runs") == []
    run(watch.instance, "marts_job")
    assert watch.told("alert_runs") == ["Recovered: run/marts_job"]


def test_why_a_run_failed_is_read_once_and_every_tick_has_an_instance_of_its_own(watch: Watch) -> None:
    run_id = run(watch.instance, "marts_job", broken="yes")
    with dg.DagsterInstance.ephemeral() as another:
        assert failure_of(watch.instance, run_id) is failure_of(another, run_id)


def test_a_failed_run_that_was_deleted_is_no_recovery(watch: Watch) -> None:
    run_id = run(watch.instance, "marts_job", broken="yes")
    assert watch.told("alert_runs") == ["[error] run/marts_job"]
    watch.instance.delete_run(run_id)
    assert watch.told("alert_runs") == []


def begin(instance: dg.DagsterInstance) -> dg.DagsterRun:
    return create_run_for_test(instance, job_name="marts_job")


def test_of_two_runs_at_once_the_one_that_ends_last_decides(watch: Watch) -> None:
    instance = watch.instance
    older, younger = begin(instance), begin(instance)
    succeed(instance, younger)
    assert watch.told("alert_runs") == []
    instance.report_run_failed(older, "The disk is full.")
    assert watch.told("alert_runs") == ["[error] run/marts_job"]
    assert f"https://dagster.example.com/runs/{older.run_id}" in watch.body()
    older, younger = begin(instance), begin(instance)
    instance.report_run_failed(younger, "The disk is full.")
    assert watch.told("alert_runs") == []
    succeed(instance, older)
    assert watch.told("alert_runs") == ["Recovered: run/marts_job"]


def succeed(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    instance.report_dagster_event(DagsterEvent(DagsterEventType.RUN_SUCCESS.value, run.job_name), run.run_id)


def test_a_run_that_failed_by_its_check_is_told_as_the_check(watch: Watch) -> None:
    class FailedChecksError(Exception):
        """As dbt ends when a test fails."""

    @dg.asset_check(asset=marts, name="not_null_id")
    def failing() -> Iterator[dg.AssetCheckResult]:
        yield dg.AssetCheckResult(passed=False, metadata={"dagster_dbt/failed_row_count": 3})
        raise FailedChecksError

    job = dg.define_asset_job("checked_job", dg.AssetSelection.checks(failing), executor_def=dg.in_process_executor)
    broken = dg.Definitions(assets=[marts], asset_checks=[failing], jobs=[job]).resolve_job_def("checked_job")
    assert not broken.execute_in_process(instance=watch.instance, raise_on_error=False).success
    watch.tick("alert_runs")
    watch.tick("alert_checks", 5)
    assert watch.told("alert_runs") == []
    assert watch.told("alert_checks") == ["[error] check/marts/not_null_id"]
    assert watch.body().startswith("not_null_id of marts failed: failed_row_count 3\n")
    assert watch.told("alert_runs") == []


# Checks


def evaluate(instance: dg.DagsterInstance, asset: str, check: str, passed: bool, **values: Any) -> None:
    assert (asset, check) in REPORTED
    instance.report_runless_asset_event(
        dg.AssetCheckEvaluation(check_name=check, asset_key=dg.AssetKey(asset), passed=passed, **values)
    )


def test_a_failed_check_is_told_with_what_to_do(watch: Watch) -> None:
    evaluate(watch.instance, "event_stream", "stream_can_be_read", False, metadata={"error": "The topic is gone."})
    assert watch.told("alert_checks", 10) == ["[error] check/event_stream/stream_can_be_read"]
    assert watch.body().startswith("stream_can_be_read of event_stream failed: The topic is gone.\n")
    assert f"First: {CHECKS['stream_can_be_read'].first_action}" in watch.body()
    assert "Affected: landing, marts, report" in watch.body()
    assert "https://dagster.example.com/assets/event_stream?view=checks" in watch.body()
    evaluate(watch.instance, "event_stream", "stream_can_be_read", True)
    assert watch.told("alert_checks") == ["Recovered: check/event_stream/stream_can_be_read"]


def test_a_degraded_check_is_a_warning_and_gets_worse(watch: Watch) -> None:
    warn, error = dg.AssetCheckSeverity.WARN, dg.AssetCheckSeverity.ERROR
    evaluate(watch.instance, "landing", "some_test", False, severity=warn, description="12 s, allowed 10 s.")
    assert watch.told("alert_checks") == ["[warning] check/landing/some_test"]
    assert watch.body().startswith("some_test of landing failed: 12 s, allowed 10 s.\n")
    evaluate(watch.instance, "landing", "some_test", False, severity=error, description="99 s, allowed 10 s.")
    assert watch.told("alert_checks") == ["[error] Worse: check/landing/some_test"]


def test_a_check_that_is_being_evaluated_stays_as_it_is(watch: Watch) -> None:
    run(watch.instance, "checked_job")
    assert watch.told("alert_checks") == ["[error] check/marts/not_null_id"]
    planned = dg.AssetCheckKey(dg.AssetKey("marts"), "not_null_id")
    started = create_run_for_test(watch.instance, job_name="checked_job", asset_check_selection=frozenset({planned}))
    watch.instance.report_dagster_event(
        DagsterEvent(
            DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED.value,
            "checked_job",
            event_specific_data=AssetCheckEvaluationPlanned(asset_key=planned.asset_key, check_name=planned.name),
        ),
        started.run_id,
    )
    assert watch.told("alert_checks") == []
    assert [alert.key for alert in build.book().store.alerts().values() if alert.is_open] == ["check/marts/not_null_id"]


# Freshness


def freshness(instance: dg.DagsterInstance, asset: str, state: FreshnessState, at_ms: int) -> None:
    """As Dagster's freshness daemon writes it."""
    instance._report_runless_asset_event(
        FreshnessStateChange(
            key=dg.AssetKey(asset),
            previous_state=FreshnessState.UNKNOWN,
            new_state=state,
            state_change_timestamp=at_ms / 1000,
        )
    )


def test_a_stale_asset_is_told_and_what_is_made_of_it_is_not(watch: Watch) -> None:
    now_ms = watch.clock()
    for asset in ("event_stream", "landing"):
        freshness(watch.instance, asset, FreshnessState.UNKNOWN, now_ms)
    assert watch.told("alert_freshness", 200) == []
    for asset in ("event_stream", "landing"):
        freshness(watch.instance, asset, FreshnessState.FAIL, now_ms)
    assert watch.told("alert_freshness", 200) == ["[error] freshness/event_stream"]
    assert re.match(r"event_stream is stale for \d+ \w+ \(allowed 15 min\)\.\n", watch.body())
    assert "Affected: landing, marts, report" in watch.body()
    assert watch.told("alert_freshness", 200) == []
    for asset in ("event_stream", "landing"):
        freshness(watch.instance, asset, FreshnessState.PASS, now_ms)
    assert watch.told("alert_freshness", 200) == ["Recovered: freshness/event_stream"]


def test_a_warning_of_freshness_is_not_told(watch: Watch) -> None:
    freshness(watch.instance, "landing", FreshnessState.WARN, watch.clock())
    assert watch.told("alert_freshness", 200) == []


# Lanes


def lane_run(instance: dg.DagsterInstance, status: dg.DagsterRunStatus, lane: str = "0") -> str:
    made = create_run_for_test(instance, job_name=resident_lane.name, tags={LANE_TAG: lane})
    instance.report_engine_event("started", made)
    if status is dg.DagsterRunStatus.FAILURE:
        instance.report_run_failed(made, "The process is gone.")
    elif status is dg.DagsterRunStatus.CANCELED:
        instance.report_run_canceled(made)
    return made.run_id


def hold(watch: Watch, run_id: str) -> Callable[[], None]:
    """The run holds the lane; what is returned gives it back."""
    lanes = configuration.lane_store()
    lease = lanes.acquire("0", run_id, watch.clock(), HOUR_MS)
    assert lease is not None
    return lambda: lanes.release(lease)


def start(instance: dg.DagsterInstance) -> str:
    made = create_run_for_test(instance, job_name=resident_lane.name, tags={LANE_TAG: "0"})
    instance.report_dagster_event(DagsterEvent(DagsterEventType.RUN_START.value, resident_lane.name), made.run_id)
    return made.run_id


def test_a_failed_resident_run_is_told_within_seconds_and_recovers_when_a_successor_has_held_the_lane(
    watch: Watch,
) -> None:
    hold(watch, start(watch.instance))()
    failed = lane_run(watch.instance, dg.DagsterRunStatus.FAILURE)
    assert "Told" not in watch.tick("alert_lanes")
    assert "Told: [critical] lane/0." in watch.tick("alert_lanes", 16)
    assert watch.body().startswith("The resident run of lane 0 failed, nobody processes it: ")
    assert f"https://dagster.example.com/runs/{failed}" in watch.body()
    assert "Affected: landing, marts, report" in watch.body()
    hold(watch, start(watch.instance))
    assert "Told" not in watch.tick("alert_lanes", 5)
    assert "Told" not in watch.tick("alert_lanes", 5)  # The run started by the clock on the wall, 26 s ago.
    assert "Told: Recovered: lane/0." in watch.tick("alert_lanes", 10)


def test_a_handover_after_a_failure_that_was_mended_is_no_failure(watch: Watch) -> None:
    lane_run(watch.instance, dg.DagsterRunStatus.FAILURE)
    give_back = hold(watch, start(watch.instance))
    assert watch.told("alert_lanes", 16) == ["[critical] lane/0"]
    assert watch.told("alert_lanes", 60) == ["Recovered: lane/0"]
    give_back()
    start(watch.instance)
    assert watch.told("alert_lanes", 5) == []


def test_a_lane_that_nobody_takes_is_told_after_a_while(watch: Watch) -> None:
    hold(watch, "run-1")()
    lane_run(watch.instance, dg.DagsterRunStatus.CANCELED)
    assert watch.told("alert_lanes", 50) == []
    assert watch.told("alert_lanes", 10) == ["[critical] lane/0"]
    assert watch.body().startswith("Nobody processes lane 0: it has no live resident run.\n")
    hold(watch, "run-2")
    assert watch.told("alert_lanes", 1) == ["Recovered: lane/0"]


def test_a_lane_that_is_held_is_well(watch: Watch) -> None:
    assert configuration.lane_store().acquire("0", "run-1", watch.clock(), LEASE_MS) is not None
    assert watch.told("alert_lanes", LEASE_MS / SECOND_MS / 2) == []


# Databases, pauses, disks, the collector


def test_databases_that_do_not_answer_are_told_and_what_they_break_is_not(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    lane_run(watch.instance, dg.DagsterRunStatus.FAILURE)
    watch.tick("alert_databases")  # Nobody listens at the port of ClickHouse.
    assert "Told" not in watch.tick("alert_lanes"), "Its cause waits to be told."
    assert watch.told("alert_databases") == ["[critical] database/warehouse"]
    assert watch.body().startswith("ClickHouse does not answer at 127.0.0.1:")
    assert watch.told("alert_lanes") == []

    class Away:
        def state(self, lane: str) -> LaneState:
            raise LedgerError("The ledger database fails: it is away.")

    monkeypatch.setattr(looks, "lane_store", Away)
    assert watch.told("alert_databases") == ["[critical] database/ledger"]
    monkeypatch.setattr(looks, "lane_store", configuration.lane_store)
    monkeypatch.setattr(looks, "connect", lambda settings, patience_seconds: StringIO())
    assert watch.told("alert_databases") == ["Recovered: Databases (2)"]


def test_a_clickhouse_that_hangs_does_not_answer(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looks, "_PATIENCE_SECONDS", 1)
    with socket.create_server(("127.0.0.1", configuration.settings().warehouse.port)):
        assert "ClickHouse does not answer at 127.0.0.1:" in watch.tick("alert_databases")


def test_a_paused_campaign_is_told_with_its_reason(watch: Watch) -> None:
    ledger = looks._ledger()
    ledger.pause("abandoned_cart", "ann", "wrong voucher", watch.clock())
    assert watch.told("alert_pauses") == ["[info] pause/abandoned_cart"]
    assert watch.body().splitlines()[0].endswith("by ann: wrong voucher")
    assert "wakeline resume abandoned_cart" in watch.body()
    ledger.resume("abandoned_cart", "ann", watch.clock())
    assert watch.told("alert_pauses") == ["Recovered: pause/abandoned_cart"]


def test_a_disk_that_runs_full_is_told(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    assert watch.told("alert_disk", 200) == []
    monkeypatch.setattr("sensors.alerts.looks.shutil.disk_usage", lambda path: usage(100 * 2**30, 0, 9 * 2**30))
    assert watch.told("alert_disk", 200) == ["[error] disk/data_dir"]
    assert watch.body().startswith("9.0% of the disk of data_dir is free (9.0 of 100.0 GiB, at least 10% wanted).\n")
    monkeypatch.setattr("sensors.alerts.looks.shutil.disk_usage", lambda path: usage(100 * 2**30, 0, 2**30))
    assert watch.told("alert_disk", 200) == ["[critical] Worse: disk/data_dir"]


def test_a_collector_that_is_stopped_is_told_and_well_again_when_it_answers(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = configuration.settings()
    with collecting(
        settings.model_copy(update={"collector": settings.collector.model_copy(update={"port": 0})})
    ) as url:
        monkeypatch.setattr(looks, "collector_url", lambda settings: url)
        assert watch.told("alert_backpressure") == []
    assert watch.told("alert_backpressure") == ["[critical] collector/down"]
    assert watch.body().startswith(f"The collector does not answer at {url}: ")


# Sensors


def tick_of(watch: Watch, status: TickStatus, name: str = "marts_sensor") -> None:
    """As the daemon writes a tick of a sensor that is on."""
    repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("wakeline"), "__repository__")
    origin = RemoteInstigatorOrigin(repository, name)
    data = SensorInstigatorData(sensor_type=SensorType.STANDARD)
    state = InstigatorState(origin, InstigatorType.SENSOR, InstigatorStatus.DECLARED_IN_CODE, data)
    if watch.instance.get_instigator_state(state.instigator_origin_id, state.selector_id) is None:
        watch.instance.add_instigator_state(state)
    error = SerializableErrorInfo("LedgerError: locked\n", [], "LedgerError") if status is TickStatus.FAILURE else None
    watch.instance.create_tick(
        TickData(
            instigator_origin_id=state.instigator_origin_id,
            instigator_name=name,
            instigator_type=InstigatorType.SENSOR,
            status=status,
            timestamp=watch.clock() / 1000,
            selector_id=state.selector_id,
            error=error,
        )
    )
    watch.clock.sleep(1)


@pytest.mark.parametrize("instance", ["files"], indirect=True)
def test_a_sensor_whose_ticks_fail_is_told_until_one_succeeds(watch: Watch) -> None:
    for _ in range(2):
        tick_of(watch, TickStatus.FAILURE)
    assert watch.told("alert_sensors") == []
    tick_of(watch, TickStatus.FAILURE)
    tick_of(watch, TickStatus.FAILURE, "a_sensor_that_is_no_more")
    assert watch.told("alert_sensors") == ["[error] tick/marts_sensor"]
    assert watch.body().startswith("The last 3 ticks of the sensor marts_sensor failed: LedgerError: locked\n")
    assert "https://dagster.example.com/locations/wakeline/sensors/marts_sensor" in watch.body()
    tick_of(watch, TickStatus.SKIPPED)
    assert watch.told("alert_sensors") == ["Recovered: tick/marts_sensor"]


# The sensors themselves


def test_what_cannot_be_looked_at_neither_opens_nor_closes(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    looks._ledger().pause("abandoned_cart", "ann", "wrong voucher", watch.clock())
    watch.told("alert_pauses")

    def unreachable() -> Any:
        raise LedgerError("The ledger database fails: it is away.")

    monkeypatch.setattr(looks, "_ledger", unreachable)
    said = watch.tick("alert_pauses", 60)
    assert said == "Nothing can be said, so nothing opens or closes: The ledger database fails: it is away."
    assert build.book().store.alerts()["pause/abandoned_cart"].is_open


def test_the_delivery_sensor_delivers_and_says_what_a_channel_answered(watch: Watch) -> None:
    book: Book = build.book()
    channel = ScriptedChannel()
    channel.answers.append("500")
    book.channels["chat"] = channel
    looks._ledger().pause("abandoned_cart", "ann", "wrong voucher", watch.clock())
    watch.told("alert_pauses")
    assert watch.tick("alert_delivery") == "0 messages delivered. chat took none: 500"
    assert watch.tick("alert_delivery", 5) == "1 messages delivered."
    assert [message.title for message in channel.taken] == ["[info] pause/abandoned_cart"]


def test_that_a_sensor_was_turned_off_is_told_until_it_looks_again(watch: Watch) -> None:
    def deliver(but: str = "") -> None:
        """A tick of the delivery, when all the others but one have looked."""
        for one in CONCERNS:
            if one.name not in ("looks", but):
                build.book().take(one, Look(), watch.clock())
        watch.tick("alert_delivery", 10)

    watch.tick("alert_lanes")
    for _ in range(30):
        deliver(but="lanes")
    [told] = build.book().store.messages(9)
    assert told["title"] == "[warning] look/lanes"
    assert watch.body().startswith("The concern lanes has not looked since ")
    assert "https://dagster.example.com/locations/wakeline/sensors/alert_lanes" in watch.body()
    watch.tick("alert_lanes")
    for _ in range(4):
        deliver()
    assert build.book().store.messages(1)[0]["title"] == "Recovered: look/lanes"


def test_every_concern_has_a_sensor_that_is_on() -> None:
    sensors = build.build_alert_sensors()
    assert [sensor.name for sensor in sensors] == list(dict.fromkeys(concern.sensor for concern in CONCERNS))
    assert all(sensor.default_status is dg.DefaultSensorStatus.RUNNING for sensor in sensors)
    assert all(sensor.description for sensor in sensors)
