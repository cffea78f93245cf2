"""What dbt is given and what it leaves behind, without importing dbt, which takes seconds."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wakeline.errors import ConfigError
from wakeline.settings import Settings


def dbt_environment(settings: Settings) -> dict[str, str]:
    """The variables that dbt_project/profiles.yml reads."""
    warehouse = settings.warehouse
    return {
        "WAKELINE_DBT_HOST": warehouse.host,
        "WAKELINE_DBT_PORT": str(warehouse.port),
        "WAKELINE_DBT_USER": warehouse.user,
        "WAKELINE_DBT_PASSWORD": warehouse.password,
        "WAKELINE_DBT_DATABASE": warehouse.database,
        "WAKELINE_DBT_SECURE": str(warehouse.secure),
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "False",
        "DBT_NO_VERSION_CHECK": "True",
    }


def dbt_variables(settings: Settings, **more: str) -> dict[str, Any]:
    """dbt vars: those of wakeline.toml, what triggers need of its other settings, and `more`."""
    trusted = sorted(settings.trusted_sources)
    return {**settings.dbt_vars, "double_opt_in": settings.double_opt_in, "trusted_sources": trusted, **more}


def target_dir(settings: Settings, evaluation: str) -> Path:
    """Where dbt leaves its manifest: `everyone` is what is deployed, `live` the SQL of a micro-batch."""
    return settings.data_dir / "dbt" / evaluation


def read_manifest(settings: Settings, evaluation: str) -> Mapping[str, Any]:
    """The manifest of the last deployment. Raises ConfigError when there was none."""
    path = target_dir(settings, evaluation) / "manifest.json"
    try:
        manifest: Mapping[str, Any] = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise ConfigError(f"{path} is missing; run 'wakeline deploy' first.") from error
    return manifest
