"""Mends what a killed ClickHouse leaves in the deduplication logs of its tables.

ClickHouse (seen in 26.9) notes a part in the log of its table, and a moment later gives the part the name that makes it
count. Killed between the two, it takes the repetition of that insert for a duplicate: the rows would be missing for
ever, in landing or in any table behind it.
"""

from pathlib import Path

_ADDED = "1"


def forget_unfinished_parts(data_dir: Path) -> int:
    """Take back the notes about parts that do not exist; returns how many. Only while no server runs on the folder."""
    folders = data_dir.glob("store/*/*/deduplication_logs")
    return sum(_mend(max(logs, key=_number)) for folder in folders if (logs := list(folder.glob("*.txt"))))


def _mend(log: Path) -> int:
    lines = log.read_text(encoding="utf-8").splitlines(keepends=True)
    parts = [_span(path.name) for path in log.parent.parent.glob("*_*_*_*") if not path.name.startswith("tmp_")]
    kept = len(lines)
    # Notes are in order, so unfinished parts can only be among the last ones.
    while kept and _is_unfinished(lines[kept - 1], parts):
        kept -= 1
    if kept < len(lines):
        draft = log.parent.with_name("mended_deduplication_log")
        draft.write_text("".join(lines[:kept]), encoding="utf-8")
        draft.replace(log)
    return len(lines) - kept


def _is_unfinished(line: str, parts: list[tuple[str, int, int]]) -> bool:
    operation, part, *_ = line.split("\t")
    partition, block, _ = _span(part)
    # A part that was merged since lives on in a part whose span has its block.
    return operation == _ADDED and not any(one == partition and low <= block <= high for one, low, high in parts)


def _span(part: str) -> tuple[str, int, int]:
    """Partition, first and last block of a part by its name: PARTITION_FIRST_LAST_LEVEL, then perhaps a mutation."""
    partition, first, last, *_ = part.split("_")
    return partition, int(first), int(last)


def _number(log: Path) -> int:
    return int(log.stem.rpartition("_")[2])
