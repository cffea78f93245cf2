"""The audit as people and scripts read it."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

from wakeline.clock import to_iso
from wakeline.replay.audit import STARTED, Entry


def described(entry: Entry) -> dict[str, Any]:
    """An entry for scripts: times as text, `ended_at` null while it is being done."""
    return {
        "began_at": to_iso(entry.began_at_ms),
        "ended_at": None if entry.ended_at_ms is None else to_iso(entry.ended_at_ms),
        "operation": entry.operation,
        "done_by": entry.done_by,
        "run_id": entry.run_id,
        "config": entry.config,
        "state": entry.state,
        "result": entry.result,
        "error": entry.error,
    }


def audit_table(entries: Sequence[Entry]) -> Table:
    """The entries for a terminal."""
    table = Table(title="Done by hand", title_justify="left")
    for name in ("when", "who", "what", "asked for", "what came of it"):
        table.add_column(name, overflow="fold")
    for entry in entries:
        cells = (to_iso(entry.began_at_ms), entry.done_by, entry.operation, _facts(entry.config), _outcome(entry))
        table.add_row(*map(escape, cells))
    return table


def _outcome(entry: Entry) -> str:
    if entry.state == STARTED:
        return "under way, or cut off"
    return f"{entry.state}: {entry.error or _facts(entry.result)}".removesuffix(": ")


def _facts(facts: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in facts.items() if value not in ("", None))
