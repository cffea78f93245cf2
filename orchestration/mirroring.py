"""Keeps the copy of the ledger in ClickHouse up to date, beside the work of the resident run."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from orchestration.configuration import settings
from wakeline.errors import WakelineError
from wakeline.pipeline.factory import open_mirror
from wakeline.warehouse.mirror import Mirror


@contextmanager
def mirroring(warn: Callable[[str], None]) -> Iterator[Callable[[], int]]:
    """What copies the latest changes when it is called, and says how many; what fails is made up for at the next."""
    with ExitStack() as opened:
        mirrors: list[Mirror] = []
        next_seconds = 0.0

        def copy() -> int:
            nonlocal next_seconds
            if time.monotonic() < next_seconds:
                return 0
            try:
                if not mirrors:
                    mirrors.append(opened.enter_context(open_mirror(settings())))
                copied = mirrors[0].copy()
                next_seconds = time.monotonic() + mirrors[0].pause_seconds
            except WakelineError as error:
                warn(f"The copy of the ledger for analytics waits: {error}")
                return 0
            return copied

        yield copy
