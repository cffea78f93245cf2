"""Asks the warehouse what a micro-batch caused: candidates, triggers, contacts.

The SQL is dbt's. It is given `as_of`, `evaluated_until`, `lane` and `lane_count` as parameters, and the tables
`_touched` (ids of the batch) or `_candidates` (profiles to evaluate, one row per id) with the request.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.external import ExternalData

from wakeline.clock import to_datetime, to_epoch_ms
from wakeline.errors import ConfigError, WarehouseError
from wakeline.pipeline.triggers import CONTRACT_COLUMNS, LiveModel, LiveModels, Occurrence
from wakeline.warehouse.client import FAULTS, first_line

#: (profile id, id): an id that belongs to the profile; a profile's own id is one of its ids.
Member = tuple[str, str]


class Evaluator:
    """Asks for one batch after another; the triggers of a batch are asked at the same time."""

    def __init__(self, connect: Callable[[], Client], models: LiveModels) -> None:
        self._models = models
        self._client = connect()
        self._trigger_clients = [connect() for _ in models.triggers]
        self._pool = ThreadPoolExecutor(max(1, len(models.triggers)), thread_name_prefix="trigger")

    def candidates(
        self, touched: Iterable[str], lane: int, lane_count: int, evaluated_until_ms: int, as_of_ms: int
    ) -> list[Member]:
        """The profiles of `touched` ids and of the lane's wake-ups due in (evaluated_until, as_of], with all their ids.

        A wake-up is the lane's when the partition of its event is, even one that the stream no longer has.
        """
        parameters = {
            "as_of": _moment(as_of_ms),
            "evaluated_until": _moment(evaluated_until_ms),
            "lane": lane,
            "lane_count": lane_count,
        }
        table = _table("_touched", ["id"], ((one,) for one in touched))
        rows = _ask(self._client, self._models.candidates, parameters, table)
        return [(row["profile_id"], row["id"]) for row in rows]

    def looks(self, begins_at_ms: int, ends_at_ms: int, step_ms: int) -> dict[int, set[str]]:
        """Moment -> ids that a lane had reason to look at in the step of a past window that ends with it, in order."""
        window = {"begins_at": _moment(begins_at_ms), "ends_at": _moment(ends_at_ms), "step_ms": step_ms}
        found: dict[int, set[str]] = {}
        for row in _ask(self._client, self._models.looks, window, _table("_touched", ["id"], ())):
            found.setdefault(to_epoch_ms(row["looked_at"]), set()).add(row["id"])
        return dict(sorted(found.items()))

    def occurrences(self, members: Sequence[Member], as_of_ms: int) -> list[Occurrence]:
        """What every trigger returns for these profiles at `as_of`."""
        parameters, table = {"as_of": _moment(as_of_ms)}, _members(members)
        answers = self._pool.map(
            lambda pair: _ask(pair[0], pair[1], parameters, table),
            zip(self._trigger_clients, self._models.triggers, strict=True),
        )
        triggers_and_answers = zip(self._models.triggers, answers, strict=True)
        found = [_occurrence(trigger, row) for trigger, rows in triggers_and_answers for row in rows]
        _require_candidates(found, {profile_id for profile_id, _ in members})
        return found

    def contacts(self, members: Sequence[Member], as_of_ms: int) -> dict[str, dict[str, Any]]:
        """profile id -> columns of the contacts model."""
        rows = _ask(self._client, self._models.contacts, {"as_of": _moment(as_of_ms)}, _members(members))
        return {row["profile_id"]: row for row in rows}

    def close(self) -> None:
        """Close the connections."""
        self._pool.shutdown()
        for client in (self._client, *self._trigger_clients):
            client.close()


def _require_candidates(found: Sequence[Occurrence], profiles: set[str]) -> None:
    for one in found:
        if one.profile_id not in profiles:
            raise ConfigError(
                f"dbt_project/models/triggers/{one.trigger}.sql: the trigger returned a profile that is no candidate;"
                " take profile_id from the merged profile models or from candidates()."
            )


def _ask(client: Client, model: LiveModel, parameters: dict[str, Any], table: ExternalData) -> list[dict[str, Any]]:
    try:
        found = client.query(model.sql, parameters, external_data=table)
    except FAULTS as error:
        raise WarehouseError(f"{model.path} failed in ClickHouse: {first_line(error)}") from error
    return [dict(zip(found.column_names, row, strict=True)) for row in found.result_rows]


def describe(client: Client, trigger: LiveModel) -> dict[str, str]:
    """Column name -> ClickHouse type of a trigger's answer, asked of ClickHouse itself."""
    found = client.query(
        f"SELECT * FROM ({trigger.sql}) LIMIT 0",  # noqa: S608 - the project's own model
        {"as_of": _moment(0)},
        external_data=_members([]),
    )
    return {name: kind.name for name, kind in zip(found.column_names, found.column_types, strict=True)}


def _occurrence(trigger: LiveModel, row: dict[str, Any]) -> Occurrence:
    return Occurrence(
        trigger=trigger.name,
        trigger_hash=trigger.definition_hash,
        profile_id=str(row["profile_id"]),
        occurrence_key=str(row["occurrence_key"]),
        occurred_at_ms=to_epoch_ms(row["occurred_at"]),
        expires_at_ms=to_epoch_ms(row["expires_at"]),
        context={name: value for name, value in row.items() if name not in CONTRACT_COLUMNS},
    )


def _members(members: Sequence[Member]) -> ExternalData:
    return _table("_candidates", ["profile_id", "id"], members)


def _table(name: str, columns: list[str], rows: Iterable[tuple[str, ...]]) -> ExternalData:
    data = b"\n".join(orjson.dumps(dict(zip(columns, row, strict=True))) for row in rows)
    return ExternalData(
        file_name=name, data=data, fmt="JSONEachRow", structure=[f"{column} String" for column in columns]
    )


def _moment(epoch_ms: int) -> str:
    return to_datetime(epoch_ms).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
