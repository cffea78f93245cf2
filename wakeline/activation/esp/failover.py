"""Several providers as one: the next is asked only for what the one before has certainly not accepted."""

from collections.abc import Sequence
from dataclasses import replace

from wakeline.activation.esp.breaker import State
from wakeline.activation.esp.guarded import Guarded
from wakeline.activation.esp.protocol import Accepted, Mail, Outcome, Rejected, TryLater, Unknown


class FailOver:
    """The providers of `activation.esp` in their order; safe to use from several threads."""

    def __init__(self, providers: Sequence[Guarded]) -> None:
        self._providers = providers
        # Two providers know nothing of each other's keys: the second would make a second mail of one.
        self.idempotency_key_seconds = providers[0].idempotency_key_seconds if len(providers) == 1 else 0.0

    @property
    def states(self) -> dict[str, State]:
        """Name of each provider -> the state of its breaker."""
        return {provider.name: provider.state for provider in self._providers}

    def refusal(self) -> TryLater | None:
        """The answer to any mail while no provider is asked anything; None while one is."""
        refusals = [refused for provider in self._providers if (refused := provider.refusal())]
        return _put_off(refusals) if len(refusals) == len(self._providers) else None

    def send(self, mail: Mail, wait_until: float) -> Outcome:
        """The answer of the first provider that does not put the mail off; see `Guarded.send`."""
        put_off: list[TryLater] = []
        for provider in self._providers:
            outcome = provider.send(mail, wait_until)
            if not isinstance(outcome, TryLater):
                return self._named(provider.name, outcome)
            put_off.append(outcome)
        return _put_off(put_off)

    def close(self) -> None:
        """Close all adapters."""
        for provider in self._providers:
            provider.close()

    def _named(self, name: str, outcome: Accepted | Rejected | Unknown) -> Outcome:
        if isinstance(outcome, Accepted):
            return replace(outcome, esp=name)
        return replace(outcome, reason=f"{name}: {outcome.reason}") if len(self._providers) > 1 else outcome


def _put_off(outcomes: Sequence[TryLater]) -> TryLater:
    """Until the first of them may take it."""
    return TryLater(
        min(outcome.after_seconds for outcome in outcomes), "; ".join(outcome.reason for outcome in outcomes)
    )
