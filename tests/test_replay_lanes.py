"""Pausing, resuming and draining lanes, as somebody at a terminal or in Dagster sees it."""

import json
from typing import Any

import dagster as dg
import pytest
from support.clocks import NOW_MS, Hand
from support.deployed import run
from support.sending import LANE, LEASE_MS, Book
from support.warehouse import no_warnings

from wakeline.errors import ConfigError, ReplayError
from wakeline.replay.audit import open_audit
from wakeline.replay.lane_control import LaneControl
from wakeline.settings import Settings


def lane() -> dict[str, Any]:
    [entry] = json.loads(run("lanes", "--json").output)
    return dict(entry)


def test_a_lane_is_paused_and_resumed_and_shown(own_book: Book) -> None:
    assert lane()["state"] == "without a run"
    run("pause-lane", "0", "--reason", " an upgrade ", "--by", "ann")
    assert {name: lane()[name] for name in ("state", "paused_by", "pause_reason")} == {
        "state": "paused", "paused_by": "ann", "pause_reason": "an upgrade",
    }  # fmt: skip
    shown = run("lanes").output
    assert "Lane 0 is paused since" in shown
    assert "by ann: an upgrade" in shown
    assert run("resume-lane", "0").output == "Lane 0 is resumed.\n"
    assert run("resume-lane", "0").output == "Lane 0 was not paused.\n"
    entries = open_audit(own_book.engine).latest(9)
    assert [(one.operation, one.result) for one in entries] == [
        ("resume-lane", {"was_paused": False}),
        ("resume-lane", {"was_paused": True}),
        ("pause-lane", {}),
    ]


def test_what_is_done_to_lanes_is_told_to_scripts(own_book: Book) -> None:
    paused = json.loads(run("pause-lane", "0", "--reason", "an upgrade", "--by", "ann", "--json").output)
    assert paused.items() <= lane().items()
    assert (paused["lane"], paused["paused_by"], paused["pause_reason"]) == ("0", "ann", "an upgrade")
    for was_paused in (True, False):
        assert json.loads(run("resume-lane", "0", "--json").output) == {"lane": "0", "was_paused": was_paused}
    run("pause-lane", "0", "--reason", "an upgrade")
    drained = json.loads(run("drain", "--json").output)
    [entry] = open_audit(own_book.engine).latest(1)
    assert drained == entry.result
    assert set(drained) == {"processed_until"}


def test_who_is_at_work_and_how_far_is_shown(own_book: Book) -> None:
    lease = own_book.hold("run-1", now_ms=NOW_MS * 2)  # The clock of the command is the machine's.
    own_book.lanes.commit(lease, {0: (0, 5), 3: (7, 9)}, NOW_MS, NOW_MS * 2, read_until_ms=NOW_MS)
    assert lane() == {
        "lane": "0", "state": "running", "run_id": "run-1", "read_until": "2027-01-15T08:00:00.000Z",
        "paused_at": None, "paused_by": None, "pause_reason": None, "offsets": {"0": 5, "3": 9},
        "replay_parts": 0,
    }  # fmt: skip
    assert "0: 5, 3: 9" in run("lanes").output


@pytest.mark.parametrize("command", [("pause-lane", "7", "--reason", "why"), ("resume-lane", "7")])
def test_an_unknown_lane_is_one_sentence(settings: Settings, command: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match=r"^There is no lane 7: lane\.count is 1\.$"):
        run(*command)


def test_a_pause_needs_a_reason(settings: Settings) -> None:
    with pytest.raises(ConfigError, match="Give a reason"):
        run("pause-lane", "0", "--reason", " ")
    assert lane()["state"] == "without a run"


def test_a_drain_returns_when_every_lane_has_read_what_was_there_and_no_run_is_at_work(
    own_book: Book, clock: Hand
) -> None:
    lease = own_book.hold("run-1")
    looks: list[bool] = []

    def look(seconds: float) -> None:
        clock.now_ms += round(seconds * 1000)
        looks.append(own_book.lanes.is_paused(LANE))
        if len(looks) == 2:
            assert own_book.lanes.end_drain(lease, own_book.lanes.pauses()[LANE])
        if len(looks) == 4:
            own_book.lanes.release(lease)

    until_ms = LaneControl(own_book.lanes, clock, look).drain("ann", "an upgrade", wait_seconds=5)
    assert (until_ms, looks) == (NOW_MS, [False, False, True, True])


def test_a_drain_leaves_a_paused_lane_as_it_is(own_book: Book, clock: Hand) -> None:
    control = LaneControl(own_book.lanes, clock, clock.sleep)
    before = control.pause(LANE, "bob", "mails are wrong")
    control.drain("ann", "an upgrade", wait_seconds=0)
    assert own_book.lanes.pauses() == {LANE: before}


def test_a_drain_says_which_lanes_need_longer_and_they_stop_later(own_book: Book, clock: Hand) -> None:
    lease = own_book.lanes.acquire(LANE, "run-1", NOW_MS, 10 * LEASE_MS)
    assert lease is not None
    with pytest.raises(ReplayError, match=r"^After 5 seconds lanes 0 have not read .* at 2027-01-15"):
        LaneControl(own_book.lanes, clock, clock.sleep).drain("ann", "an upgrade", wait_seconds=5)
    assert own_book.lanes.end_drain(lease, own_book.lanes.pauses()[LANE])
    assert own_book.lanes.is_paused(LANE)


@pytest.fixture
def jobs(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Any:
    with no_warnings():
        from orchestration import lane_jobs

    monkeypatch.setattr(lane_jobs, "settings", lambda: settings)
    return lane_jobs


def launch(job: dg.JobDefinition, **config: Any) -> dict[str, Any]:
    """The metadata of a run of a job."""
    [node] = job.nodes
    with dg.DagsterInstance.ephemeral() as instance:
        done = job.execute_in_process(instance=instance, run_config={"ops": {node.name: {"config": config}}})
    [output] = [event for event in done.all_node_events if event.is_successful_output]
    return {name: value.value for name, value in output.step_output_data.metadata.items()}


def test_the_jobs_do_the_same(jobs: Any, own_book: Book) -> None:
    assert launch(jobs.pause_lane, lane="0", reason="an upgrade", by="ann").keys() == {"since"}
    assert own_book.lanes.pauses()[LANE].paused_by == "ann"
    assert launch(jobs.resume_lane, lane="0") == {"was_paused": True}
    with pytest.raises(ConfigError, match="There is no lane 7"):
        launch(jobs.pause_lane, lane="7", reason="why")
    entries = open_audit(own_book.engine).latest(9)
    assert [(one.operation, one.done_by, one.state) for one in entries] == [
        ("pause_lane", "Dagster", "failed"),
        ("resume_lane", "Dagster", "done"),
        ("pause_lane", "ann", "done"),
    ]


def test_the_job_that_drains_says_until_when_all_is_processed(
    jobs: Any, own_book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = own_book.hold("run-1")

    def end(_seconds: float) -> None:
        if not own_book.lanes.is_paused(LANE):
            assert own_book.lanes.end_drain(lease, own_book.lanes.pauses()[LANE])
            own_book.lanes.release(lease)

    monkeypatch.setattr(jobs.time, "sleep", end)
    assert launch(jobs.drain_and_stop, wait_seconds=60).keys() == {"processed_until"}
    assert own_book.lanes.is_paused(LANE)
