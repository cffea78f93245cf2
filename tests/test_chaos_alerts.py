"""Six things go wrong in a running stack, one after the other: each is told once, and its end once. No news else.

Their order spares waiting: what would hide behind the one before, which needs time to leave the window, comes later.
"""

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.listening import Listener, listening
from support.stack import DEAR_POLL_SECONDS, PROJECT_DIR, RunningStack, await_that
from support.walk import Provider, Shoppers

from wakeline.alerts.inhibition import GRACE_SECONDS
from wakeline.warehouse.client import connect

pytestmark = [
    pytest.mark.whole_stack,
    pytest.mark.timeout(900),
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]

#: Nothing here is asserted of times: how long something took is printed.
PATIENCE_SECONDS = 400
HEARTBEAT_SECONDS = 2
#: So many rounds of heartbeats are a night.
NIGHT_HEARTBEATS = 30
SLOW_SECONDS = 8.0
WEEKS = 4

_PROJECT = ("dbt_project", "campaigns", "orchestration", "sensors")
_LAUNCH = """
    mutation Launch($run: String!) {
      launchRun(executionParams: {
        selector: {repositoryLocationName: "wakeline", repositoryName: "__repository__", jobName: $run},
        runConfigData: {}
      }) { __typename ... on PythonError { message } }
    }
"""


@dataclass
class Scene:
    """The stack and all around it."""

    stack: RunningStack
    shoppers: Shoppers
    provider: Provider
    channel: Listener
    project: Path
    say: Callable[[str], None]

    def told(self, key: str, disturb: Callable[[], object], mend: Callable[[], object]) -> str:
        """Body of the alert of one disturbance, which is mended then; fails when more is told than it and its end."""
        before = len(self.channel.taken)
        disturb()
        alert = self._next(before, f"{key} is told")
        assert (alert["title"].startswith("["), key in alert["title"]) == (True, True), alert
        mend()
        recovery = self._next(before + 1, f"the end of {key} is told")
        assert (recovery["title"].startswith("Recovered"), key in recovery["title"]) == (True, True), recovery
        return str(alert["message"])

    def _next(self, number: int, what: str) -> dict[str, Any]:
        """The message of that number, printed with the time that it took."""
        began = time.monotonic()
        await_that(
            lambda: f"{what} ({self.channel.titles()})", lambda: len(self.channel.taken) > number, PATIENCE_SECONDS
        )
        message = self.channel.taken[number]
        self.say(f"After {time.monotonic() - began:.0f} s: {message['title']}\n{message['message']}")
        return message

    def await_that_nothing_hides_it(self) -> None:
        """What is judged over a window is not told for a while after something else of the flow has ended."""
        grace_seconds = GRACE_SECONDS + self.stack.settings.sla.window_minutes * 60
        over_at = time.monotonic() + grace_seconds
        await_that("it is over", lambda: time.monotonic() > over_at, PATIENCE_SECONDS, DEAR_POLL_SECONDS)

    def minutes(self) -> list[tuple[int, int]]:
        """Accepted events of customers and heartbeats of each minute so far."""
        rows = self.stack.warehouse("SELECT accepted_count, heartbeat_count FROM traffic ORDER BY minute")
        return [(int(accepted), int(heartbeats)) for accepted, heartbeats in rows]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder, project = tmp_path_factory.mktemp("walk"), tmp_path_factory.mktemp("project")
    for name in _PROJECT:
        shutil.copytree(PROJECT_DIR / name, project / name, ignore=shutil.ignore_patterns("target", "logs", "__*"))
    for name in ("workspace.yaml", "dagster.yaml"):
        shutil.copy(PROJECT_DIR / name, project / name)
    with listening() as channel, Provider() as provider, pytest.MonkeyPatch.context() as patch:
        environment = _environment(project, channel, provider)
        for name, value in environment.items():
            patch.setenv(name, value)
        stack = RunningStack(folder, environment, heartbeat_seconds=HEARTBEAT_SECONDS)
        try:
            stack.start()
            yield Scene(stack, Shoppers(stack), provider, channel, project, print)
        finally:
            stack.kill()


def _environment(project: Path, channel: Listener, provider: Provider) -> dict[str, str]:
    values = {
        "PROJECT_DIR": str(project),
        "ALERTS__CHANNELS__WALK__URL": channel.url,
        "ACTIVATION__ESP": '["walk"]',
        "ESP__WALK__KIND": "webhook",
        "ESP__WALK__URL": f"http://127.0.0.1:{provider.server_port}/",
        "ESP__WALK__SIGNING_SECRET": "whsec_" + "c2VjcmV0" * 5,
        "ESP__WALK__TIMEOUT_SECONDS": "60",
        # All mails of a batch wait at the same time: a slow provider must not look like a lane that is behind.
        "ESP__WALK__CONCURRENCY": "20",
        "ACTIVATION__SEND_THREADS": "20",
        "SLA__WINDOW_MINUTES": "1",
        "SLA__LATENCY_P95_SECONDS": "5",
        "SLA__LATENCY_MIN_SENDS": "5",
        "SLA__VOLUME_SCORE": "4",
        "DAGSTER__BATCH_MINUTES": "600",
    }
    return {f"WAKELINE_{name}": value for name, value in values.items()}


@pytest.fixture(autouse=True)
def _say(scene: Scene, capfd: pytest.CaptureFixture[str]) -> None:
    """What is told is looked at by whoever runs the tests."""

    def on_the_terminal(text: str) -> None:
        with capfd.disabled():
            sys.stdout.write(f"\n{text}\n")

    scene.say = on_the_terminal


@pytest.fixture(scope="module")
def shopping(scene: Scene) -> Iterator[None]:
    with scene.shoppers.shopping():
        yield


def test_a_quiet_night_is_no_news(scene: Scene) -> None:
    partitions = scene.stack.settings.stream.partitions

    def is_morning() -> bool:
        return sum(heartbeats for _, heartbeats in scene.minutes()) > NIGHT_HEARTBEATS * partitions

    await_that("the night is over", is_morning, PATIENCE_SECONDS, DEAR_POLL_SECONDS)
    assert scene.channel.titles() == []
    assert not any(accepted for accepted, _ in scene.minutes())


@pytest.mark.usefixtures("shopping")
def test_a_provider_that_is_slow(scene: Scene) -> None:
    def answer_after(seconds: float) -> None:
        scene.provider.delay_seconds = seconds

    said = scene.told("latency_within_sla", lambda: answer_after(SLOW_SECONDS), lambda: answer_after(0))
    assert "p95" in said
    assert scene.provider.mails > 0


@pytest.mark.usefixtures("shopping")
def test_a_collector_that_is_stopped(scene: Scene) -> None:
    said = scene.told(
        "collector/down",
        lambda: scene.stack.stop_program("collector"),
        lambda: scene.stack.start_program("collector"),
    )
    assert "does not answer" in said
    assert "First: " in said


@pytest.mark.usefixtures("shopping")
def test_a_lane_that_is_killed(scene: Scene) -> None:
    said = scene.told("lane/0", lambda: os.kill(scene.stack.worker(), signal.SIGKILL), lambda: None)
    assert "/runs/" in said


@pytest.mark.usefixtures("shopping")
def test_a_model_that_is_broken(scene: Scene) -> None:
    model = scene.project / "dbt_project" / "models" / "marts" / "products.sql"
    sound = model.read_text(encoding="utf-8")

    def build(sql: str) -> None:
        model.write_text(sql, encoding="utf-8")
        answer = scene.stack.ask_dagster(_LAUNCH, "batch_models")["launchRun"]
        assert answer["__typename"] == "LaunchRunSuccess", answer

    said = scene.told(
        "run/batch_models", lambda: build(sound.replace("product_states", "no_such_model")), lambda: build(sound)
    )
    assert "no_such_model" in said


@pytest.mark.usefixtures("shopping")
def test_a_quarantine_that_fills(scene: Scene) -> None:
    def break_of_each_tick(views: int) -> None:
        scene.shoppers.broken = views

    said = scene.told("quarantine_within_limit", lambda: break_of_each_tick(10), lambda: break_of_each_tick(0))
    assert "are in quarantine" in said


@pytest.mark.usefixtures("shopping")
def test_traffic_that_is_halved(scene: Scene) -> None:
    def shop(share: float) -> None:
        scene.shoppers.share = share

    scene.await_that_nothing_hides_it()
    remember_weeks_like_this_minute(scene)
    said = scene.told("volume_as_usual", lambda: shop(0.5), lambda: shop(1))
    assert "are usual at this time of the week" in said


def remember_weeks_like_this_minute(scene: Scene) -> None:
    """Puts into the warehouse that earlier weeks had at this time what the last whole minute had."""
    *_, (accepted, heartbeats), _ = scene.minutes()
    assert accepted
    client = connect(scene.stack.settings.warehouse)
    try:
        [[now]] = client.query("SELECT toStartOfMinute(now('UTC'))").result_rows
        rows = [
            (now - timedelta(weeks=week, minutes=minute), source, "accepted", 0, count)
            for week in range(1, WEEKS + 1)
            for minute in range(-45, 46)
            for source, count in (("default", accepted), ("heartbeat", heartbeats))
        ]
        client.insert("traffic_minutes", rows, column_names=["minute", "source", "status", "partition", "event_count"])
    finally:
        client.close()
