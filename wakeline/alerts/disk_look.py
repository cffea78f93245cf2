"""Disks that run full."""

from collections.abc import Iterable
from dataclasses import dataclass

from wakeline.alerts.problem import Look, Problem, Severity

_GIB = 1024**3


@dataclass(frozen=True, slots=True)
class Disk:
    """A disk, by the name people know it by, and what stops when it is full."""

    name: str
    free_bytes: int
    total_bytes: int
    affected: tuple[str, ...]

    @property
    def free_percent(self) -> float:
        return 100 * self.free_bytes / self.total_bytes if self.total_bytes else 100.0


def look_at_disks(disks: Iterable[Disk], min_free_percent: float) -> Look:
    """Those with less free space than the limit."""
    return Look(tuple(_problem(disk, min_free_percent) for disk in disks if disk.free_percent < min_free_percent))


def _problem(disk: Disk, limit: float) -> Problem:
    return Problem(
        f"disk/{disk.name}",
        Severity.CRITICAL if disk.free_percent < limit / 2 else Severity.ERROR,
        f"{disk.free_percent:.1f}% of the disk of {disk.name} is free ({disk.free_bytes / _GIB:.1f} of"
        f" {disk.total_bytes / _GIB:.1f} GiB, at least {limit:g}% wanted).",
        affected=disk.affected,
        cause="growth of landing, the archive or Dagster's history, or something else on the disk.",
        first_action="find out what grows in the data folder; the retention settings and jobs delete old data.",
    )
