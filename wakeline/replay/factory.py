"""Puts the parts of a rebuild together from the settings."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from wakeline.archive.begun import open_begun_parts
from wakeline.clock import Clock
from wakeline.engines import open_database
from wakeline.pipeline.factory import lane_store
from wakeline.replay.chain import Chain, chain_of
from wakeline.replay.rebuild import Rebuild
from wakeline.replay.standstill import Leases
from wakeline.settings import Settings
from wakeline.warehouse.client import connect
from wakeline.warehouse.manifest import read_manifest


@contextmanager
def open_rebuild(
    settings: Settings,
    holder: str,
    clock: Clock,
    log: Callable[[str], None],
    progress: Callable[[int, int], None],
) -> Iterator[Rebuild]:
    """A rebuild by the run `holder`. Raises WakelineError when a part is not to be had."""
    with ExitStack() as parts:
        database = open_database(settings)
        parts.callback(database.dispose)
        client = connect(settings.warehouse)
        parts.callback(client.close)
        lanes = lane_store(settings, database)
        yield Rebuild(
            client,
            settings.warehouse.database,
            settings.stream.name,
            lanes,
            open_begun_parts(database),
            Leases(lanes, holder, clock, time.sleep, round(settings.lane.lease_seconds * 1000)),
            lambda name, models: create_models(settings, name, models),
            log,
            progress,
        )


def deployed_chain(settings: Settings, models: Sequence[str]) -> Chain:
    """What a rebuild of these models takes, or of all when none is named. Raises ConfigError for an unknown one."""
    return chain_of(read_manifest(settings, "everyone"), models)


def create_models(settings: Settings, database: str, models: Sequence[str]) -> None:
    """Let dbt make models, as the project has them now, in another database. Raises ConfigError or WarehouseError."""
    from wakeline.warehouse.dbt import require_success, run_dbt  # Seconds, and nobody needs it for a dry run.

    elsewhere = settings.model_copy(update={"warehouse": settings.warehouse.model_copy(update={"database": database})})
    result = run_dbt(elsewhere, ["run", "--select", *models], evaluation="rebuild")
    require_success(result, "create the models to rebuild")
