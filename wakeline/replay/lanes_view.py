"""`wakeline lanes`: which lane is at work, which is paused and why, and how far each is."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

from wakeline.clock import Clock, to_iso
from wakeline.engines import open_database
from wakeline.pipeline.factory import lane_store
from wakeline.pipeline.lanes import LaneStore, is_alive
from wakeline.replay.requests import open_requests
from wakeline.settings import Settings

RUNNING, WAITING, DRAINING, PAUSED = "running", "without a run", "draining", "paused"


def build_lanes(settings: Settings, clock: Clock) -> list[dict[str, Any]]:
    """One entry per lane of the settings, by name."""
    database = open_database(settings)
    try:
        store = lane_store(settings, database)
        offsets, read = {**store.starts(), **store.committed()}, store.read_until()
        parts = open_requests(database).waiting()
        entries = [_entry(store, lane, offsets, read[lane], clock()) for lane in store.names()]
        return [{**entry, "replay_parts": parts.get(entry["lane"], 0)} for entry in entries]
    finally:
        database.dispose()


def _entry(store: LaneStore, lane: str, offsets: Mapping[int, int], read_until_ms: int, now_ms: int) -> dict[str, Any]:
    state, pause = store.state(lane), store.pauses().get(lane)
    alive = is_alive({"holder": state.holder, "expires_at_ms": state.expires_at_ms}, now_ms)
    own = store.partitions_of(lane, sorted(offsets))
    return {
        "lane": lane,
        "state": _state(pause is not None, store.is_paused(lane), alive),
        "run_id": state.holder if alive else None,
        "read_until": to_iso(read_until_ms) if read_until_ms else None,
        "paused_at": to_iso(pause.paused_at_ms) if pause else None,
        "paused_by": pause.paused_by if pause else None,
        "pause_reason": pause.reason if pause else None,
        "offsets": {str(partition): offsets[partition] for partition in own},
    }


def _state(has_pause: bool, is_paused: bool, alive: bool) -> str:
    if has_pause:
        return PAUSED if is_paused and not alive else DRAINING
    return RUNNING if alive else WAITING


def lanes_tables(entries: Sequence[Mapping[str, Any]]) -> list[Table | str]:
    """The same for a terminal: the lanes, and who paused which."""
    table = Table(title="Lanes", title_justify="left")
    for name in ("lane", "state", "run", "has read until", "parts of replays", "next offset of each partition"):
        table.add_column(name, overflow="fold")
    for entry in entries:
        offsets = ", ".join(f"{partition}: {offset}" for partition, offset in entry["offsets"].items())
        reads, parts = entry["read_until"] or "-", str(entry["replay_parts"])
        cells = (entry["lane"], entry["state"], entry["run_id"] or "-", reads, parts, offsets or "-")
        table.add_row(*map(escape, cells))
    paused = [entry for entry in entries if entry["paused_by"] is not None]
    return [table, *map(_pause, paused)]


def _pause(entry: Mapping[str, Any]) -> str:
    since = f"since {entry['paused_at']} by {entry['paused_by']}: {entry['pause_reason']}"
    return escape(f"Lane {entry['lane']} is {entry['state']} {since}")
