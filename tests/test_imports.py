"""What importing Wakeline brings with it: what takes seconds or belongs to one process must not come by itself."""

import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "wakeline"
#: dbt takes seconds to import; only commands and deployment, which import these two when they run, need it.
WITH_DBT = ("wakeline.warehouse.dbt", "wakeline.warehouse.deploy")

_REPORT = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


def modules() -> list[str]:
    """Every module of the package but the one that is the command line when it is imported."""
    paths = (path.relative_to(PACKAGE.parent).with_suffix("") for path in PACKAGE.rglob("*.py"))
    names = {".".join(path.parts).removesuffix(".__init__") for path in paths}
    return sorted(names - {"wakeline.__main__"})


def imported_by(*names: str) -> set[str]:
    """The packages that a fresh interpreter has after importing these modules."""
    done = subprocess.run([sys.executable, "-c", _REPORT, *names], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_nothing_of_the_engine_imports_dagster_or_dbt_or_the_clickhouse_engine() -> None:
    found = imported_by(*(name for name in modules() if name not in WITH_DBT))
    assert {"wakeline", "clickhouse_connect", "sqlalchemy", "starlette", "mjml"} <= found
    assert found.isdisjoint({"dagster", "dagster_dbt", "dbt", "chdb", "orchestration", "sensors"})


def test_deployment_imports_dbt_and_still_neither_dagster_nor_the_clickhouse_engine() -> None:
    found = imported_by(*WITH_DBT)
    assert "dbt" in found
    assert found.isdisjoint({"dagster", "dagster_dbt", "chdb"})


@pytest.mark.parametrize("name", ["wakeline.cli", "wakeline.settings", "wakeline.play.cli"])
def test_the_command_line_is_quick_to_import(name: str) -> None:
    heavy = {"clickhouse_connect", "sqlalchemy", "pandas", "mjml", "starlette", "uvicorn", "supervisor"}
    assert imported_by(name).isdisjoint(heavy | {"dagster", "dbt", "chdb"})
