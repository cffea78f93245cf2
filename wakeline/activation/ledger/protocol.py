"""What every ledger offers; see docs/concepts.md for the states and the promise."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol

from wakeline.activation.claims import Decided, Intended, Waiting
from wakeline.activation.consent import Consent, RecordAddress, Suppression
from wakeline.activation.deliverability import DeliveryReport
from wakeline.activation.gates import FRESH, Rules, Stale
from wakeline.activation.mailer import Answer
from wakeline.pipeline.lanes import Lease, Ranges
from wakeline.pipeline.triggers import Occurrence


class Ledger(Protocol):
    """One row per idempotency key. Calls that take a lease raise LeaseLostError and then have written nothing."""

    def record(
        self,
        lease: Lease,
        consents_: Sequence[Consent],
        suppressions_: Sequence[Suppression],
        addresses: Sequence[RecordAddress] = (),
    ) -> None:
        """Keep what people said: the latest word wins, a no wins a tie, and a suppression is for ever."""

    def confirm(self, lease: Lease, reports: Sequence[DeliveryReport], now_ms: int) -> None:
        """Settle as sent what the provider reports on, whoever lost its answer."""

    def undecided(
        self, occurrences: Sequence[Occurrence], campaigns_of: Mapping[str, Sequence[str]]
    ) -> list[Occurrence]:
        """The occurrences that some campaign of their trigger (`campaigns_of`) has not decided on for good."""

    def claim(
        self,
        lease: Lease,
        intended: Sequence[Intended],
        run_id: str,
        batch: Ranges,
        now_ms: int,
        stale: Stale = FRESH,
    ) -> list[Decided]:
        """Decide each intended send, in order; already decided keys are left out. `stale` holds marketing mail."""

    def foresee(self, intended: Sequence[Intended], failed: Collection[str], now_ms: int) -> list[Decided]:
        """What `claim` would decide now, in order; nothing is written. `failed` are keys that are asked about as well.

        Caps and priorities among the sends themselves count as far as the database can tell without writing.
        """

    def reopen(self, lease: Lease, failed: Sequence[tuple[str, str]], now_ms: int) -> int:
        """Let failed sends, each (profile id, key), wait for their gates again; how many did.

        Left out is what is not failed any more, and what may be out all the same.
        """

    def settle(self, answers: Iterable[Answer]) -> None:
        """Write what the ESP answered; needs no lease."""

    def settle_orphans(self, lease: Lease, now_ms: int) -> int:
        """See to the claims of earlier holders whose answer was lost; how many there were."""

    def due(self, now_ms: int, stale: Stale, limit: int) -> list[Waiting]:
        """Sends that waited and may be asked about again, oldest first."""

    def reclaim(
        self,
        lease: Lease,
        waiting: Sequence[Waiting],
        rules: Mapping[str, Rules],
        now_ms: int,
        stale: Stale = FRESH,
    ) -> list[Decided]:
        """Ask the gates again about sends that waited, each with the person and the campaign's rules of now."""

    def pause(self, campaign: str, paused_by: str, reason: str, now_ms: int) -> None:
        """Hold every send of a campaign from now on."""

    def resume(self, campaign: str, resumed_by: str, now_ms: int) -> bool:
        """Let a campaign's sends go on; whether it was paused, which alone is kept in `resumes`."""

    def pauses(self) -> dict[str, Mapping[str, Any]]:
        """The paused campaigns, by name: since when, by whom and why."""

    def resumes(self) -> dict[str, Mapping[str, Any]]:
        """The campaigns that were paused once, by name: when they were last let go on, and by whom."""
