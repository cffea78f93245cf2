"""Renders claimed sends and hands them to the providers, several at a time."""

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from wakeline.activation.claims import Claim
from wakeline.activation.esp.failover import FailOver
from wakeline.activation.esp.protocol import Mail, MissingVariable, Outcome, Rejected, TryLater
from wakeline.activation.rendering import MissingVariableError, Renderer, RenderError
from wakeline.activation.tokens import Mailed
from wakeline.clock import Clock

#: A token, and the time its mail was made in epoch milliseconds, to the token's text.
SignAt = Callable[[Mailed, int], str]

_logger = logging.getLogger(__name__)

#: All mails of a step together wait so long for a provider's rate; the rest come back later.
_WAIT_SECONDS = 2.0
#: Half of `heartbeat.MAX_STEP_MS`: a slow provider must not look like a step that hangs.
_SEND_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What the ESP said to a claim, and when."""

    claim: Claim
    outcome: Outcome
    answered_at_ms: int


@dataclass(frozen=True, slots=True)
class Patience:
    """Moments of the mailer's clock: until when mails wait for their turn, and until when they are handed over."""

    wait_until: float
    send_until: float


class Mailer:
    """One renderer, the providers, a few threads. `monotonic` is in seconds.

    `sign_at` makes the tokens of a mail as of its claim, so that a mail asked for again is the very same: an ESP that
    takes the key refuses another mail under it.
    """

    def __init__(
        self,
        renderer: Renderer,
        esp: FailOver,
        threads: int,
        clock: Clock,
        sign_at: SignAt | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._sign_at = sign_at
        self._monotonic = monotonic
        self._renderer = renderer
        self._esp = esp
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="mailer")

    def patience(self) -> Patience:
        """What a step of the lane may take for its mails: it has opt-outs to read."""
        now = self._monotonic()
        return Patience(now + _WAIT_SECONDS, now + _SEND_SECONDS)

    def send(self, claims: Sequence[Claim], patience: Patience) -> list[Answer]:
        """The answer to each claim; a mail that cannot be rendered is rejected with the reason.

        A bug that one mail meets is logged and ends that mail only: raised, it would end every run at the same place.
        """
        # Rendering needs the interpreter for itself: more threads of it would only hold up those that send.
        handed_over = [self._pool.submit(self._answer, claim, self._prepared(claim), patience) for claim in claims]
        try:
            return [answer.result() for answer in handed_over]
        finally:
            for answer in handed_over:
                answer.cancel()

    def _prepared(self, claim: Claim) -> Mail | Outcome:
        """The mail, or its outcome when it needs no provider."""
        try:
            # Rendering thousands of mails again and again for a provider that does not work would stop the lane.
            return self._esp.refusal() or self._rendered(claim)
        except MissingVariableError as error:
            return MissingVariable(f"not rendered: {error}")
        except RenderError as error:
            return Rejected(f"not rendered: {error}")
        except Exception as error:
            _logger.exception("The mail %s of campaign %s cannot be rendered", claim.key, claim.campaign)
            return Rejected(f"not rendered: {error!r}")

    def _answer(self, claim: Claim, prepared: Mail | Outcome, patience: Patience) -> Answer:
        outcome = self._handed_over(prepared, patience) if isinstance(prepared, Mail) else prepared
        return Answer(claim, outcome, self._clock())

    def _handed_over(self, mail: Mail, patience: Patience) -> Outcome:
        if self._monotonic() > patience.send_until:
            return TryLater(0.0, "the mails before it took too long")
        return self._esp.send(mail, patience.wait_until)

    def _rendered(self, claim: Claim) -> Mail:
        sign_at = self._sign_at
        sign = None if sign_at is None else lambda token: sign_at(token, claim.claimed_at_ms)
        return self._renderer.render(claim.campaign, claim.key, claim.contact, claim.context, claim.variant, sign)

    def close(self) -> None:
        """Wait for mails in flight, then close the providers."""
        self._pool.shutdown()
        self._esp.close()
