"""Finding where to go on after a log was rotated: renamed and made anew, or copied and cut to nothing."""

import glob
from dataclasses import dataclass
from pathlib import Path

from wakeline.shipping.logfile import Position, Segment, fingerprint, size

# A server's other workers may write to the renamed file a little longer than the first.
LINGER_MS = 2_000


@dataclass(frozen=True, slots=True)
class Plan:
    """What to read now, in order. `lost` means that the rest of the file read before is nowhere to be found."""

    segments: list[Segment]
    lost: bool = False

    @property
    def bytes(self) -> int:
        """How much there is to read."""
        return sum(size(one.path) - one.start.offset for one in self.segments)


def plan(path: Path, position: Position | None, now_ms: int) -> Plan:
    """What follows `position` in the log at `path`; from its start when there is no position.

    A rotated file is looked for next to it, under names that begin with the log's, packed by gzip or not.
    """
    current = fingerprint(path)
    if position is None:
        return Plan(_from_start(path, current))
    if current == position.fingerprint and size(path) >= position.offset:
        return Plan([Segment(path, position)])
    rotated = _rotated(path)
    old = next((one for one in rotated if _continues(one, position)), None)
    if old is None:
        return Plan(_from_start(path, current), lost=bool(current))
    if not current or _written_ms(old) > now_ms - LINGER_MS:
        return Plan([Segment(old, position)])
    between = [one for one in rotated if one != old and one.stat().st_mtime_ns >= old.stat().st_mtime_ns]
    whole = [Segment(one, Position(fingerprint(one)), is_final=True) for one in between]
    return Plan([Segment(old, position, is_final=True), *whole, *_from_start(path, current)])


def _from_start(path: Path, current: str) -> list[Segment]:
    return [Segment(path, Position(current))] if current else []


def _rotated(path: Path) -> list[Path]:
    """Files that the log may have been rotated to, the oldest first."""
    found = [one for one in path.parent.glob(f"{glob.escape(path.name)}?*") if one.is_file()]
    # A file is packed before it is deleted, so the packed one may not be whole yet.
    whole = [one for one in found if one.suffix != ".gz" or one.with_suffix("") not in found]
    return sorted(whole, key=lambda one: (one.stat().st_mtime_ns, one.name))


def _continues(path: Path, position: Position) -> bool:
    return fingerprint(path) == position.fingerprint and size(path) >= position.offset


def _written_ms(path: Path) -> int:
    return path.stat().st_mtime_ns // 1_000_000
