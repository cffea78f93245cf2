"""The spool in front of a real Kafka broker that is killed, stands still, and comes back."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.kafka import KafkaBroker, open_kafka
from support.ports import free_ports
from support.stack import await_that

from wakeline.clock import system_clock
from wakeline.errors import StreamError
from wakeline.events import decode
from wakeline.metrics.settings import MetricsSettings
from wakeline.settings import CollectorSettings, KafkaSettings, Settings, SpoolSettings, StreamSettings
from wakeline.streams.factory import open_collector_stream, open_stream
from wakeline.streams.protocol import EventStream
from wakeline.streams.spool import SpooledStream

pytestmark = pytest.mark.stack

WRITE_KEY = "the-write-key"
PARTITIONS = 3
#: How long a client of librdkafka may take to find a broker that has come back.
BACK_SECONDS = 60

_topics = count()


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    """A broker of its own: it is killed and must not take other tests' topics along."""
    with open_kafka(tmp_path_factory.mktemp("kafka")) as started:
        yield started


@pytest.fixture
def settings(broker: KafkaBroker, tmp_path: Path) -> Settings:
    [port] = free_ports(1)
    kafka = KafkaSettings(brokers=broker.bootstrap, topic=f"spool-{next(_topics)}", append_seconds=4)
    stream = StreamSettings(kind="kafka", partitions=PARTITIONS, kafka=kafka, spool=SpoolSettings(max_bytes=10_000_000))
    collector = CollectorSettings(port=port, write_key=WRITE_KEY)
    return Settings(data_dir=tmp_path, stream=stream, collector=collector, metrics=MetricsSettings(collector_port=0))


@contextmanager
def opened(settings: Settings) -> Iterator[SpooledStream]:
    stream = open_collector_stream(settings, system_clock)
    assert isinstance(stream, SpooledStream)
    try:
        yield stream
    finally:
        stream.close()


@contextmanager
def away(broker: KafkaBroker) -> Iterator[None]:
    broker.kill()
    try:
        yield
    finally:
        broker.start()


def await_drained(stream: SpooledStream) -> None:
    await_that(lambda: f"the spool is empty: {stream.spooled()}", lambda: not stream.spooled(), BACK_SECONDS)


def appended(settings: Settings) -> dict[str, list[bytes]]:
    """Everything that Kafka has by key, the first occurrence of each value, in order."""
    stream = open_stream(settings, system_clock)
    try:
        found: dict[str, dict[bytes, None]] = {}
        for record in everything(stream):
            found.setdefault(record.key, {})[record.value] = None
        return {key: list(values) for key, values in found.items()}
    finally:
        stream.close()


def everything(stream: EventStream) -> list[Any]:
    starts = {partition: stream.earliest(partition) for partition in stream.partitions()}
    records: list[Any] = []
    while (stream.lag(starts).events or 0) > 0:
        found = stream.read(starts, 10_000, 1 << 30, 5)
        starts |= {record.partition: record.offset + 1 for record in found}
        records += found
    return records


def numbered(first: int, end: int) -> list[tuple[str, bytes]]:
    return [(f"key-{number % 5}", b"%d" % number) for number in range(first, end)]


def by_key(events: list[tuple[str, bytes]]) -> dict[str, list[bytes]]:
    found: dict[str, list[bytes]] = {}
    for key, value in events:
        found.setdefault(key, []).append(value)
    return found


def test_a_broker_that_is_killed_and_comes_back_gets_every_event_in_its_keys_order(
    settings: Settings, broker: KafkaBroker
) -> None:
    with opened(settings) as stream:
        stream.append(numbered(0, 50))
        await_drained(stream)
        with away(broker):
            for first in range(50, 500, 50):
                stream.append(numbered(first, first + 50))
            assert stream.spooled()["spooled_events"] == 450
        stream.append(numbered(500, 550))
        await_drained(stream)
        stream.append(numbered(550, 600))
        assert stream.spooled() == {}
    assert appended(settings) == by_key(numbered(0, 600))


def test_a_broker_that_stands_still_costs_one_time_out_and_then_no_more(
    settings: Settings, broker: KafkaBroker
) -> None:
    with opened(settings) as stream:
        stream.append(numbered(0, 10))
        await_drained(stream)
        with broker.suspended():
            for number in range(10, 40):
                stream.append(numbered(number, number + 1))
            assert stream.spooled()["spooled_events"] == 30
        await_drained(stream)
    assert appended(settings) == by_key(numbered(0, 40))


def test_an_event_that_kafka_refuses_for_its_size_stops_no_other(
    settings: Settings, broker: KafkaBroker, caplog: pytest.LogCaptureFixture
) -> None:
    broker.create_topic(settings.stream.kafka.topic, PARTITIONS, {"max.message.bytes": "2000"})
    with opened(settings) as stream:
        events = numbered(0, 20)
        # Kafka compresses before it looks at the size.
        stream.append([*events[:7], ("key-0", os.urandom(5_000)), *events[7:]])
        await_drained(stream)
    assert appended(settings) == by_key(events)
    assert "An event of 5000 bytes with key 'key-0' is put aside" in caplog.text


def test_wrong_credentials_are_said_at_the_start(settings: Settings, broker: KafkaBroker) -> None:
    secured = {
        "brokers": broker.secured.bootstrap,
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-256",
        "username": "wakeline",
        "password": "wrong",
        "ca_file": broker.secured.certificate,
    }
    kafka = settings.stream.kafka.model_copy(update=secured)
    wrong = settings.model_copy(update={"stream": settings.stream.model_copy(update={"kafka": kafka})})
    with pytest.raises(StreamError, match="refuses the credentials"), opened(wrong):
        pass


# The collector's process

_SERVE = """
import logging, sys
from wakeline.collector.server import serve
from wakeline.settings import Settings

logging.basicConfig(level=logging.INFO)
serve(Settings.model_validate_json(sys.argv[1]), lambda: 0)
"""


class CollectorProcess:
    """A collector with the settings' port, and the ids of the messages that it answered."""

    def __init__(self, settings: Settings, log: Path) -> None:
        self._url = f"http://127.0.0.1:{settings.collector.port}"
        self._log = log
        with log.open("ab") as file:
            command = [sys.executable, "-c", _SERVE, settings.model_dump_json()]
            self._process = subprocess.Popen(command, stdout=file, stderr=file)
        await_that(lambda: f"the collector answers: {log.read_text()}", self._answers, 30)

    def post(self, first: int, end: int) -> list[str]:
        for number in range(first, end):
            message = {"type": "track", "event": "Viewed", "anonymousId": "ann", "messageId": f"m{number}"}
            answer = httpx.post(
                f"{self._url}/v1/track", json=message, auth=(WRITE_KEY, ""), trust_env=False, timeout=30
            )
            assert answer.status_code == 200, answer.text
        return [f"m{number}" for number in range(first, end)]

    def health(self) -> Any:
        return httpx.get(f"{self._url}/healthz", trust_env=False).raise_for_status().json()

    def await_drained(self) -> None:
        await_that("the spool is empty", lambda: self.health() == {"status": "ok"}, BACK_SECONDS)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(30)

    def _answers(self) -> bool:
        assert self._process.poll() is None, self._log.read_text()
        try:
            return bool(self.health())
        except httpx.TransportError:
            return False


@pytest.fixture
def start_collector(settings: Settings, tmp_path: Path) -> Iterator[Callable[[], CollectorProcess]]:
    started: list[CollectorProcess] = []

    def start() -> CollectorProcess:
        started.append(CollectorProcess(settings, tmp_path / "collector.log"))
        return started[-1]

    yield start
    for collector in started:
        collector.kill()


def test_a_collector_that_is_killed_while_kafka_is_away_loses_nothing_that_it_answered(
    settings: Settings, broker: KafkaBroker, start_collector: Callable[[], CollectorProcess]
) -> None:
    collector = start_collector()
    answered = collector.post(0, 5)
    collector.await_drained()
    with away(broker):
        answered += collector.post(5, 15)
        assert collector.health()["spooled_events"] == 10
        collector.kill()
        # Kafka is still away: it starts all the same.
        collector = start_collector()
        answered += collector.post(15, 20)
        health = collector.health()
        assert (health["status"], health["spooled_events"]) == ("ok", 15)
        assert settings.stream.kafka.brokers in health["stream_error"]
    collector.await_drained()
    answered += collector.post(20, 22)
    collector.stop()
    [values] = appended(settings).values()
    assert [json.loads(decode(value).message)["messageId"] for value in values] == answered
