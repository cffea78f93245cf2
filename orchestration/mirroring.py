"""Keeps the copy of the ledger in ClickHouse up to date, beside the work of the resident run."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import dagster as dg

from orchestration.configuration import settings
from wakeline.errors import WakelineError
from wakeline.pipeline.factory import open_mirror
from wakeline.warehouse.mirror import Mirror

MIRROR = dg.AssetKey(["analytics", "sends"])


@contextmanager
def mirroring(context: dg.OpExecutionContext) -> Iterator[Callable[[], None]]:
    """What copies the latest changes when it is called; what fails is said, and made up for at the next call."""
    with ExitStack() as opened:
        mirrors: list[Mirror] = []
        next_seconds = 0.0

        def copy() -> None:
            nonlocal next_seconds
            if time.monotonic() < next_seconds:
                return
            try:
                if not mirrors:
                    mirrors.append(opened.enter_context(open_mirror(settings())))
                copied = mirrors[0].copy()
                next_seconds = time.monotonic() + mirrors[0].pause_seconds
            except WakelineError as error:
                context.log.warning("The copy of the ledger for analytics waits: %s", error)
                return
            if copied:
                context.log_event(dg.AssetMaterialization(MIRROR, metadata={"copied": copied}))

        yield copy
