"""What a newcomer sees in Dagster: nothing is without a description, an owner, columns and where they come from."""

from collections.abc import Iterator

import dagster as dg
import pytest
from support.warehouse import WarehouseProcess, no_warnings

from wakeline.settings import CONFIG_VARIABLE

with no_warnings():  # Of what Dagster imports.
    from orchestration import configuration
    from orchestration.definitions import definitions

pytestmark = pytest.mark.stack

SCHEMA, LINEAGE = "dagster/column_schema", "dagster/column_lineage"
CACHED = (
    configuration.settings,
    configuration.campaigns,
    configuration.dbt_project,
    configuration.manifest,
    configuration.column_lineage,
)


@pytest.fixture(scope="module")
def loaded(warehouse: WarehouseProcess) -> Iterator[dg.Definitions]:
    """The code location over the deployed models."""
    for one in CACHED:
        one.cache_clear()
    with pytest.MonkeyPatch.context() as patch, no_warnings():
        patch.setenv(CONFIG_VARIABLE, str(warehouse.settings_path))
        found = definitions()
        assert isinstance(found, dg.Definitions)
        yield found
    for one in CACHED:
        one.cache_clear()


def specs(loaded: dg.Definitions) -> dict[str, dg.AssetSpec]:
    return {spec.key.to_user_string(): spec for spec in loaded.resolve_all_asset_specs()}


def columns(spec: dg.AssetSpec) -> set[str]:
    return {column.name for column in spec.metadata[SCHEMA].columns}


def test_every_asset_says_what_it_is_and_whose(loaded: dg.Definitions) -> None:
    lacking = {
        name: lacks
        for name, spec in specs(loaded).items()
        if (lacks := [one for one in ("description", "owners", "kinds", "group_name") if not getattr(spec, one)])
        or spec.group_name == "default"
    }
    assert lacking == {}


def test_every_asset_has_its_columns_and_where_they_come_from(loaded: dg.Definitions) -> None:
    found = specs(loaded)
    assert [name for name, spec in found.items() if not columns(spec)] == []
    for first in ("event_stream", "table_builds"):  # Nothing in here comes before the stream, or the warehouse itself.
        del found[first]
    lineages = {name: spec.metadata[LINEAGE].deps_by_column for name, spec in found.items()}
    assert [name for name, one in lineages.items() if set(one) != columns(found[name])] == []
    assert [name for name, one in lineages.items() if not any(one.values())] == []


def test_where_a_column_comes_from_stands_in_its_description(loaded: dg.Definitions) -> None:
    """The open-source UI shows no other column lineage."""
    [total] = [one for one in specs(loaded)["abandoned_cart"].metadata[SCHEMA].columns if one.name == "total"]
    assert total.description.endswith(" From `person_products.cart_quantity`, `person_products.price`.")
    [key] = [one for one in specs(loaded)["event_stream"].metadata[SCHEMA].columns if one.name == "key"]
    assert "From" not in key.description


def test_column_lineage_leads_to_columns_that_exist(loaded: dg.Definitions) -> None:
    found = specs(loaded)
    leading_nowhere = [
        (name, column, dep.asset_key.to_user_string(), dep.column_name)
        for name, spec in found.items()
        if LINEAGE in spec.metadata
        for column, deps in spec.metadata[LINEAGE].deps_by_column.items()
        for dep in deps
        if dep.column_name not in columns(found[dep.asset_key.to_user_string()])
    ]
    assert leading_nowhere == []


def test_a_column_is_followed_from_the_trigger_back_to_the_stream(loaded: dg.Definitions) -> None:
    found = specs(loaded)
    reached, frontier = set(), {("abandoned_cart", "total")}
    while frontier:
        name, column = frontier.pop()
        reached.add(name)
        if LINEAGE in found[name].metadata:
            deps = found[name].metadata[LINEAGE].deps_by_column[column]
            frontier |= {(dep.asset_key.to_user_string(), dep.column_name) for dep in deps}
    assert reached == {"abandoned_cart", "person_products", "product_states", "events", "landing", "event_stream"}


def test_every_check_and_job_is_described_and_every_job_can_be_filtered_by(loaded: dg.Definitions) -> None:
    graph = loaded.resolve_asset_graph()
    checks = {key: graph.get_check_spec(key) for key in graph.asset_check_keys}
    assert len(checks) > 50
    assert [key for key, spec in checks.items() if not (spec.description or "").endswith(".")] == []
    jobs = [job for job in loaded.resolve_all_job_defs() if not job.name.startswith("__")]
    assert [job.name for job in jobs if not job.description or configuration.KIND_TAG not in job.tags] == []
