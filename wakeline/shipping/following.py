"""Reading a log once, or for as long as it is written to."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from wakeline.errors import WakelineError
from wakeline.play.pacing import Pacer
from wakeline.shipping.position_file import PositionFile
from wakeline.shipping.rotation import Plan, plan
from wakeline.shipping.shipper import Shipper
from wakeline.shipping.transport import Warn

_LOOK_EVERY_MS = 200


def look(path: Path, positions: PositionFile, now_ms: int) -> Plan:
    """What there is to ship now. Raises WakelineError when the log cannot be read."""
    position = positions.load()
    if position is None and not path.exists():
        raise WakelineError(f"The log {path} does not exist; see that its name is right.")
    with _readable(path):
        return plan(path, position, now_ms)


def ship_once(path: Path, found: Plan, shipper: Shipper, warn: Warn) -> None:
    """Ship what was found. Raises WakelineError when the log cannot be read."""
    with _readable(path):
        _ship(path, found, shipper, warn)


def follow(path: Path, positions: PositionFile, shipper: Shipper, pacer: Pacer, warn: Warn) -> None:
    """Ship what is there and what comes, through rotations, until `pacer` says stop. Raises WakelineError."""
    look(path, positions, pacer.clock())
    while not pacer.stopped():
        # Renamed just now; the next look finds it under its new name.
        with _readable(path), suppress(FileNotFoundError):
            _ship(path, plan(path, positions.load(), pacer.clock()), shipper, warn)
        pacer.wait_until(pacer.clock() + _LOOK_EVERY_MS)


def _ship(path: Path, found: Plan, shipper: Shipper, warn: Warn) -> None:
    if found.lost:
        warn(
            f"{path} is another file than before, and the rest of the former one is not next to it: "
            "lines that were not shipped yet may be missing."
        )
    shipper.ship(found.segments)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError) as error:
        reason = getattr(error, "strerror", None) or error
        raise WakelineError(f"The log {path} cannot be read ({reason}); see its rights and its folder.") from error
