"""The real embedded warehouse as a process of its own, and what a test does with it."""

import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import httpx
from clickhouse_connect.driver.client import Client
from sqlalchemy.engine import Engine

from support.clocks import Hand
from support.messages import Message, append
from support.ports import free_ports
from support.sending import LANE, LEASE_MS, Book, alone
from support.stack import PROJECT_DIR, await_that
from wakeline.activation.esp.protocol import Esp
from wakeline.activation.mailer import Mailer
from wakeline.activation.rendering import Renderer
from wakeline.engines import open_database
from wakeline.pipeline.factory import open_ledger, open_micro_batches
from wakeline.pipeline.lanes import Lease
from wakeline.pipeline.microbatch import BatchResult, MicroBatches
from wakeline.settings import CONFIG_VARIABLE, Settings, load_settings
from wakeline.sla.holds import Holds
from wakeline.sla.inputs import inputs_of
from wakeline.warehouse.client import connect
from wakeline.warehouse.manifest import read_manifest

_START_SECONDS = 60
_STOP_SECONDS = 40
_SETTINGS = """\
project_dir = "{project_dir}"
data_dir = "data"

[warehouse]
port = {port}
native_port = {native_port}

[sources.signup]
write_keys = ["key-of-the-signup-form"]
double_opt_in = ["marketing"]
"""

#: Every table that an insert into landing fills: the chain of materialized views.
CHAIN = (
    "landing",
    "landing_message_ids",
    "events",
    "person_states",
    "category_states",
    "product_states",
    "session_states",
    "email_states",
    "consent_states",
    "order_states",
    "identity_states",
    "wakeups",
    "delivery_reports",
    "traffic_minutes",
)
#: What an analyst reads: every profile model, merged.
PROFILE_VIEWS = (
    "profile_members",
    "persons",
    "person_categories",
    "person_orders",
    "person_products",
    "person_sessions",
    "person_emails",
    "person_consents",
)

_stream_numbers = count(1)


class WarehouseProcess:
    """`wakeline warehouse` with a folder and ports of its own."""

    def __init__(self, folder: Path, **ports: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.settings_path = folder / "wakeline.toml"
        known = {**dict(zip(("port", "native_port"), free_ports(2), strict=True)), **ports}
        self.settings_path.write_text(_SETTINGS.format(project_dir=PROJECT_DIR, **known), encoding="utf-8")
        self.settings: Settings = load_settings(self.settings_path)
        self._log_path = folder / "warehouse.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> "WarehouseProcess":
        """Returns when it answers."""
        self.launch()
        await_that(lambda: f"the warehouse answers ({self.said()})", self._answers, _START_SECONDS)
        return self

    def launch(self) -> None:
        """Start it without waiting for an answer."""
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "wakeline", "warehouse"],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, CONFIG_VARIABLE: str(self.settings_path)},
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Of the process that runs."""
        return self._running().pid

    def wait(self) -> int:
        """The exit code, once it has ended."""
        process, self._process = self._running(), None
        return process.wait(_STOP_SECONDS)

    def stop(self) -> int:
        """Stop it as the supervisor does; the exit code."""
        self._running().send_signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """kill -9; safe to call when it has ended."""
        if self._process is not None:
            self._process.kill()
            self.wait()

    def said(self) -> str:
        """Everything it has written."""
        return self._log_path.read_text(encoding="utf-8", errors="replace")

    def ask(self, query: str, **parameters: Any) -> Sequence[Sequence[Any]]:
        """Rows of a query over a connection of its own, to the server's default database."""
        client = connect(self.settings.warehouse, database="default")
        try:
            return client.query(query, parameters).result_rows
        finally:
            client.close()

    def _running(self) -> "subprocess.Popen[bytes]":
        assert self._process is not None
        return self._process

    def _answers(self) -> bool:
        assert self._running().poll() is None, self.said()
        warehouse = self.settings.warehouse
        try:
            return httpx.get(f"http://{warehouse.host}:{warehouse.port}/ping").is_success
        except httpx.TransportError:
            return False


@dataclass
class Site:
    """A deployed warehouse without a row, and around it a stream, a ledger and an outbox that nobody used yet."""

    settings: Settings
    clock: Hand
    client: Client
    engine: Engine
    #: When batch models were built; ClickHouse's own clock is another. One that is left out holds nothing up.
    built_at_ms: dict[str, int] = field(default_factory=dict)
    book: Book = field(init=False)

    def __post_init__(self) -> None:
        self.book = Book(self.engine)
        self.book.lanes = type(self.book.lanes)(self.engine, self.settings.stream.name)

    def with_settings(self, **sections: dict[str, Any]) -> "Site":
        """The same site with some settings changed, e.g. `lane={"batch_rows": 3}`."""
        changed = {name: getattr(self.settings, name).model_copy(update=values) for name, values in sections.items()}
        return Site(self.settings.model_copy(update=changed), self.clock, self.client, self.engine)

    @contextmanager
    def micro_batches(self, esp: Esp | None = None) -> Iterator[MicroBatches]:
        """A lane's micro-batches as a run opens them; with another ESP than the outbox if one is given."""
        with open_micro_batches(self.settings, self.clock) as batches, ExitStack() as stack:
            inputs = inputs_of(read_manifest(self.settings, "everyone"), batches.campaigns)
            batches.holds = Holds(inputs, lambda: self.built_at_ms, self.clock)
            if esp is not None:
                batches.mailer = Mailer(self._renderer(batches), alone(esp), threads=2, clock=self.clock)
                stack.callback(batches.mailer.close)
                engine = open_database(self.settings)
                batches.ledger = open_ledger(engine, esp.idempotency_key_seconds)
                stack.callback(engine.dispose)
            yield batches

    def play(self, messages: Iterable[Message], esp: Esp | None = None) -> list[BatchResult]:
        """Append these messages and process all that is unread, in a run of its own."""
        with self.micro_batches(esp) as batches:
            append(batches.stream, messages, self.clock())
            return self.work(batches)

    def work(self, batches: MicroBatches, holder: str = "run-1") -> list[BatchResult]:
        """Hold the lane as a resident run does until there is nothing left to do."""
        lease = self.hold(batches, holder)
        results = [*batches.recover(lease), *drained(batches, lease)]
        batches.lanes.release(lease)
        return results

    def hold(self, batches: MicroBatches, holder: str = "run-1") -> Lease:
        """A lease on the lane, which must be free."""
        lease = batches.lanes.acquire(LANE, holder, self.clock(), LEASE_MS)
        assert lease is not None
        return lease

    def rows(self, query: str, **parameters: Any) -> list[tuple[Any, ...]]:
        """Rows of a query."""
        return [tuple(row) for row in self.client.query(query, parameters).result_rows]

    def counts(self) -> dict[str, int]:
        """How often something was counted in each table of the chain: rows, or what its rows add up to."""
        return {name: int(self.rows(query)[0][0]) for name, query in _COUNTS.items()}

    def statuses(self) -> dict[str, int]:
        """Rows of landing by status."""
        return dict(self.rows("SELECT status, count() FROM landing GROUP BY status"))  # type: ignore[arg-type]

    def profiles(self) -> dict[str, list[tuple[Any, ...]]]:
        """Every row of every merged profile view."""
        return {view: self.rows(f"SELECT * FROM {view} ORDER BY ALL") for view in PROFILE_VIEWS}  # noqa: S608

    def sends(self) -> dict[tuple[str, str, str], str]:
        """(campaign, profile, occurrence) -> state, with the reason where there is one."""
        return {
            (row["campaign"], row["profile_id"], row["occurrence_key"]): ":".join(
                part for part in (row["state"], row["reason"]) if part
            )
            for row in self.book.rows()
        }

    def outbox(self) -> set[str]:
        """The keys of the mails in the outbox."""
        return {path.stem for path in self.settings.outbox_dir.glob("*.eml")}

    def _renderer(self, batches: MicroBatches) -> Renderer:
        activation = self.settings.activation
        return Renderer(batches.campaigns, activation.sender, activation.public_url, lambda key, *_: key, ())


# States are counted by something that would double if a batch were counted twice.
_COUNTS = {
    "landing": "SELECT count() FROM landing",
    "landing_message_ids": "SELECT count() FROM landing_message_ids",
    "events": "SELECT count() FROM events",
    "person_states": "SELECT sum(event_count) FROM person_states",
    "category_states": "SELECT sum(engaged_ms) FROM category_states",
    "product_states": "SELECT sum(view_count) FROM product_states",
    "session_states": "SELECT sum(event_count) FROM session_states",
    "email_states": "SELECT sum(open_count + click_count + bounce_count) FROM email_states",
    "consent_states": "SELECT uniqExact(id, purpose, source) FROM consent_states",
    "order_states": "SELECT uniqExact(id, order_id) FROM order_states",
    "identity_states": "SELECT uniqExact(id, other_id) FROM identity_states",
    "wakeups": "SELECT count() FROM wakeups",
    "delivery_reports": "SELECT count() FROM delivery_reports",
    "traffic_minutes": "SELECT sum(event_count) FROM traffic_minutes",
}


def drained(batches: MicroBatches, lease: Lease) -> list[BatchResult]:
    """Step until there is nothing left to do at this time of the clock."""
    results = []
    while (result := batches.step(lease)) is not None:
        results.append(result)
    return results


def empty(client: Client) -> None:
    """Take every row out of the chain; ClickHouse forgets the batches it has seen with them."""
    for table in CHAIN:
        client.command(f"TRUNCATE TABLE {table}")


@contextmanager
def open_site(deployed: Settings, folder: Path, clock: Hand) -> Iterator[Site]:
    """An empty site in `folder` on a deployed warehouse."""
    data_dir = folder / "data"
    data_dir.mkdir(parents=True)
    (data_dir / "dbt").symlink_to(deployed.data_dir / "dbt")
    stream = deployed.stream.model_copy(update={"name": f"events-{next(_stream_numbers)}"})
    settings = deployed.model_copy(update={"data_dir": data_dir, "stream": stream})
    client, engine = connect(settings.warehouse), open_database(settings)
    try:
        empty(client)
        yield Site(settings, clock, client, engine)
    finally:
        engine.dispose()
        client.close()


@contextmanager
def no_warnings() -> Iterator[None]:
    """Around dbt, which warns of its own code."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
