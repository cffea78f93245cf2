"""What stands around every adapter: its breaker, its connections, its rate."""

import logging
from collections.abc import Callable
from threading import BoundedSemaphore

from wakeline.activation.esp.breaker import Breaker, State
from wakeline.activation.esp.limit import RateLimit
from wakeline.activation.esp.protocol import Accepted, Esp, Mail, Outcome, Rejected, TryLater, Unknown

#: Told of a request to a provider: its name, the answer, and how long it took in seconds.
Observe = Callable[[str, Outcome, float], None]

_logger = logging.getLogger(__name__)

_NO_ANSWER: Outcome = Unknown("the run was ended")


def unobserved(_esp: str, _outcome: Outcome, _seconds: float) -> None:
    """For whoever does not want to know."""


class Guarded:
    """One provider, asked no more often than it allows and left alone while it does not work.

    `monotonic` is in seconds; `sleep` waits for a turn. Safe to use from several threads.
    """

    def __init__(
        self,
        esp: Esp,
        limit: RateLimit,
        concurrency: int,
        breaker: Breaker,
        monotonic: Callable[[], float],
        sleep: Callable[[float], None],
        observe: Observe = unobserved,
    ) -> None:
        self.name = esp.name
        self.idempotency_key_seconds = esp.idempotency_key_seconds
        self._esp = esp
        self._limit = limit
        self._places = BoundedSemaphore(concurrency)
        self._breaker = breaker
        self._monotonic = monotonic
        self._sleep = sleep
        self._observe = observe

    @property
    def state(self) -> State:
        """The breaker's."""
        return self._breaker.state

    def refusal(self) -> TryLater | None:
        """The answer to any mail while the breaker admits none."""
        seconds = self._breaker.refused_seconds(self._monotonic())
        return TryLater(seconds, f"{self.name} does not work, and is left alone for a while") if seconds else None

    def send(self, mail: Mail, wait_until: float) -> Outcome:
        """The provider's answer; TryLater when its turn would come after `wait_until`. Never raises."""
        refused = self.refusal()
        if refused:
            return refused
        # A place first: the turn is for now, and would be another's second by the time that a place is free.
        if not self._places.acquire(timeout=max(0.0, wait_until - self._monotonic())):
            return TryLater(1.0, f"{self.name} is at work on as many mails as it may at a time")
        try:
            return self._send_in_turn(mail, wait_until)
        finally:
            self._places.release()

    def close(self) -> None:
        """Close the adapter."""
        self._esp.close()

    def _send_in_turn(self, mail: Mail, wait_until: float) -> Outcome:
        now = self._monotonic()
        turn = self._limit.take(now, wait_until - now)
        if not turn.granted:
            return TryLater(turn.seconds, f"{self.name} takes no more mails a second")
        if turn.seconds:
            self._sleep(turn.seconds)
        permit = self._breaker.admit(self._monotonic())
        if permit is None:  # It opened while this mail waited.
            return self.refusal() or TryLater(0.0, f"{self.name} works again")
        return self._send_with(permit, mail)

    def _send_with(self, permit: int, mail: Mail) -> Outcome:
        began, outcome = self._monotonic(), _NO_ANSWER
        try:
            outcome = self._esp.send(mail)
        except Exception as error:
            _logger.exception("The adapter of %s failed at the mail %s", self.name, mail.key)
            outcome = Unknown(f"the ESP adapter failed: {error!r}")
        finally:
            now = self._monotonic()
            succeeded = isinstance(outcome, Accepted | Rejected)
            self._tell(self._breaker.record(permit, succeeded, now))
            self._observe(self.name, outcome, now - began)
        return outcome

    def _tell(self, changed: State | None) -> None:
        """Why is in the ledger: a provider's words may name an address."""
        if changed is State.OPEN:
            _logger.warning("%s does not work and is left alone for a while; see `reason` in `sends`.", self.name)
        elif changed is State.CLOSED:
            _logger.warning("%s works again.", self.name)
