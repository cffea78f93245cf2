"""A check that a sensor reports shows in Dagster for as long as it is true, however often its asset is materialized."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass

import dagster as dg
import pytest
from support.warehouse import no_warnings

with no_warnings():  # Of what Dagster imports.
    from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationPlanned
    from dagster._core.events import DagsterEvent, StepMaterializationData
    from dagster._core.loader import LoadingContextForTest

    from orchestration import check_reports
    from orchestration.check_reports import report_checks, text
    from orchestration.resident import resident_lane

ASSET = dg.AssetKey("event_stream")
KEY = dg.AssetCheckKey(ASSET, "lag")


@dataclass
class Watched:
    """An instance in which a lane's runs report, and a sensor looks now and then."""

    instance: dg.DagsterInstance
    now_seconds: float

    def run(self) -> str:
        run = self.instance.create_run_for_job(resident_lane, status=dg.DagsterRunStatus.STARTED)
        return run.run_id

    def materialize(self, run_id: str) -> None:
        self.now_seconds += 60
        data = StepMaterializationData(dg.AssetMaterialization(ASSET))
        event = DagsterEvent("ASSET_MATERIALIZATION", "resident_lane", event_specific_data=data)
        self.instance.report_dagster_event(event, run_id=run_id, timestamp=self.now_seconds)

    def end(self, run_id: str) -> None:
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        self.instance.report_run_canceled(run)

    def look(self, passed: bool = True, severity: str = "ERROR", said: str = "") -> None:
        found = dg.AssetCheckEvaluation(
            ASSET, KEY.name, passed, {}, severity=dg.AssetCheckSeverity(severity), description=said
        )
        report_checks(self.instance, [found], self.now_seconds, *([text] if said else []))

    @property
    def shown(self) -> str:
        """What the Checks tab says, by Dagster's own rule."""
        record = self.instance.event_log_storage.get_latest_asset_check_execution_by_key([KEY])[KEY]
        loading = LoadingContextForTest(self.instance)
        return record.status.value if asyncio.run(record.targets_latest_materialization(loading)) else "NOT EVALUATED"

    @property
    def results(self) -> list[str]:
        """Runs that results were reported in the name of, the latest first."""
        return [one.run_id for one in self.instance.event_log_storage.get_asset_check_execution_history(KEY, limit=50)]

    @property
    def events(self) -> int:
        chosen = dg.EventRecordsFilter(dg.DagsterEventType.ASSET_CHECK_EVALUATION)
        return len(self.instance.event_log_storage.get_event_records(chosen))


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    with dg.DagsterInstance.ephemeral() as instance:
        opened = Watched(instance, time.time() - 86_400)
        monkeypatch.setattr(
            "dagster._core.instance.methods.event_methods.get_current_timestamp", lambda: opened.now_seconds
        )
        yield opened


def test_what_is_reported_shows_until_the_run_hands_over_and_then_at_the_next_look(watched: Watched) -> None:
    first, second = watched.run(), watched.run()
    watched.materialize(first)
    for _ in range(5):
        watched.look()
        watched.materialize(first)
        assert watched.shown == "SUCCEEDED"
    assert (watched.results, watched.events) == ([first], 1), "What has not changed was reported again."
    watched.now_seconds = time.time()  # Dagster compares with when the database made the row.
    watched.materialize(second)
    watched.end(first)
    assert watched.shown == "NOT EVALUATED"
    watched.look()
    assert (watched.shown, watched.results) == ("SUCCEEDED", [second, first])
    watched.materialize(second)
    assert watched.shown == "SUCCEEDED"


def test_a_change_is_reported_at_once_and_what_lasts_now_and_then(watched: Watched) -> None:
    run = watched.run()
    watched.materialize(run)
    for passed, severity, shown in [
        (True, "ERROR", "SUCCEEDED"),
        (False, "WARN", "FAILED"),
        (False, "ERROR", "FAILED"),
        (True, "WARN", "SUCCEEDED"),
    ]:
        events = watched.events
        watched.look(passed, severity)
        watched.look(passed, severity)
        assert (watched.shown, watched.events) == (shown, events + 1)
    events = watched.events
    watched.now_seconds += check_reports._AGAIN_SECONDS + 1
    watched.look()
    assert watched.events == events + 1


def test_words_are_compared_where_they_are_what_matters(watched: Watched) -> None:
    for said in ("Lane 0 is paused.", "Lane 0 is paused.", "Lane 1 is paused."):
        watched.look(False, said=said)
    assert watched.events == 2


def test_while_no_run_goes_on_a_result_has_none_and_shows(watched: Watched) -> None:
    watched.look()
    assert (watched.shown, watched.results) == ("SUCCEEDED", [""])
    run = watched.run()
    watched.materialize(run)
    watched.end(run)
    for passed in (False, False):
        watched.look(passed)
        assert (watched.shown, watched.results) == ("FAILED", ["", ""])


def test_the_latest_result_is_reported_as_the_latest_after_somebody_ran_the_check_by_hand(watched: Watched) -> None:
    resident, by_hand = watched.run(), watched.run()
    watched.materialize(resident)
    watched.look()
    event = DagsterEvent(
        "ASSET_CHECK_EVALUATION", "by_hand", event_specific_data=dg.AssetCheckEvaluation(ASSET, KEY.name, True, {})
    )
    watched.instance.report_dagster_event(event, run_id=by_hand)
    watched.look(passed=False)
    assert (watched.shown, watched.results) == ("FAILED", ["", by_hand, resident])


def test_while_somebody_runs_the_check_by_hand_the_sensor_goes_on(watched: Watched) -> None:
    by_hand = watched.run()
    planned = DagsterEvent(
        "ASSET_CHECK_EVALUATION_PLANNED",
        "by_hand",
        event_specific_data=AssetCheckEvaluationPlanned(asset_key=ASSET, check_name=KEY.name),
    )
    watched.instance.report_dagster_event(planned, run_id=by_hand)
    watched.look(passed=False)
    assert (watched.shown, watched.results) == ("FAILED", ["", by_hand])
