"""The configuration of the Dagster instance: what the project says, and where its storage is."""

from pathlib import Path

import psycopg
import sqlalchemy as sa
import yaml

from wakeline.engines import postgres_url
from wakeline.errors import ConfigError
from wakeline.settings import DagsterSettings

#: Where Dagster's processes find the URL. Neither dagster.yaml nor a command line holds it: Dagster hands its whole
#: configuration to every run as an argument, which anybody on the machine can read.
STORAGE_VARIABLE = "WAKELINE_DAGSTER__STORAGE_URL"

# SQLAlchemy's own choice is another driver by now, with which dagster-postgres fails at its first run.
_DRIVER = "postgresql+psycopg2"
_CONNECT_SECONDS = 5


def write_instance(project_dir: Path, home: Path, settings: DagsterSettings) -> None:
    """Write dagster.yaml of an instance. Raises ConfigError when the project has none, or one that contradicts."""
    source = project_dir / "dagster.yaml"
    try:
        text = source.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        said = f"{source} is missing: project_dir must name the folder of Wakeline with dbt_project/ and campaigns/."
        raise ConfigError(said) from error
    if settings.storage_url:
        if "storage" in (yaml.safe_load(text) or {}):
            raise ConfigError(f"{source} has a storage, and dagster.storage_url names another; remove one of them.")
        text += yaml.safe_dump({"storage": {"postgres": {"postgres_url": {"env": STORAGE_VARIABLE}}}})
    (home / "dagster.yaml").write_text(text, encoding="utf-8")


def storage_environment(settings: DagsterSettings) -> dict[str, str]:
    """What Dagster's processes need in their environment. Raises ConfigError for a URL of something else."""
    if not settings.storage_url:
        return {}
    return {STORAGE_VARIABLE: _url(settings).render_as_string(hide_password=False)}


def require_storage(settings: DagsterSettings) -> None:
    """Raises ConfigError when Postgres cannot be used, and says why: Dagster only says that it gave up."""
    if not settings.storage_url:
        return
    url = _url(settings).set(drivername="postgresql").render_as_string(hide_password=False)
    try:
        psycopg.connect(url, connect_timeout=_CONNECT_SECONDS).close()
    except psycopg.Error as error:
        said = str(error).partition("\n")[0].rstrip(".?")
        raise ConfigError(f"Postgres of dagster.storage_url cannot be used: {said}.") from error


def _url(settings: DagsterSettings) -> sa.URL:
    return postgres_url(settings.storage_url, "dagster.storage_url", _DRIVER)
