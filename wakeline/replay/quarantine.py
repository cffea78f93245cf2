"""The job `replay_quarantine` without Dagster: rows of quarantine, repaired, go through the stream again.

What is appended has the message id and the times of its row, so it counts once, however often it is tried, and where
it would have counted then: what somebody said before does not undo what they said since.
The row stays in quarantine and is marked in `quarantine_replays`.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from wakeline.clock import Clock
from wakeline.errors import ReplayError
from wakeline.events import Envelope, encode, stream_key
from wakeline.pipeline.classify import LandingRow, classify, mark_duplicates
from wakeline.replay.asking import require_confirmed
from wakeline.replay.repair import Repair, repaired
from wakeline.settings import Settings
from wakeline.streams.factory import open_stream
from wakeline.streams.protocol import EventStream, Record
from wakeline.warehouse.client import connect
from wakeline.warehouse.landing import Landing
from wakeline.warehouse.quarantine import Quarantine, Quarantined

ACCEPTED = "accepted"


@dataclass(frozen=True, slots=True)
class Asked:
    """What the form of the job asks for; `reason` "" is every reason, `confirm_count` None is no confirmation."""

    reason: str = ""
    repair: Repair = field(default_factory=Repair)
    execute: bool = False
    confirm_count: int | None = None


@dataclass(frozen=True, slots=True)
class _Try:
    """A row of quarantine, the envelope that would be appended, and what would become of that."""

    row: Quarantined
    value: bytes
    outcome: LandingRow


@dataclass(frozen=True, slots=True)
class Replayer:
    """Replays the quarantine of one deployment."""

    settings: Settings
    clock: Clock
    log: Callable[[str], None]
    quarantine: Quarantine
    landing: Landing
    stream: EventStream

    def replay(self, asked: Asked, run_id: str) -> dict[str, Any]:
        """The counts of a dry run, and how many were appended.

        Raises ReplayError for an unknown reason or a missing confirmation, StreamError and WarehouseError.
        """
        self._require_reason(asked.reason)
        counts = Counter(_fate(one) for page in self._tries(asked) for one in page)
        described = _described(counts)
        self.log(_sentence(described))
        if not asked.execute:
            self.log("This was a dry run: nothing was changed. To do it, start it again with execute: true.")
            return described
        accepted = counts[ACCEPTED]
        require_confirmed(accepted, "events to replay", asked.confirm_count, self.settings.replay.max_unconfirmed)
        return {**described, "appended": sum(self._append(page, run_id) for page in self._tries(asked))}

    def _require_reason(self, reason: str) -> None:
        reasons = self.quarantine.reasons()
        self.log("In quarantine: " + (", ".join(f"{rows} '{name}'" for name, rows in reasons.items()) or "nothing"))
        if reason and reason not in reasons:
            known = ", ".join(f"'{name}'" for name in reasons) or "none"
            raise ReplayError(f"Nothing waits in quarantine for the reason '{reason}'; reasons are {known}.")

    def _tries(self, asked: Asked) -> Iterator[list[_Try]]:
        seen: set[str] = set()
        for page in self.quarantine.pages(asked.reason):
            values = [self._value(row, asked.repair) for row in page]
            rows = [self._classified(row, value) for row, value in zip(page, values, strict=True)]
            marked = mark_duplicates(rows, seen | self.landing.earlier(rows, {}))
            seen |= {row.message_id for row in marked if row.status == ACCEPTED}
            yield [_Try(*one) for one in zip(page, values, marked, strict=True)]

    def _value(self, row: Quarantined, repair: Repair) -> bytes:
        row_id = f"quarantine/{self.settings.stream.name}/{row.partition}/{row.offset}"
        return encode(Envelope(row.received_at_ms, row.source, row.sent_at, repaired(row.message, row_id, repair)))

    def _classified(self, row: Quarantined, value: bytes) -> LandingRow:
        record = Record(row.partition, row.offset, row.received_at_ms, "", value)
        return classify(record, self.settings.collector.max_event_bytes)

    def _append(self, page: Sequence[_Try], run_id: str) -> int:
        """Appended first, marked then: cut off in between they are appended once more, and that is a duplicate."""
        chosen = [one for one in page if one.outcome.status == ACCEPTED]
        if chosen:
            self.stream.append([(stream_key(one.outcome.parsed or {}), one.value) for one in chosen])
            self.quarantine.mark([one.row for one in chosen], run_id, self.clock())
        return len(chosen)


@contextmanager
def open_replayer(settings: Settings, clock: Clock, log: Callable[[str], None]) -> Iterator[Replayer]:
    """A replayer on the settings' warehouse and stream."""
    with ExitStack() as parts:
        client = connect(settings.warehouse)
        parts.callback(client.close)
        landing = Landing(client, settings.stream.name)
        stream = open_stream(settings, clock, landing)
        parts.callback(stream.close)
        yield Replayer(settings, clock, log, Quarantine(client, settings.stream.name), landing, stream)


def _fate(one: _Try) -> str:
    return one.outcome.reason or one.outcome.status


def _described(counts: Mapping[str, int]) -> dict[str, Any]:
    stay = {reason: rows for reason, rows in sorted(counts.items()) if reason != ACCEPTED}
    return {"found": sum(counts.values()), "would_be_accepted": counts.get(ACCEPTED, 0), "would_stay": stay}


def _sentence(described: Mapping[str, Any]) -> str:
    stay = ", ".join(f"{rows} '{reason}'" for reason, rows in described["would_stay"].items())
    return (
        f"{described['found']} rows of quarantine: {described['would_be_accepted']} would be accepted; the others would"
        f" stay: {stay or 'none'}."
    )
