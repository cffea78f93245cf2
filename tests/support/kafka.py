"""A real Apache Kafka broker: one node in KRaft mode, from the jars in `tests/brokers/kafka`."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic, TopicDescription

from support.brokers import BROKERS, BrokerProcess, started
from support.certificates import write_certificate
from support.ports import free_ports
from support.programs import require
from support.stack import await_that, is_free

JARS = BROKERS / "kafka" / "target" / "lib"
#: Who may come in by the secured listener.
USER, PASSWORD = "wakeline", "correct-horse"

_LEAST_JAVA = 17  # Of Kafka 4.
_CLUSTER_ID = "wakeline-tests-cluster"
_TIMEOUT_SECONDS = 20
_FORMAT_SECONDS = 60
# Half the start time of the defaults: the optimizing compiler pays off only after minutes.
_JAVA = ("java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
_LOGGING = ("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dorg.slf4j.simpleLogger.showDateTime=true")
_RUN = (*_JAVA, *_LOGGING, "-cp", f"{JARS}/*")
# One replica and partition of each internal topic, no waiting for other members, and small buffers.
_SETTINGS = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAIN",
    "auto.create.topics.enable": "false",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    "group.initial.rebalance.delay.ms": "0",
    "num.network.threads": "1",
    "num.io.threads": "2",
    "log.cleaner.dedupe.buffer.size": "2097152",
    # After kill -9 it may come back only when the session of its former self has ended: 9 s by default.
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
    # How soon a topic that was deleted leaves the disk, and how soon retention is looked at.
    "file.delete.delay.ms": "100",
    "log.retention.check.interval.ms": "500",
    "log.initial.task.delay.ms": "500",
}


@dataclass(frozen=True)
class Secured:
    """How clients come in by the listener with TLS and SASL: with SCRAM-SHA-256 or PLAIN."""

    bootstrap: str
    certificate: Path

    def client(self, mechanism: str = "SCRAM-SHA-256", user: str = USER, password: str = PASSWORD) -> dict[str, Any]:
        """What librdkafka is configured with."""
        return {
            "bootstrap.servers": self.bootstrap,
            "security.protocol": "SASL_SSL",
            "ssl.ca.location": str(self.certificate),
            "sasl.mechanism": mechanism,
            "sasl.username": user,
            "sasl.password": password,
        }


class KafkaBroker(BrokerProcess):
    """A broker with ports of its own; `settings` are added to its `server.properties`."""

    name = "Kafka"

    def __init__(self, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        super().__init__(folder)
        self._controller_port, port, secured_port = free_ports(3)
        self.bootstrap = f"127.0.0.1:{port}"
        self.secured = Secured(f"127.0.0.1:{secured_port}", folder / "certificate.pem")
        self._port = port
        self._properties = folder / "server.properties"
        self._admin: AdminClient | None = None
        write_certificate(folder / "keystore.pem", self.secured.certificate)
        self._configure(settings or {})
        self._format()

    @property
    def admin(self) -> AdminClient:
        """A client that may do everything; one for each broker, so that its threads end with the test."""
        if self._admin is None:
            # Silent: it is asked while the broker is down.
            self._admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0, "reconnect.backoff.ms": 20})
        return self._admin

    def create_topic(self, topic: str, partitions: int = 1, settings: Mapping[str, str] | None = None) -> None:
        """Returns when every partition can be written."""
        new = NewTopic(topic, num_partitions=partitions, replication_factor=1, config=dict(settings or {}))
        _done(self.admin.create_topics([new]))
        self._await_partitions(topic, partitions)

    def add_partitions(self, topic: str, total: int) -> None:
        """Returns when the topic has so many partitions that can be written."""
        _done(self.admin.create_partitions([NewPartitions(topic, total)]))
        self._await_partitions(topic, total)

    def delete_topic(self, topic: str) -> None:
        """Returns when no client sees it any more."""
        _done(self.admin.delete_topics([topic]))
        await_that(f"topic {topic} is gone", lambda: self._describe(topic) is None, _TIMEOUT_SECONDS)

    def recreate_topic(self, topic: str, partitions: int = 1) -> None:
        """Delete it and create it again: another topic of the same name, with another id."""
        self.delete_topic(topic)
        self.create_topic(topic, partitions)

    def delete_records(self, topic: str, partition: int, before: int) -> None:
        """Move the start of a partition's log to an offset, as retention does."""
        _done(self.admin.delete_records([TopicPartition(topic, partition, before)]))

    def topic_id(self, topic: str) -> str:
        """What tells a topic from an earlier one of its name."""
        described = self._describe(topic)
        assert described is not None, f"There is no topic {topic}."
        return str(described.topic_id)

    def _command(self) -> Sequence[str]:
        return [*_RUN, "kafka.Kafka", str(self._properties)]

    def _answers(self) -> bool:
        # A client would wait longer after each refused connection.
        if is_free(self._port):
            return False
        with suppress(KafkaException):
            return bool(self.admin.list_topics(timeout=1).brokers)
        return False

    def _configure(self, settings: Mapping[str, str]) -> None:
        clients = f"PLAIN://{self.bootstrap},SECURED://{self.secured.bootstrap}"
        secured = "listener.name.secured"
        known = {
            **_SETTINGS,
            "controller.quorum.voters": f"1@127.0.0.1:{self._controller_port}",
            "listeners": f"CONTROLLER://127.0.0.1:{self._controller_port},{clients}",
            "advertised.listeners": clients,
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAIN:PLAINTEXT,SECURED:SASL_SSL",
            "log.dirs": str(self.folder / "data"),
            f"{secured}.ssl.keystore.type": "PEM",
            f"{secured}.ssl.keystore.location": str(self.folder / "keystore.pem"),
            f"{secured}.sasl.enabled.mechanisms": "SCRAM-SHA-256,PLAIN",
            f"{secured}.scram-sha-256.sasl.jaas.config": _login("scram.ScramLoginModule"),
            f"{secured}.plain.sasl.jaas.config": _login("plain.PlainLoginModule", f'user_{USER}="{PASSWORD}"'),
            # By the plain listener everything is allowed, and to the user whatever no rule is about.
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
            "allow.everyone.if.no.acl.found": "true",
            **settings,
        }
        lines = "".join(f"{name}={value}\n" for name, value in known.items())
        self._properties.write_text(lines, encoding="utf-8")

    def _format(self) -> None:
        # The tool also sets what a file written by hand lacks: the features of the version, and the SCRAM user.
        tool = [*_RUN, "kafka.tools.StorageTool", "format"]
        scram = f"SCRAM-SHA-256=[name={USER},password={PASSWORD}]"
        arguments = ["--cluster-id", _CLUSTER_ID, "--config", str(self._properties), "--add-scram", scram]
        done = subprocess.run([*tool, *arguments], capture_output=True, text=True, timeout=_FORMAT_SECONDS)
        assert done.returncode == 0, f"Kafka's storage could not be formatted:\n{done.stdout}{done.stderr}"

    def _await_partitions(self, topic: str, total: int) -> None:
        def are_led() -> bool:
            described = self._describe(topic)
            # Where nobody leads it, a partition has no leader or an empty node.
            led = [one for one in described.partitions if one.leader and one.leader.host] if described else []
            return len(led) == total

        await_that(f"topic {topic} has {total} partitions", are_led, _TIMEOUT_SECONDS)

    def _describe(self, topic: str) -> TopicDescription | None:
        [future] = self.admin.describe_topics(TopicCollection([topic]), request_timeout=_TIMEOUT_SECONDS).values()
        with suppress(KafkaException):
            return future.result()
        return None


@contextmanager
def open_kafka(folder: Path, settings: Mapping[str, str] | None = None) -> Iterator[KafkaBroker]:
    """A broker that runs; where there is no Kafka the test is skipped, or fails where brokers are required."""
    require(kafka_missing())
    with started(KafkaBroker(folder, settings)) as broker:
        yield broker


def kafka_missing() -> str | None:
    """Why there is no Kafka to be had, if there is none."""
    java = shutil.which("java")
    if java is None:
        return f"Java is not installed; Kafka needs Java {_LEAST_JAVA} or newer."
    said = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    version = re.search(r'version "(\d+)', said)
    if version is None or int(version[1]) < _LEAST_JAVA:
        return f"Kafka needs Java {_LEAST_JAVA} or newer; this is {said.partition(os.linesep)[0]}."
    if not any(JARS.glob("kafka_*.jar")):
        return "Kafka is not installed; run 'make brokers'."
    return None


def _done(futures: Mapping[Any, Any]) -> None:
    for future in futures.values():
        future.result(_TIMEOUT_SECONDS)


def _login(module: str, options: str = "") -> str:
    return f"org.apache.kafka.common.security.{module} required {options};"
