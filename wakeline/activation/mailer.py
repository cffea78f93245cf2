"""Renders claimed sends and hands them to the ESP, several at a time."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from wakeline.activation.claims import Claim
from wakeline.activation.esp.protocol import Esp, Outcome, Rejected
from wakeline.activation.rendering import Renderer, RenderError
from wakeline.clock import Clock


@dataclass(frozen=True, slots=True)
class Answer:
    """What the ESP said to a claim, and when."""

    claim: Claim
    outcome: Outcome
    answered_at_ms: int


class Mailer:
    """One renderer, one ESP, a few threads."""

    def __init__(self, renderer: Renderer, esp: Esp, threads: int, clock: Clock) -> None:
        self._clock = clock
        self._renderer = renderer
        self._esp = esp
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="mailer")

    @property
    def takes_idempotency_key(self) -> bool:
        """Whether a send whose answer was lost may be handed over again."""
        return self._esp.takes_idempotency_key

    def send(self, claims: Sequence[Claim]) -> list[Answer]:
        """The ESP's answer to each claim; a mail that cannot be rendered is rejected with the reason."""
        return list(self._pool.map(self._answer, claims))

    def _answer(self, claim: Claim) -> Answer:
        outcome = self._outcome(claim)
        return Answer(claim, outcome, self._clock())

    def _outcome(self, claim: Claim) -> Outcome:
        try:
            mail = self._renderer.render(claim.campaign, claim.key, claim.contact, claim.context)
        except RenderError as error:
            return Rejected(f"not rendered: {error}")
        return self._esp.send(mail)

    def close(self) -> None:
        """Wait for mails in flight."""
        self._pool.shutdown()
