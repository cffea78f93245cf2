"""Renders claimed sends and hands them to the ESP, several at a time."""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from wakeline.activation.claims import Claim
from wakeline.activation.esp.protocol import Esp, Mail, MissingVariable, Outcome, Rejected, Unknown
from wakeline.activation.rendering import MissingVariableError, Renderer, RenderError
from wakeline.activation.tokens import Mailed
from wakeline.clock import Clock

#: A token, and the time its mail was made in epoch milliseconds, to the token's text.
SignAt = Callable[[Mailed, int], str]

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the ESP said to a claim, and when."""

    claim: Claim
    outcome: Outcome
    answered_at_ms: int


class Mailer:
    """One renderer, one ESP, a few threads.

    `sign_at` makes the tokens of a mail as of its claim, so that a mail asked for again is the very same: an ESP that
    takes the key refuses another mail under it.
    """

    def __init__(self, renderer: Renderer, esp: Esp, threads: int, clock: Clock, sign_at: SignAt | None = None) -> None:
        self._clock = clock
        self._sign_at = sign_at
        self._renderer = renderer
        self._esp = esp
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="mailer")

    def send(self, claims: Sequence[Claim]) -> list[Answer]:
        """The ESP's answer to each claim; one that cannot be rendered is MissingVariable or Rejected, with the reason.

        A bug that one mail meets is logged and ends that mail only: raised, it would end every run at the same place.
        """
        return list(self._pool.map(self._answer, claims))

    def _answer(self, claim: Claim) -> Answer:
        outcome = self._outcome(claim)
        return Answer(claim, outcome, self._clock())

    def _outcome(self, claim: Claim) -> Outcome:
        try:
            mail = self._rendered(claim)
        except MissingVariableError as error:
            return MissingVariable(f"not rendered: {error}")
        except RenderError as error:
            return Rejected(f"not rendered: {error}")
        except Exception as error:
            _logger.exception("The mail %s of campaign %s cannot be rendered", claim.key, claim.campaign)
            return Rejected(f"not rendered: {error!r}")
        try:
            return self._esp.send(mail)
        except Exception as error:
            _logger.exception("The ESP adapter %s failed at the mail %s", self._esp.name, claim.key)
            return Unknown(f"the ESP adapter failed: {error!r}")

    def _rendered(self, claim: Claim) -> Mail:
        sign_at = self._sign_at
        sign = None if sign_at is None else lambda token: sign_at(token, claim.claimed_at_ms)
        return self._renderer.render(claim.campaign, claim.key, claim.contact, claim.context, claim.variant, sign)

    def close(self) -> None:
        """Wait for mails in flight, then close the ESP."""
        self._pool.shutdown()
        self._esp.close()
