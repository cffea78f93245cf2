"""Dagster forgets what is old, on SQLite and on Postgres, and keeps what it needs; its log stops growing."""

import os
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
import pytest
from support.clocks import DAY_MS, HOUR_MS, NOW_MS
from support.stack import PROJECT_DIR
from support.warehouse import no_warnings

from wakeline.retention.settings import RetentionSettings
from wakeline.settings import DagsterSettings, LaneSettings, Settings
from wakeline.stack.dagster_instance import storage_environment, write_instance

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

with no_warnings():  # Of what Dagster imports.
    from reporting_load import Simulation, play, resident_lane

    from orchestration import event_log, retention
    from orchestration.retention import clean_dagster

if TYPE_CHECKING:
    from support.postgres import PostgresServer

#: Rows of the event log that a resident run at full rate may write in an hour, of which some 80 are results of checks;
#: its reports were ten times as many once.
MOST_EVENTS_AN_HOUR = 700
KEPT = RetentionSettings(runs_days=2, resident_runs_days=1, checks_days=2)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.stack)])
def instance(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dg.DagsterInstance]:
    """An instance as `wakeline up` sets it up."""
    url = ""
    if request.param == "postgres":
        server: PostgresServer = request.getfixturevalue("postgres")
        url = server.create_database()
    settings = DagsterSettings(storage_url=url)
    write_instance(PROJECT_DIR, tmp_path, settings)
    for name, value in storage_environment(settings).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(retention, "settings", lambda: Settings(retention=KEPT))
    with no_warnings(), dg.DagsterInstance.from_config(str(tmp_path)) as opened:
        yield opened


@pytest.fixture
def simulation() -> Simulation:
    return Simulation(NOW_MS)


def clean(instance: dg.DagsterInstance, simulation: Simulation, dry_run: bool = False) -> dict[str, int]:
    return clean_dagster(instance, simulation.now, dry_run, lambda said: None)


def check(instance: dg.DagsterInstance, simulation: Simulation, passed: bool) -> None:
    with simulation.in_force():
        key = dg.AssetKey("landing")
        instance.report_runless_asset_event(dg.AssetCheckEvaluation(key, "is_healthy", passed, {}))


def history(instance: dg.DagsterInstance, asset: str) -> int:
    return len(instance.fetch_materializations(dg.AssetKey(asset), limit=1000).records)


def test_old_runs_go_with_all_they_left_and_the_latest_of_an_asset_stays(
    instance: dg.DagsterInstance, simulation: Simulation
) -> None:
    job = resident_lane(simulation, LaneSettings(run_minutes=3))
    old = [play(instance, simulation, job) for _ in range(2)]
    simulation.now_ms += 3 * DAY_MS
    assert clean(instance, simulation, dry_run=True)["runs"] == 1, "The latest to have reported is not counted."
    assert instance.get_runs_count() == 2
    found = clean(instance, simulation)
    assert (found["runs"], found["runs_left"]) == (1, 1)
    assert [run.run_id for run in instance.get_runs()] == [old[1]]
    recent = play(instance, simulation, job)
    assert clean(instance, simulation)["runs"] == 1
    assert [run.run_id for run in instance.get_runs()] == [recent]
    assert history(instance, "landing") == 3
    assert not [path for path in files_of(instance) if any(run in path for run in old)]
    assert instance.get_latest_materialization_event(dg.AssetKey("landing")) is not None


def test_the_run_that_made_an_asset_stays_though_a_later_one_failed_to_make_it(
    instance: dg.DagsterInstance, simulation: Simulation
) -> None:
    @dg.asset
    def report(context: dg.AssetExecutionContext) -> None:
        if context.run.tags.get("broken"):
            raise ValueError("the disk is full")

    job = dg.define_asset_job("reports", dg.AssetSelection.assets(report), executor_def=dg.in_process_executor)
    reports = dg.Definitions(assets=[report], jobs=[job]).resolve_job_def("reports")

    def run(**tags: str) -> str:
        simulation.now_ms += HOUR_MS
        with simulation.in_force():
            return reports.execute_in_process(instance=instance, tags=tags, raise_on_error=False).run_id

    made = run()
    run(broken="yes")
    simulation.now_ms += 3 * DAY_MS
    found = clean(instance, simulation)
    assert (found["runs"], found["runs_left"]) == (1, 1)
    assert [one.run_id for one in instance.get_runs()] == [made]
    assert instance.get_latest_materialization_event(dg.AssetKey("report")) is not None


def files_of(instance: dg.DagsterInstance) -> list[str]:
    return [str(path) for path in Path(instance.root_directory).rglob("*")]


def test_of_checks_and_of_events_without_a_run_the_latest_stay(
    instance: dg.DagsterInstance, simulation: Simulation
) -> None:
    for passed in (True, False, True, False):
        check(instance, simulation, passed)
        simulation.now_ms += HOUR_MS
    simulation.now_ms += 3 * DAY_MS
    asked = clean(instance, simulation, dry_run=True)
    assert (asked["check_results"], asked["events_without_run"]) == (3, 3)
    found = clean(instance, simulation)
    assert (found["check_results"], found["events_without_run"]) == (3, 3)
    again = clean(instance, simulation)
    assert (again["check_results"], again["events_without_run"]) == (0, 0)
    key = dg.AssetCheckKey(dg.AssetKey("landing"), "is_healthy")
    [left] = instance.event_log_storage.get_asset_check_execution_history(key, limit=10)
    assert left.status.value == "FAILED"


def test_a_run_that_goes_on_stays(instance: dg.DagsterInstance, simulation: Simulation) -> None:
    with simulation.in_force():
        run = instance.create_run_for_job(resident_lane(simulation, LaneSettings()))
        instance.report_run_canceling(run)
    simulation.now_ms += 9 * DAY_MS
    assert clean(instance, simulation)["runs"] == 0
    assert instance.get_run_by_id(run.run_id) is not None


@pytest.mark.stack
def test_a_lane_at_full_rate_writes_few_events_an_hour(instance: dg.DagsterInstance, simulation: Simulation) -> None:
    runs = [play(instance, simulation, resident_lane(simulation, LaneSettings())) for _ in range(2)]
    assert simulation.now_ms == NOW_MS + HOUR_MS
    assert 300 < sum(len(instance.all_logs(run)) for run in runs) < MOST_EVENTS_AN_HOUR


def test_the_log_grows_to_a_bound_and_no_further(instance: dg.DagsterInstance, simulation: Simulation) -> None:
    job = resident_lane(simulation, LaneSettings(run_minutes=2))
    sizes = []
    for _ in range(4):
        play(instance, simulation, job)
        simulation.now_ms += round(1.1 * DAY_MS)
        clean(instance, simulation)
        sizes.append(event_log.size_bytes(instance))
    assert instance.get_runs_count() == 1
    assert history(instance, "landing") <= 3
    if "sqlite" in type(instance.event_log_storage).__name__.lower():  # Postgres uses the space again in its own time.
        assert sizes[-1] <= sizes[1] * 1.05


def test_logs_of_ticks_go_empty_ones_at_once(tmp_path: Path, simulation: Simulation) -> None:
    write_instance(PROJECT_DIR, tmp_path, DagsterSettings())
    with no_warnings(), dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        for number, (said, age_days) in enumerate([("", 2), ("", 0), ("Lane 0: ...", 2), ("Lane 0: ...", 40)]):
            path = Path(
                instance.compute_log_manager.get_captured_local_path(["__repository__", "a", str(number)], "err")
            )
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(said, encoding="utf-8")
            at_seconds = (simulation.now - timedelta(days=age_days)).timestamp()
            os.utime(path, (at_seconds, at_seconds))
        before, empty_before = simulation.now - timedelta(days=30), simulation.now - timedelta(days=1)
        for dry_run in (True, False):
            assert event_log.delete_tick_logs(instance, before, empty_before, dry_run) == 2
        assert sorted(one.stem for one in path.parent.iterdir()) == ["1", "2"]
