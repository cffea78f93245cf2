import itertools
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.clocks import Hand
from support.spooling import LARGEST, PLENTY, Broker, Event, Place, numbered
from support.stack import await_that

from wakeline.clock import system_clock
from wakeline.errors import EventRefusedError, StreamError, StreamFullError
from wakeline.streams import spool_drain, spool_file
from wakeline.streams.embedded import EmbeddedStream
from wakeline.streams.protocol import Facts, Lag
from wakeline.streams.spool import SpooledStream
from wakeline.streams.spool_drain import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, pause_seconds
from wakeline.streams.spool_file import refused_path


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setattr(spool_drain, "LONGEST_PAUSE_SECONDS", 0.05)
    place = Place(tmp_path)
    yield place
    place.close_all()


def test_while_the_broker_takes_events_nothing_is_spooled(place: Place) -> None:
    stream = place.open()
    stream.append(numbered(0, 3))
    stream.append([])
    assert place.events() == numbered(0, 3)
    assert stream.spooled() == {}
    assert place.broker.calls == 1


def test_events_that_the_broker_does_not_take_wait_on_disk_and_come_in_order_when_it_does(place: Place) -> None:
    stream = place.open()
    stream.append(numbered(0, 2))
    place.go_down()
    stream.append(numbered(2, 4))
    stream.append(numbered(4, 5))
    assert stream.spooled() == {"spooled_events": 3, "spooled_bytes": 3, "stream_error": "The broker is away."}
    assert place.events() == numbered(0, 2)
    place.come_back()
    place.await_drained(stream)
    assert place.events() == numbered(0, 5)
    stream.append(numbered(5, 6))
    assert place.events() == numbered(0, 6)


def test_an_answer_is_given_only_when_the_events_are_synced_to_disk(place: Place) -> None:
    stream = place.open()
    place.go_down()
    stream.append(numbered(0, 1))
    # What another process would see at this moment.
    script = "import sqlite3, sys; print(*sqlite3.connect(sys.argv[1]).execute('SELECT body FROM blocks').fetchone())"
    seen = subprocess.run([sys.executable, "-c", script, str(place.path)], capture_output=True, text=True, check=True)
    assert seen.stdout.strip() == "b'0'"


def test_new_events_go_behind_those_that_wait_also_when_the_broker_is_back(place: Place) -> None:
    stream = place.open()
    place.go_down()
    stream.append(numbered(0, 1))
    place.broker.released.clear()
    place.broker.entered.clear()
    place.broker.entered.wait()  # The drainer is at the broker, which has come back.
    place.come_back()
    stream.append(numbered(1, 2))
    assert place.events() == []
    place.broker.released.set()
    place.await_drained(stream)
    assert place.events() == numbered(0, 2)


def test_the_spool_becomes_empty_under_a_steady_load_and_events_go_straight_again(place: Place) -> None:
    stream = place.open()
    place.go_down()
    stream.append(numbered(0, 1))
    straight = threading.Event()
    numbers = itertools.count(1)

    def load() -> None:
        while not straight.is_set():
            stream.append(numbered(number := next(numbers), number + 1))

    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(load)
        place.come_back()
        place.await_drained(stream)
        straight.set()
        loading.result()
    place.await_drained(stream)
    events = place.events()
    assert events == numbered(0, len(events))
    assert len(events) == next(numbers)


def test_the_order_of_every_key_is_kept_whoever_appends_and_however_often_the_broker_goes(place: Place) -> None:
    stream = place.open()
    done = threading.Event()

    def post(key: str) -> None:
        for number in range(150):
            stream.append(numbered(number, number + 1, key))

    def flap() -> None:
        while not done.is_set():
            place.go_down()
            done.wait(0.01)
            place.come_back()
            done.wait(0.02)

    with ThreadPoolExecutor(5) as pool:
        flapping = pool.submit(flap)
        for posting in [pool.submit(post, key) for key in "abcd"]:
            posting.result()
        done.set()
        flapping.result()
    place.await_drained(stream)
    events = place.events()
    for key in "abcd":
        assert [event for event in events if event[0] == key] == numbered(0, 150, key)


def test_a_full_spool_takes_nothing_and_says_when_to_come_again_and_why(place: Place) -> None:
    stream = place.open(max_bytes=10)
    place.go_down()
    stream.append(numbered(0, 10))
    with pytest.raises(StreamFullError, match=r"stream\.spool\.max_bytes are waiting .* The broker is away\.") as full:
        stream.append(numbered(10, 11))
    assert full.value.retry_after_seconds == 10
    place.come_back()
    place.await_drained(stream)
    stream.append(numbered(10, 11))
    assert place.events() == numbered(0, 11)


def test_while_the_disk_is_too_full_to_forget_them_events_are_not_sent_again(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = place.open()
    place.go_down()
    stream.append(numbered(0, 10))
    tries = full_disk(monkeypatch, "retain")
    place.come_back()
    await_that("it has tried to forget them three times", lambda: len(tries) >= 3, 10)
    assert place.events() == numbered(0, 10)
    stream.append(numbered(10, 11))  # Nothing waits: the broker takes it at once.
    assert place.events() == numbered(0, 11)
    tries.stop()
    await_that("the file is empty", lambda: waiting(place.path) == 0, 10)
    place.close(stream)
    again = place.open()
    place.await_drained(again)
    assert place.events() == numbered(0, 11)


def test_while_the_disk_is_too_full_to_put_an_event_aside_those_before_it_are_not_sent_again(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = place.open()
    events = numbered(0, 8)
    events[5] = poison = ("bob", b"x" * (LARGEST + 1))
    tries = full_disk(monkeypatch, "append", refused_path(place.path))
    stream.append(events)
    await_that("it has tried to put the event aside three times", lambda: len(tries) >= 3, 10)
    assert place.events() == numbered(0, 5)
    tries.stop()
    place.await_drained(stream)
    assert place.events() == [event for event in events if event != poison]
    assert waiting(refused_path(place.path)) == 1


class Tries(list[str]):
    """What was tried on a full disk, until there is room again."""

    is_full = True

    def stop(self) -> None:
        self.is_full = False


def full_disk(monkeypatch: pytest.MonkeyPatch, method: str, path: Path | None = None) -> Tries:
    """Let a method of an embedded log fail as on a full disk; of one file, or of all."""
    real, tries = getattr(EmbeddedStream, method), Tries()

    def fail(log: EmbeddedStream, *arguments: object) -> object:
        if tries.is_full and (path is None or log.name == path.stem):
            tries.append(log.name)
            raise StreamFullError("The disk is full.", 10)
        return real(log, *arguments)

    monkeypatch.setattr(EmbeddedStream, method, fail)
    return tries


def waiting(path: Path) -> int:
    """How many events a spool's file holds."""
    log = EmbeddedStream(path, path.stem, 1, system_clock)
    [head] = log.heads()
    log.close()
    return head.next - head.earliest


def test_with_no_bytes_for_the_spool_the_client_waits_for_the_broker(place: Place) -> None:
    stream = place.open(max_bytes=0)
    place.go_down()
    with pytest.raises(StreamFullError, match="The broker is away"):
        stream.append(numbered(0, 1))
    assert stream.spooled() == {}


def test_the_bound_counts_what_was_there_at_the_start(place: Place) -> None:
    stream = place.open()
    place.go_down()
    stream.append(numbered(0, 10))
    place.close(stream)
    again = place.open(max_bytes=12)
    assert again.spooled()["spooled_bytes"] == 10
    with pytest.raises(StreamFullError):
        again.append([("ann", b"xxx")])


def test_what_was_spooled_is_appended_first_after_a_restart(place: Place) -> None:
    stream = place.open()
    place.go_down()
    stream.append(numbered(0, 10))
    place.close(stream)
    again = place.open()
    again.append(numbered(10, 11))
    place.come_back()
    place.await_drained(again)
    assert place.events() == numbered(0, 11)


def test_what_the_broker_has_is_not_sent_again_after_a_restart(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_file, "BATCH_ROWS", 4)
    stream = place.open()
    place.go_down()
    stream.append(numbered(0, 10))
    place.broker.released.clear()
    place.broker.entered.clear()
    place.broker.entered.wait()
    place.come_back()
    with ThreadPoolExecutor(1) as pool:
        closing = pool.submit(place.close, stream)  # Waits for the batch under way.
        place.broker.released.set()
        closing.result()
    taken = len(place.events())
    assert taken == 4
    again = place.open()
    place.await_drained(again)
    assert place.events() == numbered(0, 10)


@pytest.mark.parametrize("error", [StreamError("The password was revoked."), EventRefusedError("Too large.")])
def test_any_error_of_a_running_broker_is_an_outage_that_costs_no_event(
    place: Place, error: StreamError, caplog: pytest.LogCaptureFixture
) -> None:
    stream = place.open()
    place.broker.error = lambda: error
    place.go_down()
    stream.append(numbered(0, 3))
    assert str(error) in caplog.text
    place.come_back()
    place.await_drained(stream)
    place.close(stream)
    again = place.open()  # What was refused meanwhile is tried again.
    place.await_drained(again)
    assert sorted(place.events()) == numbered(0, 3)


def test_a_broker_that_is_misconfigured_at_the_start_is_said_at_once(place: Place) -> None:
    def connect() -> Broker:
        raise StreamError("The broker refuses the password.")

    with pytest.raises(StreamError, match="refuses the password"):
        SpooledStream("events", connect, place.path, PLENTY, system_clock)
    place.open()  # The spool was let go.


def test_a_broker_that_is_away_at_the_start_is_asked_again_while_events_wait(place: Place) -> None:
    place.go_down()

    def connect() -> Broker:
        if place.broker.down.exists():
            raise StreamFullError("No broker answers.", 1)
        return place.connect()

    stream = SpooledStream("events", connect, place.path, PLENTY, system_clock)
    with pytest.raises(StreamFullError, match="No broker answers"):
        stream.facts()
    stream.append(numbered(0, 2))
    assert stream.spooled()["stream_error"] == "No broker answers."
    place.come_back()
    place.await_drained(stream)
    stream.close()
    assert place.events() == numbered(0, 2)


def test_an_event_that_the_broker_refuses_for_good_stops_no_other_and_is_kept_for_the_next_start(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    stream = place.open()
    events = numbered(0, 20)
    events[7] = poison = ("bob", b"x" * (LARGEST + 1))
    stream.append(events)
    place.await_drained(stream)
    arrived = place.events()
    assert poison not in arrived
    assert list(dict.fromkeys(arrived)) == [event for event in events if event != poison]
    assert "An event of 101 bytes with key 'bob' is put aside" in caplog.text
    place.close(stream)

    still_refused = place.open()
    place.await_drained(still_refused)
    place.close(still_refused)
    assert poison not in place.events()

    place.largest = 1_000
    again = place.open()
    place.await_drained(again)
    assert place.events()[-1] == poison
    place.close(again)
    assert refused(place.path) == []


def refused(path: Path) -> list[Event]:
    store = EmbeddedStream(refused_path(path), "refused", 1, system_clock)
    records = store.read({0: store.earliest(0)}, 1_000, PLENTY)
    store.close()
    return [(record.key, record.value) for record in records]


def test_two_collectors_never_drain_one_spool(place: Place) -> None:
    first = place.open()
    with pytest.raises(StreamError, match=r"spool-8200\.sqlite is used by another collector; give this one another"):
        place.open()
    other = place.open(path=place.folder / "spool-8201.sqlite")
    place.go_down()
    first.append(numbered(0, 1))
    other.append(numbered(1, 2))
    place.come_back()
    place.await_drained(first)
    place.await_drained(other)
    assert sorted(place.events()) == numbered(0, 2)


def test_a_spool_that_no_collector_uses_any_more_is_taken_over(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    gone = place.open(path=place.folder / "spool-8201.sqlite")
    place.go_down()
    gone.append(numbered(0, 5))
    place.close(gone)
    stream = place.open()
    assert stream.spooled()["spooled_events"] == 5
    assert "5 events of" in caplog.text
    place.come_back()
    place.await_drained(stream)
    assert place.events() == numbered(0, 5)
    assert place.open(path=place.folder / "spool-8201.sqlite").spooled() == {}


def test_a_close_cuts_the_drainers_pause_short(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_drain, "FIRST_PAUSE_SECONDS", 1_000.0)
    monkeypatch.setattr(spool_drain, "LONGEST_PAUSE_SECONDS", 1_000.0)
    stream = place.open()
    place.go_down()
    stream.append(numbered(0, 1))
    await_that("the drainer was refused", lambda: place.broker.calls == 2, 10)
    place.close(stream)


def test_a_bug_in_the_broker_s_client_does_not_end_the_drainer(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    stream = place.open()
    place.go_down()
    stream.append(numbered(0, 1))
    place.broker.error = lambda: ZeroDivisionError()  # type: ignore[assignment, return-value]
    await_that("the bug is in the log", lambda: "ZeroDivisionError" in caplog.text, 10)
    place.come_back()
    place.await_drained(stream)
    assert place.events() == numbered(0, 1)


def test_an_outage_is_said_once_a_minute_and_its_end_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    clock = Hand()
    broker = spool_drain.Broker(lambda: pytest.fail("not opened"), clock)
    for seconds in (0, 10, 50):
        clock.sleep(seconds)
        broker.note(StreamError("It is away."))
    broker.note(StreamError("It refuses the password."))
    broker.note_well()
    broker.note_well()
    assert [record.getMessage() for record in caplog.records] == [
        "Events wait in the spool: It is away.",
        "Events wait in the spool: It is away.",
        "Events wait in the spool: It refuses the password.",
        "The event stream takes events again, and has all that waited.",
    ]


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_pauses_grow_up_to_the_longest_and_differ_between_collectors(failures: int, chance: float) -> None:
    pause = pause_seconds(failures, chance)
    assert FIRST_PAUSE_SECONDS / 2 <= pause <= LONGEST_PAUSE_SECONDS
    assert pause <= pause_seconds(failures + 1, chance)
    assert pause_seconds(failures, 0) * 2 == pause_seconds(failures, 1)


def test_everything_else_is_asked_of_the_broker(place: Place) -> None:
    stream = place.open()
    stream.append(numbered(0, 3))
    assert stream.partitions() == [0]
    assert stream.earliest(0) == 0
    assert [record.value for record in stream.read({0: 1}, 10, PLENTY)] == [b"1", b"2"]
    assert stream.lag({0: 1}).events == 2
    assert isinstance(stream.lag({}), Lag)
    assert isinstance(stream.facts(), Facts)
    stream.commit({0: 1})
    stream.verify({0: 3})
    assert stream.retain({0: 2}, system_clock() + 1_000) == 2


# kill -9

_COLLECTOR = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from support.spooling import Place, numbered
from wakeline.streams import spool_drain, spool_file

spool_drain.LONGEST_PAUSE_SECONDS, spool_file.BATCH_ROWS = 0.01, 3
stream = Place(Path(sys.argv[1])).open()
number = int(sys.argv[2])
print("ready", flush=True)
while number < int(sys.argv[3]):
    stream.append(numbered(number, number + 1))
    print(number, flush=True)
    number += 1
sys.stdin.read()
"""


class CollectorProcess:
    """Appends numbers from `first` on, and says each one that was answered."""

    def __init__(self, folder: Path, first: int, end: int) -> None:
        script = _COLLECTOR.format(tests=str(Path(__file__).parent))
        command = [sys.executable, "-c", script, str(folder), str(first), str(end)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._line() == "ready"

    def await_answer(self, number: int) -> None:
        while self._line() != str(number):
            pass

    def kill(self) -> int:
        """kill -9; the last number that was answered, as far as it was not awaited."""
        os.kill(self._process.pid, signal.SIGKILL)
        out, _ = self._process.communicate()
        said = [int(line) for line in out.splitlines(keepends=True) if line.endswith("\n")]
        return max(said, default=-1)

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "The process ended."
        return line.strip()


@pytest.mark.parametrize("awaited", [1, 40])
def test_kill_9_while_spooling_loses_nothing_that_was_answered(place: Place, awaited: int) -> None:
    place.go_down()
    process = CollectorProcess(place.folder, 0, 1_000_000)
    process.await_answer(awaited)
    answered = max(awaited, process.kill())
    place.come_back()
    stream = place.open()
    place.await_drained(stream)
    events = place.events()
    assert events == numbered(0, len(events))
    assert len(events) > answered


def test_kill_9_while_draining_loses_nothing_repeats_at_most_a_batch_and_keeps_the_order(place: Place) -> None:
    place.go_down()
    process = CollectorProcess(place.folder, 0, 200)
    process.await_answer(199)
    place.come_back()
    for _ in range(3):
        before = len(place.events())
        await_that("some are drained", lambda before=before: len(place.events()) > before, 20)  # type: ignore[misc]
        process.kill()
        process = CollectorProcess(place.folder, 200, 200)
    process.kill()
    stream = place.open()
    place.await_drained(stream)
    events = place.events()
    assert list(dict.fromkeys(events)) == numbered(0, 200)
    assert len(events) <= 200 + 4 * 3
