"""A real broker, and the settings by which a deployment uses it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.brokers import BrokerProcess
from support.kafka import open_kafka
from support.kinesis import KinesisServer, open_ministack
from support.ministack import CREDENTIALS, REGION
from support.stack import RunningStack

#: Opens an imitation of Kinesis: there are two.
OpenKinesis = Callable[[Path], AbstractContextManager[KinesisServer]]

KINDS = ("embedded", "kafka", "kinesis")


@dataclass(frozen=True, slots=True)
class Broker:
    """`process` is None for the embedded stream, which has none."""

    process: BrokerProcess | None
    #: Environment variables of Wakeline and of boto3.
    environment: Mapping[str, str]


@contextmanager
def open_broker(kind: str, folder: Path, open_kinesis: OpenKinesis = open_ministack) -> Iterator[Broker]:
    """A broker of its own for a stream of this kind; its data are in `folder`."""
    own = {"WAKELINE_STREAM__KIND": kind, "WAKELINE_STREAM__NAME": f"events-{kind}"}
    if kind == "kafka":
        with open_kafka(folder) as kafka:
            yield Broker(kafka, {**own, "WAKELINE_STREAM__KAFKA__BROKERS": kafka.bootstrap})
    elif kind == "kinesis":
        with open_kinesis(folder) as server:
            aws = {name.upper(): value for name, value in CREDENTIALS.items()}
            address = {
                "WAKELINE_STREAM__KINESIS__ENDPOINT_URL": server.endpoint_url,
                "WAKELINE_STREAM__KINESIS__REGION": REGION,
            }
            yield Broker(server, {**own, **aws, **address})
    else:
        yield Broker(None, own)


@contextmanager
def stack_on(
    kind: str, folder: Path, lanes: int, open_kinesis: OpenKinesis = open_ministack
) -> Iterator[tuple[BrokerProcess | None, RunningStack]]:
    """A stack of so many lanes that runs, and the process of its broker."""
    with pytest.MonkeyPatch.context() as patch, open_broker(kind, folder / "broker", open_kinesis) as broker:
        for name, value in {**broker.environment, "WAKELINE_LANE__COUNT": str(lanes)}.items():
            patch.setenv(name, value)
        running = RunningStack(folder)
        try:
            running.start()
            yield broker.process, running
        finally:
            running.stop()
