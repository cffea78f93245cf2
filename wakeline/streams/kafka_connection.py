"""What all clients of one stream share: how they come in, whom they ask, and what they were told."""

import logging
import time
from collections.abc import Mapping
from concurrent.futures import Future, wait
from threading import Lock
from typing import Any, TypeVar

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from wakeline.errors import StreamError
from wakeline.settings import KafkaSettings
from wakeline.streams.kafka_config import Config, client_config
from wakeline.streams.kafka_errors import error_of, explained, is_vague

#: A question that is not answered for so long has failed.
ASK_SECONDS = 5.0
# When no broker can be reached and it is known why, nothing is gained by waiting longer than this. One that is back is
# noticed sooner, see `kafka_config`.
_DOWN_SECONDS = 1.5
_TICK_SECONDS = 0.02
# librdkafka keeps back the same complaint for 30 s; an older one says nothing about now.
_MEMORY_SECONDS = 60.0

Name = TypeVar("Name")

_logger = logging.getLogger(__name__)


class Complaints:
    """Why nobody answers. Calls end with a time-out that says nothing; librdkafka tells the cause on the side.

    It does so only while a client is polled.
    """

    def __init__(self) -> None:
        self._last: KafkaError | None = None
        self._at = 0.0
        self._is_down = False

    def note(self, error: KafkaError) -> None:
        """What librdkafka calls."""
        self._at = time.monotonic()
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._is_down = True
        if self._last is None or not is_vague(error):
            self._last = error

    def clear(self) -> None:
        """Somebody answered."""
        self._last, self._is_down = None, False

    def last(self) -> KafkaError | None:
        """The newest cause, None when there was none of late."""
        return self._last if time.monotonic() - self._at < _MEMORY_SECONDS else None

    @property
    def is_down(self) -> bool:
        """Whether every broker was tried in vain, and none has answered since."""
        return self._is_down


class Connection:
    """Asks the brokers of the settings. Raises StreamError when a package or setting is missing; does not connect."""

    def __init__(self, settings: KafkaSettings) -> None:
        self.settings = settings
        self.complaints = Complaints()
        self._config = client_config(settings)
        self._lock = Lock()
        self._admin: AdminClient | None = None
        self._closed = False

    def config(self, more: Mapping[str, Any]) -> Config:
        """What a client is made with."""
        return {**self._config, "error_cb": self._note, **more}

    @property
    def is_closed(self) -> bool:
        """Whether it may no longer be used."""
        return self._closed

    @property
    def admin(self) -> AdminClient:
        """The client that asks. Raises StreamError once closed."""
        with self._lock:
            self.require_open()
            if self._admin is None:
                self._admin = AdminClient(self.config({}))
            return self._admin

    def require_open(self) -> None:
        """Raises StreamError once closed."""
        if self._closed:
            raise StreamError(f"The event stream '{self.settings.topic}' was closed.")

    def answers(self, futures: Mapping[Name, "Future[Any]"], action: str) -> dict[Name, Any]:
        """All answers. Raises StreamError, in a sentence about `action`, for the first that is none."""
        try:
            return self.raw_answers(futures)
        except KafkaException as raised:
            raise self.explained(error_of(raised), action) from raised

    def raw_answers(self, futures: Mapping[Name, "Future[Any]"]) -> dict[Name, Any]:
        """All answers. Raises KafkaException for the first that is none."""
        admin = self.admin
        began = time.monotonic()
        # It tells why nobody answers only when it is polled.
        while wait(futures.values(), _TICK_SECONDS).not_done:
            admin.poll(0)
            waited = time.monotonic() - began
            if waited > (_DOWN_SECONDS if self.complaints.is_down else ASK_SECONDS):
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"no answer within {waited:.0f} seconds"))
        admin.poll(0)
        found = {name: future.result() for name, future in futures.items()}
        self.complaints.clear()
        return found

    def explained(self, error: KafkaError, action: str) -> StreamError:
        """One sentence that says what is wrong and what to do."""
        return explained(self.settings, error, self.complaints.last(), action)

    def close(self) -> None:
        """Later calls raise StreamError."""
        with self._lock:
            self._closed = True
            self._admin = None

    def _note(self, error: KafkaError) -> None:
        was_down = self.complaints.is_down
        self.complaints.note(error)
        if self.complaints.is_down and not was_down:
            # Readers just wait, so that nobody else would say why.
            _logger.warning("%s", self.explained(error, "read"))
