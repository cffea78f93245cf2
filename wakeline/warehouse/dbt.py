"""Runs dbt in this process, and keeps what the pipeline needs of it: the SQL of a micro-batch.

dbt-core allows one invocation at a time per process (its programmatic invocations guide), so only commands and
deployment call this, never the pipeline.
"""

import json
import os
import re
from typing import Any

from dbt.cli.main import dbtRunner, dbtRunnerResult

from wakeline.errors import ConfigError, WarehouseError
from wakeline.settings import Settings
from wakeline.warehouse.manifest import dbt_environment, dbt_variables, target_dir


def run_dbt(
    settings: Settings, arguments: list[str], evaluation: str = "everyone", quiet: bool = True
) -> dbtRunnerResult:
    """Run one dbt command; the result says whether it succeeded. Never two at a time in a process."""
    os.environ.update(dbt_environment(settings))
    folders = ["--project-dir", str(settings.dbt_dir), "--profiles-dir", str(settings.dbt_dir)]
    folders += [
        "--target-path",
        str(target_dir(settings, evaluation)),
        "--log-path",
        str(settings.data_dir / "logs"),
    ]
    variables = ["--vars", json.dumps(dbt_variables(settings, evaluation=evaluation))]
    loudness = ["--log-level", "none"] if quiet else []
    return dbtRunner().invoke([*loudness, *arguments, *folders, *variables])


def require_success(result: dbtRunnerResult, doing: str) -> None:
    """Raise one sentence naming the first model that failed and why."""
    if result.success:
        return
    if result.exception is not None:
        raise ConfigError(f"dbt cannot {doing}: {_first_lines(str(result.exception))}")
    failed = [one for one in _results(result) if str(one.status) in ("error", "fail")]
    if not failed:
        raise WarehouseError(f"dbt did not {doing} and gave no reason; see dbt.log in the data folder's logs.")
    first = failed[0]
    raise ConfigError(
        f"dbt_project/{first.node.original_file_path}: dbt cannot {doing}: {_first_lines(first.message or '')}"
    )


def _results(result: dbtRunnerResult) -> list[Any]:
    return list(getattr(result.result, "results", None) or [])


def _first_lines(text: str) -> str:
    """What ClickHouse or dbt's compiler said, without the wrapping that repeats it."""
    said = re.search(r"DB::Exception: (.*?\))(?: \(for url|\n|$)", text, re.DOTALL)
    if said:
        return " ".join(said.group(1).split())
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " ".join(lines[:4])
