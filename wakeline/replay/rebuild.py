"""Rebuilds profile tables from landing, exactly, while the stream flows.

A second set of tables is filled from landing, in the background, up to what the lanes have committed. Then all lanes
stand still between two batches, the last rows are added, and the two sets are exchanged. A rebuild that was cut off
changes nothing; the next one begins anew. See docs/decisions/0018-rebuilding-profiles.md.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, OperationalError

from wakeline.archive.begun import BegunParts, DynamoBegunParts
from wakeline.clock import to_iso
from wakeline.errors import LeaseLostError, RebuildError, WarehouseError
from wakeline.pipeline.lanes import LaneStore, Lease
from wakeline.replay.chain import Chain
from wakeline.replay.outlook import Outlook, outlook
from wakeline.replay.standstill import Leases
from wakeline.warehouse.fence import awaited_models, close_fence, raise_fence
from wakeline.warehouse.landed import Digest, Landed, together
from wakeline.warehouse.shadow import Shadow, Table, drop_leftovers, prefix_of, tables
from wakeline.warehouse.spans import Offsets, Span, chunks, spans_between, total, without

#: Offsets read by one insert.
CHUNK_OFFSETS = 1_000_000
#: What is left to read while the lanes stand still.
CLOSE_OFFSETS = 20_000
# Lanes that bring in more than is read in the same time would never be caught up with.
_MOST_PASSES = 20
#: A lane hands over after its batch; mails of a slow provider are part of one.
PATIENCE_SECONDS = 60.0
_AGAIN_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Order:
    """What was asked for: which models (none: all), whether to do it, and which loss is accepted."""

    models: tuple[str, ...] = ()
    execute: bool = False
    accept_missing: int = 0


@dataclass(frozen=True, slots=True)
class RebuildResult:
    """What was done, or in a dry run would be; plain values for a log, metadata and an audit."""

    executed: bool
    models: tuple[str, ...]
    #: Rows of landing to read, and since when they came in.
    landing_rows: int
    landing_from: str
    missing_rows: int
    needed_bytes: int
    free_bytes: int | None
    estimated_seconds: int
    rows_before: Mapping[str, int]
    rows_after: Mapping[str, int] = field(default_factory=dict)
    #: Models whose view had other SQL before.
    redefined: tuple[str, ...] = ()
    #: Models that had other columns before.
    changed_columns: tuple[str, ...] = ()
    took_ms: int = 0
    #: How long landing was read, while events flowed.
    read_ms: int = 0
    #: How long the lanes stood still.
    standstill_ms: int = 0

    def counts(self) -> dict[str, Any]:
        """All of it in plain values, for an audit row."""
        plain = asdict(self)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in plain.items()}


@dataclass
class Rebuild:
    """One rebuild after the other; `client` is connected to the live database."""

    client: Client
    live: str
    stream: str
    lanes: LaneStore
    begun_restores: BegunParts | DynamoBegunParts
    leases: Leases
    #: Lets dbt make these models in a database.
    create_models: Callable[[str, Sequence[str]], None]
    log: Callable[[str], None]
    #: Told how many rows of landing are read, and of how many.
    progress: Callable[[int, int], None]

    def __post_init__(self) -> None:
        self._landed = Landed(self.client)
        self._read = 0

    def run(self, chain: Chain, order: Order) -> RebuildResult:
        """Do what was ordered, or say what would be done.

        Raises RebuildError, LeaseLostError, WarehouseError or LedgerError; then the profiles are as they were, if the
        error does not say otherwise.
        """
        seen = outlook(self.client, self.lanes, self.live, self.stream, chain)
        self.log(_sentence(seen, chain))
        if not order.execute:
            self._left_awaited(chain, order)
            return _result(chain, seen)
        seen.require_possible(order.accept_missing)
        with self.leases.alone() as lease:
            left = self._left_awaited(chain, order)
            drop_leftovers(self.client, self.live)
            shadow = Shadow(self.client, self.live, f"{prefix_of(self.live)}{lease.fencing_token}")
            try:
                return self._rebuild(shadow, chain, seen, left)
            finally:
                self._drop(shadow)

    def _left_awaited(self, chain: Chain, order: Order) -> frozenset[str]:
        """What a rebuild that died between tables and views leaves to be rebuilt when this one is done.

        One that names no models does all there are; those that the project has no more keep nothing closed then.
        """
        awaited = awaited_models(self.client)
        left = awaited - {*chain.models} if order.models else frozenset[str]()
        if awaited:
            until = f"{_listed(left)} are rebuilt as well" if left else "this is done"
            self.log(f"A rebuild was cut off between tables and views: events wait in the stream until {until}")
        return left

    def _drop(self, shadow: Shadow) -> None:
        try:
            shadow.drop()
        except WarehouseError as error:  # It must hide neither that all is done nor why it is not.
            self.log(f"{error}; the next rebuild drops what is left in {shadow.name}")

    def _rebuild(self, shadow: Shadow, chain: Chain, seen: Outlook, left: frozenset[str]) -> RebuildResult:
        began_ms = self._clock()
        deployed = shadow.view_queries(self.live)
        self._create(shadow, chain)
        created_ms = self._clock()
        done, digests = self._fill(shadow, seen)
        read_ms = self._clock() - created_ms
        with self.leases.no_restore():
            self._require_unchanged(seen.extent.firsts, done, digests)
            with self.leases.standstill(PATIENCE_SECONDS) as held:
                stood_ms = self._clock()
                self._require_same_definitions(shadow, deployed)
                changed = tuple(shadow.changed_columns(chain.models))
                redefined = self._finish(shadow, chain, done, held, deployed, left)
                stood_ms = self._clock() - stood_ms
        self.log(f"Exchanged; the lanes stood still for {stood_ms} ms")
        return _result(
            chain,
            seen,
            executed=True,
            rows_after=_rows(tables(self.client, self.live, chain.models)),
            redefined=redefined,
            changed_columns=changed,
            took_ms=self._clock() - began_ms,
            read_ms=read_ms,
            standstill_ms=stood_ms,
        )

    def _create(self, shadow: Shadow, chain: Chain) -> None:
        shadow.create()
        self.create_models(shadow.name, chain.all)
        for name in chain.on_the_way:
            shadow.mute(name)
        self.log(f"Created {len(chain.models)} shadow tables in {shadow.name}")

    def _fill(self, shadow: Shadow, seen: Outlook) -> tuple[Offsets, list[Digest]]:
        """Read landing up to a little before where the lanes are by now; where that is, and what was read."""
        digests: list[Digest] = []
        done, self._read = seen.extent.firsts, 0
        for _ in range(_MOST_PASSES):
            ends = self._settled(seen.extent.ends)
            spans = spans_between(done, ends)
            if digests and total(spans) <= CLOSE_OFFSETS:
                break
            digests.append(self._landed.digest(spans))
            self._insert(shadow, spans, seen.extent.rows)
            done = {**done, **{span.place: span.end for span in spans}}
        self.log(f"Read {self._read} rows of landing")
        return done, digests

    def _settled(self, ends: Offsets) -> Offsets:
        """Where each partition ends that no lane reads any more, and where lanes have committed the others."""
        committed = dict(self.lanes.committed())
        for batch in self.lanes.begun_batches():
            for partition, (first, _) in batch.items():
                committed[partition] = min(first, committed.get(partition, first))
        others = {place: end for place, end in ends.items() if place[0] != self.stream}
        return {**others, **{(self.stream, partition): end for partition, end in committed.items()}}

    def _insert(self, shadow: Shadow, spans: Sequence[Span], rows: int) -> None:
        for chunk in chunks(spans, CHUNK_OFFSETS):
            shadow.fill(chunk)
            self._read += total(chunk)
            self.progress(self._read, max(rows, self._read))

    def _require_unchanged(self, firsts: Offsets, done: Offsets, digests: Sequence[Digest]) -> None:
        if self.begun_restores.all():
            raise RebuildError(
                "A restore from the archive was cut off, and would be finished on top of the rebuilt profiles: run"
                " restore_hours, then rebuild again."
            )
        if self._landed.digest(spans_between(firsts, done)) != together(digests):
            raise RebuildError(
                "Rows came into landing or left it where it had been read already, as by a restore or by retention;"
                " the profiles are as they were. Rebuild again."
            )

    def _require_same_definitions(self, shadow: Shadow, deployed: Mapping[str, str]) -> None:
        if shadow.view_queries(self.live) != deployed:
            raise RebuildError("Models were deployed meanwhile; the profiles are as they were. Rebuild again.")

    def _finish(
        self,
        shadow: Shadow,
        chain: Chain,
        done: Offsets,
        held: Sequence[Lease],
        deployed: Mapping[str, str],
        left: frozenset[str],
    ) -> tuple[str, ...]:
        """While all lanes stand still: what is new since, without what lanes have begun and do again, then exchange."""
        raise_fence(self.client, self.leases.sleep, PATIENCE_SECONDS)
        spans = spans_between(done, self._landed.ends_beyond(done))
        self._insert(shadow, without(spans, self.stream, self.lanes.begun_batches()), 0)
        new = {name: table.uuid for name, table in shadow.tables(chain.models).items()}
        queries = shadow.redefined(chain.models)
        old = {name: table.uuid for name, table in tables(self.client, self.live, chain.models).items()}
        awaited = awaited_models(self.client)
        self.leases.require(held)
        try:
            self._exchange(shadow, new, queries, left)
        except WarehouseError:
            shadow.exchange(old)  # ClickHouse refused something: everything as it was, and the lanes may go on.
            shadow.redefine({view: deployed[view] for view in queries if view in deployed})
            close_fence(self.client, awaited)
            raise
        self._require_still_held(held)
        return tuple(sorted(queries))

    def _exchange(
        self, shadow: Shadow, new: Mapping[str, str], queries: Mapping[str, str], left: frozenset[str]
    ) -> None:
        """Wait for a ClickHouse that went away in the middle, and do the rest.

        Lanes that come between tables and views would bring rows of the old definition into the new tables.
        """
        for _ in range(round(PATIENCE_SECONDS / _AGAIN_SECONDS)):
            try:
                if queries:
                    close_fence(self.client, awaited_models(self.client) | new.keys())
                shadow.exchange(new)
                shadow.redefine(queries)
                close_fence(self.client, left)
                return
            except WarehouseError as error:
                if not _is_away(error):
                    raise
                self.log(f"{error}; trying again")
                self.leases.sleep(_AGAIN_SECONDS)
        raise RebuildError(
            f"ClickHouse has been away for {PATIENCE_SECONDS:.0f} seconds while tables were exchanged: some may be"
            " rebuilt and others not, each of them complete. Rebuild again when it is back; if views were to change,"
            " events wait in the stream until then."
        )

    def _require_still_held(self, held: Sequence[Lease]) -> None:
        try:
            self.leases.require(held)
        except LeaseLostError as error:
            raise RebuildError(
                "This rebuild was paused while it exchanged tables, and lanes went on before it was through: what they"
                " ingested then may be missing from the profiles. Rebuild again at once."
            ) from error

    def _clock(self) -> int:
        return self.leases.clock()


def _is_away(error: WarehouseError) -> bool:
    """Whether ClickHouse did not answer, rather than refuse."""
    return isinstance(error.__cause__, OperationalError) or not isinstance(error.__cause__, ClickHouseError)


def _listed(models: Collection[str]) -> str:
    return ", ".join(sorted(models))


def _result(chain: Chain, seen: Outlook, executed: bool = False, **more: Any) -> RebuildResult:
    return RebuildResult(
        executed=executed,
        models=chain.models,
        landing_rows=seen.extent.rows,
        landing_from=_since(seen),
        missing_rows=seen.missing_rows,
        needed_bytes=seen.needed_bytes,
        free_bytes=seen.free_bytes,
        estimated_seconds=seen.estimated_seconds,
        rows_before=_rows(seen.tables),
        **more,
    )


def _rows(found: Mapping[str, Table]) -> dict[str, int]:
    return {name: found[name].rows for name in sorted(found)}


def _since(seen: Outlook) -> str:
    oldest_ms = seen.extent.oldest_received_at_ms
    return "" if oldest_ms is None else to_iso(oldest_ms)


def _sentence(seen: Outlook, chain: Chain) -> str:
    since = f", the oldest of {_since(seen)}" if _since(seen) else ""
    lacks = f"; {seen.missing_rows} that it once had are gone" if seen.missing_rows else ""
    return (
        f"{len(chain.models)} models from {seen.extent.rows} rows of landing{since}{lacks}; about"
        f" {seen.estimated_seconds} seconds"
    )
