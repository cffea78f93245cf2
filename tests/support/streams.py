"""A real broker, and the settings by which a deployment uses it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from support.brokers import BrokerProcess
from support.kafka import open_kafka
from support.kinesis import open_ministack
from support.ministack import CREDENTIALS, REGION

KINDS = ("embedded", "kafka", "kinesis")


@dataclass(frozen=True, slots=True)
class Broker:
    """`process` is None for the embedded stream, which has none."""

    process: BrokerProcess | None
    #: Environment variables of Wakeline and of boto3.
    environment: Mapping[str, str]


@contextmanager
def open_broker(kind: str, folder: Path) -> Iterator[Broker]:
    """A broker of its own for a stream of this kind; its data are in `folder`."""
    own = {"WAKELINE_STREAM__KIND": kind, "WAKELINE_STREAM__NAME": f"events-{kind}"}
    if kind == "kafka":
        with open_kafka(folder) as kafka:
            yield Broker(kafka, {**own, "WAKELINE_STREAM__KAFKA__BROKERS": kafka.bootstrap})
    elif kind == "kinesis":
        with open_ministack(folder) as server:
            aws = {name.upper(): value for name, value in CREDENTIALS.items()}
            address = {
                "WAKELINE_STREAM__KINESIS__ENDPOINT_URL": server.endpoint_url,
                "WAKELINE_STREAM__KINESIS__REGION": REGION,
            }
            yield Broker(server, {**own, **aws, **address})
    else:
        yield Broker(None, own)
