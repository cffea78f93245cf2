import json
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from wakeline.clock import system_clock
from wakeline.errors import StreamError, StreamFullError
from wakeline.settings import Settings, StreamSettings
from wakeline.streams import embedded, embedded_blocks, embedded_file, embedded_log
from wakeline.streams.embedded import EmbeddedStream
from wakeline.streams.factory import open_stream
from wakeline.streams.protocol import PartitionHead, Record, partition_of

Event = tuple[str, bytes]
ALL_BYTES = 1 << 40

keys = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
batches = st.lists(st.lists(st.tuples(keys, st.binary(max_size=20)), max_size=6), max_size=6)


class Hand:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now_ms = 1_000

    def __call__(self) -> int:
        return self.now_ms


class Gatekeeper:
    """A clock at which the stream's commit waits until it is opened."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.opened = threading.Event()
        self.calls = 0

    def __call__(self) -> int:
        self.calls += 1
        self.reached.set()
        self.opened.wait()
        return self.calls


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "stream.sqlite"


@pytest.fixture
def clock() -> Hand:
    return Hand()


@pytest.fixture
def stream(path: Path, clock: Hand) -> Iterator[EmbeddedStream]:
    opened = opened_at(path, clock)
    yield opened
    opened.close()


def opened_at(path: Path, clock: Callable[[], int] = system_clock, partitions: int = 4) -> EmbeddedStream:
    return EmbeddedStream(path, "events", partitions, clock)


def everything(stream: EmbeddedStream) -> list[Record]:
    return [
        record
        for head in stream.heads()
        for record in stream.read({head.partition: head.earliest}, sys.maxsize, ALL_BYTES)
    ]


def assert_dense(stream: EmbeddedStream) -> None:
    for head in stream.heads():
        offsets = [record.offset for record in stream.read({head.partition: head.earliest}, sys.maxsize, ALL_BYTES)]
        assert offsets == list(range(head.earliest, head.next))


@given(batches, st.integers(1, 7), st.integers(1, 30))
@settings(max_examples=25, deadline=None)
def test_what_is_appended_is_read_back_in_order_in_pieces_of_any_size(
    appended: list[list[Event]], max_rows: int, max_bytes: int
) -> None:
    with tempfile.TemporaryDirectory() as folder, patch.object(embedded_blocks, "MAX_BLOCK_BYTES", 30):
        stream = opened_at(Path(folder, "stream.sqlite"), partitions=3)
        for batch in appended:
            stream.append(batch)
        for head in stream.heads():
            expected = [event for batch in appended for event in batch if partition_of(event[0], 3) == head.partition]
            assert pieces(stream, head, max_rows, max_bytes) == expected
        assert_dense(stream)
        stream.close()


def pieces(stream: EmbeddedStream, head: PartitionHead, max_rows: int, max_bytes: int) -> list[Event]:
    found: list[Event] = []
    while piece := stream.read({head.partition: len(found)}, max_rows, max_bytes):
        assert len(piece) <= max_rows
        assert len(piece) == 1 or sum(len(record.value) for record in piece) <= max_bytes
        found += [(record.key, record.value) for record in piece]
    return found


def test_a_record_carries_partition_offset_key_value_and_time_of_the_append(
    stream: EmbeddedStream, clock: Hand
) -> None:
    partition = partition_of("ann", 4)
    stream.append([("ann", b"first")])
    clock.now_ms = 2_000
    stream.append([("ann", b"second")])
    assert stream.read({partition: 0}, 10, ALL_BYTES) == [
        Record(partition, 0, 1_000, "ann", b"first"),
        Record(partition, 1, 2_000, "ann", b"second"),
    ]
    assert stream.heads()[partition] == PartitionHead(partition, 0, 2)


def test_an_append_of_nothing_changes_nothing(stream: EmbeddedStream) -> None:
    stream.append([])
    assert stream.heads() == [PartitionHead(number, 0, 0) for number in range(4)]


def test_the_settings_stream_is_the_embedded_one_and_stays_when_closed(tmp_path: Path) -> None:
    configured = Settings(data_dir=tmp_path / "new" / "folder", stream=StreamSettings(partitions=2, name="shop"))
    stream = open_stream(configured, system_clock)
    stream.append([("ann", b"kept")])
    stream.close()
    again = open_stream(configured, system_clock)
    assert (again.name, again.partitions()) == ("shop", [0, 1])
    assert again.read({partition_of("ann", 2): 0}, 1, 1)[0].value == b"kept"
    again.close()


def test_every_commit_is_synced_to_disk(stream: EmbeddedStream) -> None:
    with stream._connections.take() as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)


def test_the_file_can_be_read_by_its_owner_only(stream: EmbeddedStream, path: Path) -> None:
    stream.append([("ann", b"personal")])
    assert {file.stat().st_mode & 0o777 for file in path.parent.iterdir()} == {0o600}


class StreamMachine(RuleBasedStateMachine):
    """Appends, retention and reopening against a list in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name, "stream.sqlite")
        self.clock = Hand()
        self.stream = opened_at(self.path, self.clock, partitions=2)
        self.model: list[list[tuple[int, str, bytes]]] = [[], []]
        self.earliest = [0, 0]

    @rule(events=st.lists(st.tuples(keys, st.binary(max_size=4)), max_size=6), passed_ms=st.integers(0, 2))
    def append(self, events: list[Event], passed_ms: int) -> None:
        self.clock.now_ms += passed_ms
        self.stream.append(events)
        for key, value in events:
            self.model[partition_of(key, 2)].append((self.clock.now_ms, key, value))

    @rule(committed=st.tuples(st.integers(0, 20), st.integers(0, 20)), age_ms=st.integers(-2, 4))
    def retain(self, committed: tuple[int, int], age_ms: int) -> None:
        before_ms = self.clock.now_ms - age_ms
        expected = [self.kept_from(partition, committed[partition], before_ms) for partition in (0, 1)]
        dropped = self.stream.retain(dict(enumerate(committed)), before_ms)
        assert dropped == sum(expected) - sum(self.earliest)
        self.earliest = expected

    def kept_from(self, partition: int, committed: int, before_ms: int) -> int:
        at = self.earliest[partition]
        while at < min(committed, len(self.model[partition])) and self.model[partition][at][0] < before_ms:
            at += 1
        return at

    @rule()
    def reopen(self) -> None:
        self.stream.close()
        self.stream = opened_at(self.path, self.clock, partitions=2)

    @invariant()
    def holds_what_the_model_holds(self) -> None:
        for partition, rows in enumerate(self.model):
            start = self.earliest[partition]
            assert self.stream.heads()[partition] == PartitionHead(partition, start, len(rows))
            assert self.stream.read({partition: start}, sys.maxsize, ALL_BYTES) == [
                Record(partition, start + index, *row) for index, row in enumerate(rows[start:])
            ]

    def teardown(self) -> None:
        self.stream.close()
        self.folder.cleanup()


def test_offsets_stay_dense_and_records_stay_until_old_and_committed() -> None:
    with (
        patch.object(embedded, "RETAIN_PAUSE_SECONDS", 0),
        patch.object(embedded_log, "RETAIN_CHUNK_BLOCKS", 2),
    ):
        run_state_machine_as_test(
            StreamMachine, settings=settings(max_examples=20, stateful_step_count=20, deadline=None)
        )


def test_offsets_go_on_after_everything_was_dropped_and_the_file_reopened(path: Path, clock: Hand) -> None:
    stream = opened_at(path, clock, partitions=1)
    stream.append([("ann", b"1"), ("bob", b"2")])
    assert stream.retain({0: 2}, clock.now_ms + 1) == 2
    stream.close()
    stream = opened_at(path, clock, partitions=1)
    stream.append([("ann", b"3")])
    assert stream.heads() == [PartitionHead(0, 2, 3)]
    assert [(record.offset, record.value) for record in everything(stream)] == [(2, b"3")]
    stream.close()


@pytest.mark.parametrize("offset", [0, 3, -1])
def test_reading_where_nothing_is_or_will_be_is_an_error_and_not_a_gap(path: Path, clock: Hand, offset: int) -> None:
    stream = opened_at(path, clock, partitions=1)
    stream.append([("ann", b"1"), ("bob", b"2")])
    stream.retain({0: 1}, clock.now_ms + 1)
    assert stream.read({0: 2}, 10, ALL_BYTES) == []
    with pytest.raises(StreamError, match=f"Partition 0 of the event stream .*{offset} is the next to process"):
        stream.read({0: offset}, 10, ALL_BYTES)
    stream.close()


def test_a_partition_that_does_not_exist_is_named(stream: EmbeddedStream) -> None:
    with pytest.raises(StreamError, match="no partition 9"):
        stream.read({9: 0}, 1, 1)
    with pytest.raises(StreamError, match="no partition 9"):
        stream.retain({9: 1}, 1)


def test_appends_that_wait_for_a_commit_share_the_next_one(path: Path) -> None:
    clock = Gatekeeper()
    stream = opened_at(path, clock)
    with ThreadPoolExecutor(9) as pool:
        first = pool.submit(stream.append, [("first", b"")])
        clock.reached.wait()
        others = [pool.submit(stream.append, [(f"key {number}", b"")]) for number in range(8)]
        while len(stream._waiting) < 8:
            threading.Event().wait(0.001)
        clock.opened.set()
        for call in (first, *others):
            call.result()
    assert Counter(record.appended_at_ms for record in everything(stream)) == {1: 1, 2: 8}
    stream.close()


def test_a_failed_commit_raises_in_every_caller_that_waits_and_leaves_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded_file, "BUSY_SECONDS", 0)
    stream = opened_at(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(stream.append, [(f"key {number}", b"")]) for number in range(4)]
        errors = [call.exception() for call in calls]
    other.execute("COMMIT")
    other.close()
    assert [type(error) for error in errors] == [StreamFullError] * 4
    assert f"The event stream {path} was locked by another process" in str(errors[0])
    assert everything(stream) == []
    stream.append([("ann", b"works again")])
    assert len(everything(stream)) == 1
    stream.close()


def test_a_transaction_that_failed_frees_the_write_lock_at_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_file, "BUSY_SECONDS", 0)
    stream = opened_at(path)
    still_referred_to = []

    def fail() -> None:
        with stream._connections.take() as connection:
            connection.execute("BEGIN IMMEDIATE")
            still_referred_to.append(connection.execute("SELECT partition FROM heads"))
            raise KeyError(next(still_referred_to[0]))

    with pytest.raises(KeyError):
        fail()
    stream.append([("ann", b"1")])
    stream.close()


def test_an_error_of_ours_in_a_commit_reaches_every_caller(path: Path) -> None:
    def broken_clock() -> int:
        raise ZeroDivisionError

    stream = opened_at(path, broken_clock)
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(stream.append, [(f"key {number}", b"")]) for number in range(4)]
        errors = {type(call.exception()) for call in calls}
    assert ZeroDivisionError in errors
    assert errors <= {ZeroDivisionError, StreamError}
    stream.close()


def test_readers_do_not_wait_for_a_writer(stream: EmbeddedStream, path: Path) -> None:
    stream.append([("ann", b"1")])
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    other.execute("DELETE FROM blocks")
    assert [record.value for record in everything(stream)] == [b"1"]
    other.execute("ROLLBACK")
    other.close()


def test_threads_that_append_read_and_retain_lose_and_reorder_nothing(path: Path) -> None:
    stream = opened_at(path, partitions=2)
    values = [[b"%d %d" % (thread, number) for number in range(60)] for thread in range(6)]
    seen: dict[int, list[Record]] = {0: [], 1: []}

    def appends(thread: int) -> None:
        for value in values[thread]:
            stream.append([(f"key {thread}", value)])

    def reads(partition: int, wanted: int) -> None:
        while len(seen[partition]) < wanted:
            seen[partition] += stream.read({partition: len(seen[partition])}, 7, ALL_BYTES)
            stream.retain({partition: len(seen[partition])}, system_clock() + 1)

    wanted = Counter(partition_of(f"key {thread}", 2) for thread in range(6) for _ in values[thread])
    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(appends, thread) for thread in range(6)]
        calls += [pool.submit(reads, partition, wanted[partition]) for partition in (0, 1)]
        for call in calls:
            call.result()
    for thread in range(6):
        records = seen[partition_of(f"key {thread}", 2)]
        assert [record.value for record in records if record.key == f"key {thread}"] == values[thread]
    stream.close()


# Appends batches from three threads and tells which are durable; a batch's events say how many belong together.
APPENDING_PROCESS = """
import os, sys, threading
from pathlib import Path
from wakeline.clock import system_clock
from wakeline.streams.embedded import EmbeddedStream

path, name, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
sys.stdin.readline()
stream = EmbeddedStream(path, "events", 4, system_clock)

def append(thread):
    for number in range(count):
        batch, size = f"{name}-{thread}-{number}", number % 7 + 1
        stream.append([(f"{name}-{thread}", f"{batch} {index} {size}".encode() + b"x" * 300) for index in range(size)])
        os.write(1, f"{batch}\\n".encode())

threads = [threading.Thread(target=append, args=(thread,)) for thread in range(3)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def appending_process(path: Path, name: str, count: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", APPENDING_PROCESS, str(path), name, str(count)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def assert_whole_batches_in_order(stream: EmbeddedStream) -> set[str]:
    """The batches that are there; each is complete, and each key's batches follow each other."""
    batches: dict[str, list[int]] = {}
    last: dict[str, int] = {}
    sizes: dict[str, int] = {}
    for record in everything(stream):
        batch, index, size = record.value.rstrip(b"x").decode().split()
        batches.setdefault(batch, []).append(int(index))
        sizes[batch] = int(size)
        number = int(batch.rpartition("-")[2])
        assert number >= last.get(record.key, 0)
        last[record.key] = number
    assert all(indexes == list(range(sizes[batch])) for batch, indexes in batches.items())
    return set(batches)


def test_processes_that_create_and_append_at_once_share_one_dense_stream(path: Path) -> None:
    processes = [appending_process(path, f"process{number}", 30) for number in range(3)]
    for process in processes:  # All are ready to open the file before the first does.
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        process.stdin.flush()
    acknowledged = {line for process in processes for line in process.communicate()[0].decode().split()}
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert len(acknowledged) == 270
    stream = opened_at(path)
    assert assert_whole_batches_in_order(stream) == acknowledged
    assert_dense(stream)
    assert sorted(file.name for file in path.parent.iterdir()) == [path.name, f"{path.name}-shm", f"{path.name}-wal"]
    stream.close()


def test_a_file_made_by_another_process_meanwhile_is_kept(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_schema = embedded_file._write_schema

    def overtaken(draft: Path, partitions: int) -> None:
        monkeypatch.setattr(embedded_file, "_write_schema", write_schema)
        write_schema(draft, partitions)
        other = opened_at(path)
        other.append([("ann", b"from the other process")])
        other.close()

    monkeypatch.setattr(embedded_file, "_write_schema", overtaken)
    stream = opened_at(path)
    assert [record.value for record in everything(stream)] == [b"from the other process"]
    stream.close()


def test_after_kill_9_every_acknowledged_append_is_there_whole(path: Path) -> None:
    acknowledged: set[str] = set()
    for attempt in range(5):
        acknowledged |= killed_after(appending_process(path, f"attempt{attempt}", 1_000_000), 20 * attempt + 1)
        stream = opened_at(path)
        assert assert_whole_batches_in_order(stream) >= acknowledged
        assert_dense(stream)
        stream.close()


def killed_after(process: subprocess.Popen[bytes], appends: int) -> set[str]:
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"go\n")
        process.stdin.flush()
        lines = [process.stdout.readline() for _ in range(appends)]
        process.send_signal(signal.SIGKILL)
        lines += process.stdout.readlines()
    return {line.decode().strip() for line in lines if line.endswith(b"\n")}


def test_another_number_of_partitions_is_refused_and_names_the_setting(stream: EmbeddedStream, path: Path) -> None:
    with pytest.raises(StreamError, match=r"has 4 partitions but stream\.partitions is 5; set it to 4"):
        opened_at(path, partitions=5)


def test_a_number_of_partitions_that_cannot_be_is_refused(path: Path) -> None:
    with pytest.raises(StreamError, match=r"stream\.partitions must be between 1 and 32768, not 0"):
        opened_at(path, partitions=0)
    assert not path.exists()


def test_a_full_disk_is_one_sentence_and_what_was_appended_stays(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pragmas = (*embedded_file._PRAGMAS, "PRAGMA max_page_count = 20")
    monkeypatch.setattr(embedded_file, "_PRAGMAS", pragmas)
    stream = opened_at(path, partitions=1)
    stream.append([("ann", b"kept")])
    with pytest.raises(StreamFullError, match=f"{path} cannot grow because its disk is full") as caught:
        stream.append([("ann", b"x" * 50_000), ("ann", b"x" * 50_000)])
    assert caught.value.retry_after_seconds > 0
    stream.append([("ann", b"also kept")])
    assert [record.value for record in everything(stream)] == [b"kept", b"also kept"]
    assert_dense(stream)
    stream.close()


# A limit on the size of files makes writes fail in the middle, as a failing disk does.
FAILING_DISK_PROCESS = """
import json, resource, sys
from pathlib import Path
from wakeline.clock import system_clock
from wakeline.errors import StreamError
from wakeline.streams.embedded import EmbeddedStream

stream = EmbeddedStream(Path(sys.argv[1]), "events", 1, system_clock)
durable, errors = [], []
for number in range(60):
    limit = 100_000 if number < 40 else resource.RLIM_INFINITY
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        stream.append([("ann", f"{number} ".encode() + b"x" * 9_000)])
        durable.append(number)
    except StreamError as error:
        errors.append(str(error))
print(json.dumps([durable, errors]))
"""


@pytest.mark.skipif(
    resource.getrlimit(resource.RLIMIT_FSIZE)[1] != resource.RLIM_INFINITY, reason="file sizes are limited here"
)
def test_appends_that_failed_to_be_written_are_absent_and_later_ones_work(path: Path) -> None:
    command = [sys.executable, "-c", FAILING_DISK_PROCESS, str(path)]
    durable, errors = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    assert durable[-20:] == list(range(40, 60))
    assert errors
    assert str(path) in errors[0]
    stream = opened_at(path, partitions=1)
    assert [int(record.value.split()[0]) for record in everything(stream)] == durable
    assert_dense(stream)
    stream.close()


@pytest.mark.parametrize("content", [b"", b"this is a text and not a database\n" * 100])
def test_a_file_that_is_something_else_is_refused_and_left_alone(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(StreamError, match=f"{path} is not an event stream; move it away"):
        opened_at(path)
    assert path.read_bytes() == content


def test_another_program_s_database_is_refused(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE heads (something TEXT)")
    connection.close()
    with pytest.raises(StreamError, match="is not an event stream"):
        opened_at(path)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StreamError, match=f"The event stream {tmp_path}/file/stream.sqlite cannot be created"):
        opened_at(tmp_path / "file" / "stream.sqlite")


def test_a_file_that_was_deleted_takes_no_more_events(stream: EmbeddedStream, path: Path) -> None:
    stream.append([("ann", b"1")])
    path.unlink()
    with pytest.raises(StreamError, match="cannot be reached: No such file"):
        stream.append([("ann", b"2")])


def test_a_file_that_was_replaced_takes_no_more_events(stream: EmbeddedStream, path: Path) -> None:
    stream.append([("ann", b"1")])
    os.replace(path, path.with_name("old"))  # noqa: PTH105
    path.write_bytes(b"")
    with pytest.raises(StreamError, match="was replaced"):
        stream.append([("ann", b"2")])


def test_a_closed_stream_says_so(stream: EmbeddedStream) -> None:
    stream.append([("ann", b"1")])
    stream.close()
    for call in (lambda: stream.append([("ann", b"2")]), stream.heads, lambda: stream.read({0: 0}, 1, 1)):
        with pytest.raises(StreamError, match="was closed"):
            call()
