"""Copies the ledger's sends into ClickHouse, for analytics: no address, contact or context goes with them."""

from collections.abc import Mapping, Sequence
from typing import Any

from clickhouse_connect.driver.client import Client

from wakeline.activation.gates import DEFERRED, HELD
from wakeline.activation.ledger.states import SKIPPED, WAITING
from wakeline.activation.ledger.summary import Position, Summary
from wakeline.errors import WarehouseError
from wakeline.warehouse.client import FAULTS, first_line

#: Changes are read again for so long: one that was written late, after an outage of the ledger, has an earlier time.
OVERLAP_MS = 300_000
_PAUSE_SECONDS = 600.0
#: Sends copied in one insert.
PAGE_ROWS = 10_000

#: Columns that are the same on both sides.
_SAME = (
    "idempotency_key", "campaign", "profile_id", "provider_id", "message_ids", "run_id", "campaign_class", "variant",
    "state", "trigger_hash", "campaign_hash", "esp", "priority", "attempts", "changed_at_ms",
)  # fmt: skip
#: Times: milliseconds in the ledger, DateTime64(3) in ClickHouse.
_TIMES = (
    "occurred_at",
    "expires_at",
    "next_attempt_at",
    "received_at",
    "evaluated_at",
    "claimed_at",
    "esp_accepted_at",
)
_COLUMNS = (*_SAME, "purpose", "reason", *_TIMES)
_LEDGER_COLUMNS = (*_SAME, "purpose", "reason", *(f"{name}_ms" for name in _TIMES))
#: Their reasons are our own codes; the others are the ESP's words, which may name an address.
_WITH_REASON = (SKIPPED, DEFERRED, HELD)


class Mirror:
    """The copy of one ledger; for one thread. Copying again what is there already changes nothing."""

    def __init__(self, client: Client, ledger: Summary) -> None:
        self._client = client
        self._ledger = ledger
        self._newest_ms: int | None = None
        #: What was copied within the overlap: key -> time of the change.
        self._copied: dict[str, int] = {}

    @property
    def pause_seconds(self) -> float:
        """How long to wait after a copy before the next: a ledger that is read as a whole is read seldom."""
        return _PAUSE_SECONDS if self._ledger.reads_everything else 0.0

    def copy(self) -> int:
        """Copy what has changed since the last call, or since ClickHouse's newest row; how many sends that was.

        Raises WarehouseError or LedgerError; the next call goes on from where this one came to.
        """
        position: Position = (max(0, self._start_ms() - OVERLAP_MS), "")
        copied = 0
        while page := self._ledger.changes(position, _LEDGER_COLUMNS, PAGE_ROWS):
            copied += self._insert([row for row in page if self._copied.get(_key(row)) != row["changed_at_ms"]])
            position = (page[-1]["changed_at_ms"], _key(page[-1]))
            self._newest_ms = max(self._start_ms(), position[0])
        self._forget_old()
        return copied

    def _start_ms(self) -> int:
        if self._newest_ms is None:
            try:
                [[newest_ms]] = self._client.query("SELECT max(changed_at_ms) FROM sends").result_rows
            except FAULTS as error:
                raise WarehouseError(f"ClickHouse did not answer about sends: {first_line(error)}") from error
            self._newest_ms = int(newest_ms)
        return self._newest_ms

    def _insert(self, rows: Sequence[Mapping[str, Any]]) -> int:
        if not rows:
            return 0
        try:
            self._client.insert("sends", [_values(row) for row in rows], column_names=_COLUMNS)
        except FAULTS as error:
            raise WarehouseError(f"ClickHouse did not take a copy of sends: {first_line(error)}") from error
        self._copied |= {_key(row): row["changed_at_ms"] for row in rows}
        return len(rows)

    def _forget_old(self) -> None:
        before_ms = self._start_ms() - OVERLAP_MS
        self._copied = {key: at_ms for key, at_ms in self._copied.items() if at_ms >= before_ms}


def _key(row: Mapping[str, Any]) -> str:
    return str(row["idempotency_key"])


def _values(row: Mapping[str, Any]) -> list[Any]:
    waits = row["state"] in WAITING
    times = {name: row[f"{name}_ms"] for name in _TIMES} | ({} if waits else {"next_attempt_at": None})
    return [
        *(row[name] for name in _SAME),
        row["purpose"] or "",
        row["reason"] if row["state"] in _WITH_REASON else "",
        *(times[name] for name in _TIMES),
    ]
