"""The real stack is backed up while it works, wiped and restored: nothing of it is lost, and no mail goes out twice."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from support.adding_up import assert_everything_adds_up
from support.metrics import asked_for, dashboard, samples_of
from support.stack import DEAR_POLL_SECONDS, RunningStack, await_that

from wakeline.activation.gates import RESTORED
from wakeline.database import sends
from wakeline.settings import CONFIG_VARIABLE

pytestmark = [
    pytest.mark.whole_stack,
    pytest.mark.timeout(300),
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]

#: Tables that a restore brings back as they were; it adds a row to those of the pauses.
_TABLES = ("sends", "offsets", "partition_starts", "streams", "consents", "consent_stamps", "suppressions")


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[RunningStack]:
    running = RunningStack(tmp_path)
    try:
        running.start()
        yield running
    finally:
        running.kill()


def test_a_stack_that_is_backed_up_at_work_wiped_and_restored_sends_nothing_twice(
    stack: RunningStack, tmp_path: Path
) -> None:
    made, lost_mails = back_up_in_the_middle_of_a_play(stack, tmp_path / "backup")
    assert_the_dashboard_has_all_it_asks_for(stack)
    stack.kill()
    shutil.move(stack.settings.data_dir, tmp_path / "lost")

    run_wakeline(tmp_path, "restore", str(tmp_path / "backup"))
    assert_the_ledger_is_that_of_the_backup(stack, tmp_path / "backup")
    known = {row["idempotency_key"] for row in stack.ledger(sa.select(sends).where(sends.c.state == "sent"))}
    take_over_mails(stack, tmp_path / "lost" / "outbox", known)

    stack.start()
    kept = events_of(stack)
    assert all(kept.get(int(partition), 0) >= end for partition, end in made["offsets"].items())
    landed = landed_ids(stack)
    stack.messages = [one for one in stack.messages if one["messageId"] in landed]
    with stack.play(seed=9102) as play:
        play.finish()
    stack.await_settled()
    again = set(stack.mails()) - known
    assert again
    assert not again & lost_mails
    held = held_mails(stack)
    assert held & lost_mails, "Nothing would have gone out twice, so nothing was proved."

    run_wakeline(tmp_path, "resume", RESTORED)
    await_that("nothing is held any more", lambda: not held_mails(stack), 60, DEAR_POLL_SECONDS)
    stack.await_settled()
    assert_everything_adds_up(stack)


def assert_the_dashboard_has_all_it_asks_for(stack: RunningStack) -> None:
    """What only a spool shows is looked at in tests/test_metrics.py."""
    metrics = stack.settings.metrics
    texts = [httpx.get(f"http://127.0.0.1:{port}/metrics").text for port in (metrics.collector_port, metrics.port)]
    told = {name for text in texts for name, _ in samples_of(text)}
    asked = {name for expression in dashboard().expressions() for name in asked_for(expression)}
    assert asked - {"wakeline_collector_spool_events", "wakeline_collector_spool_bytes"} <= told


def back_up_in_the_middle_of_a_play(stack: RunningStack, target: Path) -> tuple[dict[str, Any], set[str]]:
    """The backup's manifest, and the mails that were out at the end."""
    with stack.play(seed=9101) as play:
        play.await_middle()
        made = run_wakeline(target.parent, "backup", str(target), "--json")
        play.finish()
    stack.await_settled()
    return json.loads(made), set(stack.mails())


def assert_the_ledger_is_that_of_the_backup(stack: RunningStack, backup: Path) -> None:
    for table in _TABLES:
        assert all_of(stack.settings.ledger_path, table) == all_of(backup / "ledger.sqlite", table), table


def take_over_mails(stack: RunningStack, outbox: Path, keys: set[str]) -> None:
    """Mails that are out stay out, whatever is restored; those that the ledger does not know are not looked at."""
    stack.settings.outbox_dir.mkdir(mode=0o700)
    for key in keys:
        shutil.copy2(outbox / f"{key}.eml", stack.settings.outbox_dir)


def events_of(stack: RunningStack) -> dict[int, int]:
    """Partition -> its events in landing, once all that the stream has of them is there."""
    is_read = lambda: sum(stack.landed().values()) == stack.received()  # noqa: E731
    await_that("the restored stream is read to its end", is_read, 60, DEAR_POLL_SECONDS)
    return stack.landed()


def landed_ids(stack: RunningStack) -> set[str]:
    return {row[0] for row in stack.warehouse("SELECT DISTINCT message_id FROM landing")}


def held_mails(stack: RunningStack) -> set[str]:
    return {row["idempotency_key"] for row in stack.ledger(sa.select(sends).where(sends.c.state == "held"))}


def all_of(path: Path, table: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return sorted(connection.execute(f"SELECT * FROM {table}"), key=repr)  # noqa: S608 - a constant


def run_wakeline(folder: Path, *arguments: str) -> str:
    """What a command says."""
    environment = {**os.environ, CONFIG_VARIABLE: str(folder / "wakeline.toml")}
    done = subprocess.run(
        [sys.executable, "-m", "wakeline", *arguments], capture_output=True, text=True, env=environment, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
