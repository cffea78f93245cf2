"""The client of one Kinesis stream: credentials, time-outs, the stream made at first use, calls tried again."""

from collections.abc import Callable
from itertools import count
from threading import Lock
from typing import TYPE_CHECKING, TypeVar

from botocore.config import Config

from wakeline.aws import open_session
from wakeline.errors import StreamError
from wakeline.settings import KinesisSettings
from wakeline.streams.kinesis_errors import FAULTS, code_of, explained, is_transient
from wakeline.streams.kinesis_waiting import Waiting

if TYPE_CHECKING:
    from mypy_boto3_kinesis.client import KinesisClient

#: Shards that are asked at the same time, over a connection each.
THREADS = 16
# A resident run must look after its lease in the meantime; Kinesis answers in milliseconds.
_CONNECT_SECONDS = 3
_READ_SECONDS = 5
# Questions that somebody waits for: a sensor's tick, a check, a report. Who has read ten megabytes of a shard has it
# refused to everybody for five seconds.
_ASK_SECONDS = 8.0
_CREATE_LOOKS = 60

Answer = TypeVar("Answer")


class Api:
    """Calls about one stream, from any thread; the stream is made with `partitions` shards if it is missing."""

    def __init__(self, client: "KinesisClient", settings: KinesisSettings, partitions: int, waiting: Waiting) -> None:
        self.settings = settings
        self.waiting = waiting
        self._client = client
        self._partitions = partitions
        self._is_there = False
        self._closed = False
        self._lock = Lock()

    def ready(self) -> "KinesisClient":
        """The client, of a stream that exists. Raises what boto3 raises, each of `FAULTS`."""
        self.require_open()
        with self._lock:
            if not self._is_there:
                self._make_sure()
                self._is_there = True
        return self._client

    def require_open(self) -> None:
        """Raises StreamError after `close`."""
        if self._closed:
            raise StreamError(f"The Kinesis stream '{self.settings.stream}' was closed by this process.")

    def ask(self, call: Callable[["KinesisClient"], Answer]) -> Answer:
        """What the call returns, tried again for a few seconds where that may help.

        Raises StreamError, in a sentence.
        """
        give_up_at = self.waiting.monotonic() + _ASK_SECONDS
        for failures in count():
            try:
                return call(self.ready())
            except FAULTS as error:
                if not is_transient(error) or self.waiting.monotonic() >= give_up_at:
                    raise explained(error, self.settings) from error
            self.waiting.sleep(self.waiting.backoff(failures))
        raise AssertionError("It counts for ever.")

    def close(self) -> None:
        """Close the connections; later calls raise StreamError."""
        self._closed = True
        self._client.close()

    def _make_sure(self) -> None:
        stream = self.settings.stream
        try:
            summary = self._client.describe_stream_summary(StreamName=stream)["StreamDescriptionSummary"]
            if summary["StreamStatus"] in ("ACTIVE", "UPDATING"):
                return
        except FAULTS as error:
            if code_of(error) != "ResourceNotFoundException":
                raise
            self._create()
        self._client.get_waiter("stream_exists").wait(
            StreamName=stream, WaiterConfig={"Delay": 1, "MaxAttempts": _CREATE_LOOKS}
        )

    def _create(self) -> None:
        try:
            self._client.create_stream(StreamName=self.settings.stream, ShardCount=self._partitions)
        except FAULTS as error:
            if code_of(error) != "ResourceInUseException":  # Another process was a moment earlier.
                raise


def open_client(settings: KinesisSettings) -> "KinesisClient":
    """A boto3 client with the credentials of the environment, or of the settings' role; nothing is called yet.

    Raises StreamError when region or address are missing or cannot be one. It tries nothing again by itself.
    """
    config = Config(
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
        retries={"total_max_attempts": 1},
        max_pool_connections=THREADS,
    )
    session = open_session(settings.region, settings.role_arn)
    try:
        return session.client("kinesis", endpoint_url=settings.endpoint_url or None, config=config)
    except FAULTS as error:
        raise explained(error, settings) from error
    except ValueError as error:
        raise StreamError(f"stream.kinesis.endpoint_url is no address of a server: {error}.") from error
