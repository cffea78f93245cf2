"""The Kafka stream in tests: topics of their own on the session's broker."""

from collections.abc import Iterable
from itertools import count
from typing import Any

from support.kafka import KafkaBroker
from wakeline.clock import system_clock
from wakeline.settings import KafkaSettings
from wakeline.streams.kafka import KafkaStream
from wakeline.streams.protocol import Record, partition_of

_numbers = count()


class KafkaMaker:
    """A `support.contract.Maker`: a topic of its own, which the first `open` makes."""

    counts = True
    expires = True

    def __init__(self, broker: KafkaBroker, partitions: int = 1) -> None:
        self.topic = f"topic-{next(_numbers)}"
        self._broker = broker
        self._partitions = partitions
        self._opened: list[KafkaStream] = []

    def open(self, **settings: Any) -> KafkaStream:
        """A client by the plain listener, unless `stream.kafka` settings say otherwise."""
        known = {"brokers": self._broker.bootstrap, "topic": self.topic}
        stream = KafkaStream(
            KafkaSettings.model_validate({**known, **settings}), self.topic, self._partitions, system_clock
        )
        self._opened.append(stream)
        return stream

    def secured(self, **settings: Any) -> KafkaStream:
        """A client by the listener with TLS and SCRAM, as a user that rules apply to."""
        secured = self._broker.secured
        client = secured.client()
        known = {
            "brokers": secured.bootstrap,
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": client["sasl.mechanism"],
            "username": client["sasl.username"],
            "password": client["sasl.password"],
            "ca_file": secured.certificate,
        }
        return self.open(**{**known, **settings})

    def partition_of(self, key: str) -> int:
        return partition_of(key, self._partitions)

    def landed(self, records: Iterable[Record]) -> None:
        """It knows its offsets itself."""

    def expire(self, partition: int, before: int) -> None:
        self._broker.delete_records(self.topic, partition, before)

    def recreate(self) -> None:
        self._broker.recreate_topic(self.topic, self._partitions)

    def close(self) -> None:
        """Closes all that `open` gave out."""
        for stream in self._opened:
            stream.close()
