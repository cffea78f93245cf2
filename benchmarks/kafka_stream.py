"""Measures the Kafka stream on the broker of the tests: figures of docs/kafka.md.

Run with `.venv/bin/python benchmarks/kafka_stream.py`. Reads and appends of one process each, events of 500 bytes.
"""

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from support.contract import ALL_BYTES, after, read_on, starts_of
from support.kafka import open_kafka
from support.kafka_streams import KafkaMaker

from wakeline.streams.kafka import KafkaStream

EVENT_BYTES = 500
EVENTS = 100_000
SINGLE = 300
BATCH_ROWS = 5_000
IDLE_SECONDS = 5


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, open_kafka(Path(folder)) as broker:
        for partitions in (1, 4, 16):
            maker = KafkaMaker(broker, partitions)
            try:
                measure(maker.open(), maker.open(), partitions)
            finally:
                maker.close()


def measure(writer: KafkaStream, reader: KafkaStream, partitions: int) -> None:
    """Prints one line for each figure."""
    starts = starts_of(writer)
    writer.append([("warm", b"up")])
    print(f"{partitions} partitions:")
    for rows in (1, 50, 500, 5_000):
        print(f"  append of {rows}: {appended_per_second(writer, rows):,.0f} events/s")
    written = sum(head.next for head in writer._topic.heads(starts))
    with timed() as took:
        records = read_on(reader, starts, written, max_rows=BATCH_ROWS)
    print(f"  read by {BATCH_ROWS}: {len(records) / took[0]:,.0f} events/s")
    latencies = sorted(one_at_a_time(writer, reader, after(starts, records)))
    print(f"  append, then read, of one: p50 {statistics.median(latencies):.1f} ms, p99 {latencies[-3]:.1f} ms")
    half = {partition: start + 100 for partition, start in starts.items()}
    lags = sorted(lag_ms(writer, half, step) for step in range(50))
    print(f"  lag of a busy stream: p50 {statistics.median(lags):.1f} ms, slowest {lags[-1]:.1f} ms")
    share = idle_share(reader, after(starts, records))
    print(f"  idle reader: {share:.1%} of a core; {threads()} threads in all")


def appended_per_second(stream: KafkaStream, rows: int) -> float:
    batch = [(f"key {number}", os.urandom(EVENT_BYTES // 2).hex().encode()) for number in range(rows)]
    calls = max(1, min(SINGLE, EVENTS // rows))
    with timed() as took:
        for _ in range(calls):
            stream.append(batch)
    return calls * rows / took[0]


def one_at_a_time(writer: KafkaStream, reader: KafkaStream, starts: dict[int, int]) -> Iterator[float]:
    """Milliseconds from the call of an append to the event in a reader that waits for it."""
    starts = after(starts, drained(reader, starts))
    for number in range(SINGLE):
        with timed() as took:
            writer.append([(f"key {number}", b"x" * EVENT_BYTES)])
            found: list = []
            while not found:
                found = reader.read(starts, BATCH_ROWS, ALL_BYTES, 0.01)
        starts = after(starts, found)
        yield took[0] * 1000


def drained(reader: KafkaStream, starts: dict[int, int]) -> list:
    found: list = []
    while more := reader.read(after(starts, found), BATCH_ROWS, ALL_BYTES, 0.3):
        found += more
    return found


def lag_ms(stream: KafkaStream, committed: dict[int, int], step: int) -> float:
    with timed() as took:
        stream.lag({partition: offset + step for partition, offset in committed.items()})
    return took[0] * 1000


def idle_share(reader: KafkaStream, starts: dict[int, int]) -> float:
    starts = after(starts, drained(reader, starts))
    cpu, until = time.process_time(), time.monotonic() + IDLE_SECONDS
    while time.monotonic() < until:
        reader.read(starts, BATCH_ROWS, ALL_BYTES, 0.01)
        time.sleep(0.01)  # As the resident loop does.
    return (time.process_time() - cpu) / IDLE_SECONDS


def threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


@contextmanager
def timed() -> Iterator[list[float]]:
    """A list that holds the seconds once the block is over."""
    took: list[float] = []
    began = time.perf_counter()
    yield took
    took.append(time.perf_counter() - began)


if __name__ == "__main__":
    main()
