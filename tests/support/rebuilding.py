"""Rebuilds on a site, and what they are compared with: a deployment of its own that is given the same landing."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clickhouse_connect.driver.client import Client

from support.clocks import Hand
from support.sending import LANE
from support.warehouse import CHAIN, PROFILE_VIEWS, Site, empty, no_warnings
from wakeline.activation.esp.protocol import Esp
from wakeline.pipeline.resident import Resident
from wakeline.replay.factory import deployed_chain, open_rebuild
from wakeline.replay.rebuild import Order, RebuildResult
from wakeline.settings import Settings
from wakeline.warehouse.client import connect
from wakeline.warehouse.dbt import require_success, run_dbt

CLEAN = "clean"
_CREATE = "SELECT create_table_query FROM system.tables WHERE database = currentDatabase() AND name = {name:String}"
#: Tables whose rows are compared as they are; of the others the merged profiles are.
_PLAIN = ("events", "wakeups", "delivery_reports")


class Going(Hand):
    """A clock that goes on from where it is set."""

    def __init__(self, now_ms: int) -> None:
        super().__init__(now_ms)
        self._began = time.monotonic()

    def __call__(self) -> int:
        return self.now_ms + round((time.monotonic() - self._began) * 1000)


@dataclass
class Rebuilding:
    """Rebuilds the profiles of a site; `said` is the log, and `on_line` is told each line of it."""

    site: Site
    said: list[str] = field(default_factory=list)
    on_line: Callable[[str], None] = lambda _: None
    #: Otherwise ClickHouse makes the shadow tables from the live ones: dbt takes seconds, and no forked process.
    with_dbt: bool = False

    def run(self, *models: str, execute: bool = True, accept_missing: int = 0) -> RebuildResult:
        settings = self.site.settings
        with no_warnings(), open_rebuild(settings, "rebuild-1", self.site.clock, self._say, lambda *_: None) as opened:
            if not self.with_dbt:
                opened.create_models = self.copy_models
            return opened.run(deployed_chain(settings, models), Order(models, execute, accept_missing))

    def leftovers(self) -> list[str]:
        """Databases of shadow tables."""
        return [
            name for [name] in self.site.rows("SELECT name FROM system.databases WHERE name LIKE 'wakeline_rebuild_%'")
        ]

    def copy_models(self, database: str, models: Sequence[str]) -> None:
        """What dbt does otherwise."""
        live = self.site.settings.warehouse.database
        client = connect(self.site.settings.warehouse)
        for name in [*models, *(f"{model}_mv" for model in models)]:
            [[create]] = client.query(_CREATE, {"name": name}).result_rows
            client.command(create.replace(f"{live}.", f"{database}."))
        client.close()

    def _say(self, line: str) -> None:
        self.said.append(line)
        self.on_line(line)


def contents(client: Client) -> dict[str, list[Any]]:
    """Everything that is known of people: merged profiles, and the rows of tables that are not merged."""
    return {name: client.query(f"SELECT * FROM {name} ORDER BY ALL").result_rows for name in (*PROFILE_VIEWS, *_PLAIN)}  # noqa: S608


@contextmanager
def clean_build(deployed: Settings, folder: Path) -> Iterator[Callable[[], dict[str, list[Any]]]]:
    """A function that gives what a fresh deployment has that ingested what landing holds."""
    warehouse = deployed.warehouse.model_copy(update={"database": CLEAN})
    settings = deployed.model_copy(update={"warehouse": warehouse, "data_dir": folder})
    with no_warnings():
        connect(deployed.warehouse).command(f"CREATE DATABASE {CLEAN}")
        require_success(run_dbt(settings, ["run"]), "create the models")
    client = connect(warehouse)

    def build() -> dict[str, list[Any]]:
        empty(client)
        client.command(f"INSERT INTO landing SELECT * FROM {deployed.warehouse.database}.landing")  # noqa: S608
        return contents(client)

    try:
        yield build
    finally:
        client.command(f"DROP DATABASE {CLEAN} SYNC")
        client.close()


@contextmanager
def resident(site: Site, esp: Esp) -> Iterator[list[str]]:
    """A resident run that works on the site's lane meanwhile; why it ended, and what it warned of."""
    stop, said = threading.Event(), []

    def work() -> None:
        with site.micro_batches(esp) as batches:
            run = Resident(
                lane=LANE,
                holder="run-1",
                settings=site.settings.lane,
                lanes=batches.lanes,
                batches=batches,
                clock=site.clock,
                sleep=time.sleep,
                should_stop=stop.is_set,
                report=lambda _: None,
                warn=said.append,
                keep_alive=lambda _: nullcontext(),
            )
            said.append(run.run())

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield said
    finally:
        stop.set()
        thread.join()


def uuids(site: Site) -> dict[str, str]:
    """The UUID of each table of the chain."""
    rows = site.rows("SELECT name, toString(uuid) FROM system.tables WHERE database = currentDatabase()")
    return {name: uuid for name, uuid in rows if name in CHAIN}
