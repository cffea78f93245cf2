"""Which columns a column is made of, as it is read from compiled SQL."""

import json
from pathlib import Path
from typing import Any

import pytest
from support.warehouse import no_warnings

from wakeline.settings import Settings
from wakeline.warehouse.lineage import column_lineage, read_column_lineage, write_column_lineage

with no_warnings():  # Of what sqlglot imports.
    import sqlglot  # noqa: F401


def model(name: str, sql: str, columns: list[str], *parents: str) -> dict[str, Any]:
    return {
        "unique_id": f"model.shop.{name}",
        "resource_type": "model",
        "name": name,
        "schema": "shop",
        "compiled_code": sql,
        "columns": {column: {} for column in columns},
        "depends_on": {"nodes": [f"model.shop.{parent}" for parent in parents]},
    }


EVENTS = model("events", "select 1", ["id", "price", "product_ids", "seen_at"])


def manifest(*models: dict[str, Any]) -> dict[str, Any]:
    return {"nodes": {one["unique_id"]: one for one in (EVENTS, *models)}}


def read(sql: str) -> dict[str, list[str]]:
    found, unread = column_lineage(manifest(model("totals", sql, ["any"], "events")))
    assert unread == {}
    return {name: [column for _, column in of] for name, of in found["model.shop.totals"].items()}


@pytest.mark.parametrize(
    ("sql", "made_of"),
    [
        ("select id, sum(price) as total from `shop`.`events` group by id", {"id": ["id"], "total": ["price"]}),
        (
            "with seen as (select * from shop.events) select argMaxState(price, seen_at) as latest from seen",
            {"latest": ["price", "seen_at"]},
        ),
        ("select groupArraySorted(4) ((-price, id)) as best from shop.events", {"best": ["id", "price"]}),
        (
            "select product_id, price from shop.events array join product_ids as product_id",
            {"product_id": ["product_ids"], "price": ["price"]},
        ),
        ("select count() as rows, 'x' as constant from shop.events", {"rows": [], "constant": []}),
        ("select sumIf(price, id != '') as total from shop.events prewhere id != ''", {"total": ["id", "price"]}),
    ],
)
def test_columns_are_followed_to_the_parent(sql: str, made_of: dict[str, list[str]]) -> None:
    assert read(sql) == made_of


def test_what_cannot_be_read_is_named_with_its_reason() -> None:
    found, unread = column_lineage(manifest(model("broken", "select (( from shop.events", ["a"], "events")))
    assert set(found) == {"model.shop.events"}
    assert list(unread) == ["model.shop.broken"]
    assert unread["model.shop.broken"]


def test_what_selects_from_nothing_is_made_of_nothing() -> None:
    found, _ = column_lineage(manifest())
    assert found["model.shop.events"] == {"id": [], "price": [], "product_ids": [], "seen_at": []}


def test_it_is_written_beside_the_manifest_and_anew_only_when_a_model_has_changed(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    assert read_column_lineage(settings) == {}
    folder = tmp_path / "dbt" / "everyone"
    folder.mkdir(parents=True)
    deploy(folder, "select id from shop.events")
    write_column_lineage(settings)
    assert read_column_lineage(settings)["model.shop.totals"] == {"id": [["model.shop.events", "id"]]}
    first = (folder / "column_lineage.json").stat().st_mtime_ns
    write_column_lineage(settings)
    assert (folder / "column_lineage.json").stat().st_mtime_ns == first
    deploy(folder, "select price as id from shop.events")
    write_column_lineage(settings)
    assert read_column_lineage(settings)["model.shop.totals"] == {"id": [["model.shop.events", "price"]]}


def deploy(folder: Path, sql: str) -> None:
    found = manifest(model("totals", sql, ["id"], "events"))
    (folder / "manifest.json").write_text(json.dumps(found), encoding="utf-8")
