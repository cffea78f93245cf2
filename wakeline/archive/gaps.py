"""What would be passed over if a restore went on: lanes go on behind the newest event of landing."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache

from wakeline.archive.hours import Hour, read_versions
from wakeline.archive.parts import Place
from wakeline.archive.store import Store
from wakeline.errors import ArchiveError

#: Partition -> the first offset that is missing, and the one that is there after it.
Gaps = Mapping[int, tuple[int, int]]


def gaps_before(missing: Iterable[Place], ends: Mapping[int, int]) -> Gaps:
    """What lies between landing's `ends` and the rows of an archive that go on behind them."""
    firsts: dict[int, int] = {}
    for partition, offset in missing:
        if offset >= ends.get(partition, 0):
            firsts[partition] = min(offset, firsts.get(partition, offset))
    return {
        partition: (ends.get(partition, 0), first)
        for partition, first in firsts.items()
        if first > ends.get(partition, 0)
    }


class Archived:
    """What the archive has of the stream's `hours`."""

    def __init__(self, store: Store, hours: Sequence[Hour]) -> None:
        self._store = store
        self._hours = sorted(hours, reverse=True)
        self._lasts = cache(self._read_lasts)

    def require_none_before(self, hour: Hour, gaps: Gaps) -> None:
        """Raises ArchiveError when an earlier hour than this one has rows that the gaps lack."""
        open_ = dict(gaps)
        first: Hour | None = None
        for earlier in self._hours:
            if earlier >= hour or not open_:
                continue
            lasts = self._lasts(earlier)
            # Offsets grow with time: what is older than a gap's beginning has nothing of it.
            open_ = {partition: gap for partition, gap in open_.items() if lasts.get(partition, gap[0]) >= gap[0]}
            first = earlier if open_.keys() & lasts.keys() else first
        if first is not None:
            raise ArchiveError(
                f"{hour} cannot be restored before {first}: landing lacks events of that hour, and as lanes go on"
                " behind the newest event of landing, they would pass over them. Restore from that hour on."
            )

    def _read_lasts(self, hour: Hour) -> dict[int, int]:
        """Partition -> the last offset of an hour."""
        lasts: dict[int, int] = {}
        for version in read_versions(self._store, hour):
            for name, (_, _, last) in version.partitions.items():
                lasts[int(name)] = max(last, lasts.get(int(name), 0))
        return lasts
