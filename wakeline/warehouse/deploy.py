"""Brings ClickHouse to what the dbt project says, and checks every trigger against its contract."""

from collections.abc import Callable

from clickhouse_connect.driver.client import Client

from wakeline.errors import ConfigError
from wakeline.pipeline.triggers import CONTRACT_COLUMNS, LiveModel, LiveModels, load_live_models
from wakeline.settings import Settings
from wakeline.sla.freshness import all_freshness
from wakeline.warehouse.client import FAULTS, connect, first_line
from wakeline.warehouse.dbt import require_success, run_dbt
from wakeline.warehouse.evaluation import describe
from wakeline.warehouse.landing import Landing
from wakeline.warehouse.lineage import write_column_lineage
from wakeline.warehouse.manifest import read_manifest


def deploy(settings: Settings, say: Callable[[str], None]) -> LiveModels:
    """Create the database and every model, compile the live SQL, check the triggers; safe to run again.

    Landing and profile states keep their rows. Raises ConfigError or WarehouseError with one sentence.
    """
    say("database")
    _create_database(settings)
    say("dbt models")
    require_success(run_dbt(settings, ["run"]), "create the models")
    all_freshness(read_manifest(settings, "everyone"))  # Raises where it is wrong.
    for model, why in write_column_lineage(settings).items():
        say(f"{model} has no column lineage, as its SQL cannot be read: {why}")
    say("live SQL")
    require_success(run_dbt(settings, ["compile", "--select", "tag:live"], evaluation="live"), "compile the triggers")
    say("trigger contracts")
    live = load_live_models(settings)
    client = connect(settings.warehouse)
    Landing(client, settings.stream.name).pin_view_tokens()
    for trigger in live.triggers:
        check_trigger(client, trigger)
    client.close()
    return live


def _create_database(settings: Settings) -> None:
    client = connect(settings.warehouse, database="default")
    client.command("CREATE DATABASE IF NOT EXISTS {name:Identifier}", parameters={"name": settings.warehouse.database})
    client.close()


def check_trigger(client: Client, trigger: LiveModel) -> None:
    """Raise ConfigError naming the model's file when its live SQL fails or breaks the contract of its columns."""
    try:
        columns = describe(client, trigger)
    except FAULTS as error:
        raise ConfigError(f"{trigger.path}: the trigger does not run: {first_line(error)}") from error
    missing = [name for name in CONTRACT_COLUMNS if name not in columns]
    if missing:
        raise ConfigError(
            f"{trigger.path}: the trigger lacks the contract column{'s' if len(missing) > 1 else ''}"
            f" {', '.join(missing)}; add {'them' if len(missing) > 1 else 'it'} to its select."
        )
    for name in ("occurred_at", "expires_at"):
        if "DateTime" not in columns[name] or "Nullable" in columns[name]:
            raise ConfigError(
                f"{trigger.path}: the contract column {name} is no DateTime but {columns[name]}; cast it, and give it a"
                " value where there is none."
            )
