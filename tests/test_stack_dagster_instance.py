"""Where Dagster keeps its runs and events: files by default, Postgres when asked to, and no password in either."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
import yaml
from support.ports import free_ports
from support.stack import PROJECT_DIR, RunningStack

from wakeline.errors import ConfigError
from wakeline.settings import DagsterSettings, read_settings
from wakeline.stack.dagster_instance import STORAGE_VARIABLE, require_storage, storage_environment, write_instance

if TYPE_CHECKING:
    from support.postgres import PostgresServer

URL = "postgresql://dagster:p%40ss-word@db.example.com/dagster?sslmode=require"
PSYCOPG2_URL = "postgresql+psycopg2://dagster:p%40ss-word@db.example.com/dagster?sslmode=require"


def written(folder: Path, url: str = "") -> dict[str, object]:
    write_instance(PROJECT_DIR, folder, DagsterSettings(storage_url=url))
    return dict(yaml.safe_load((folder / "dagster.yaml").read_text(encoding="utf-8")))


def test_without_a_url_the_instance_is_what_the_project_says(tmp_path: Path) -> None:
    assert written(tmp_path) == yaml.safe_load((PROJECT_DIR / "dagster.yaml").read_text(encoding="utf-8"))
    assert storage_environment(DagsterSettings()) == {}


def test_the_file_names_the_variable_and_not_the_url(tmp_path: Path) -> None:
    found = written(tmp_path, URL)
    assert found.pop("storage") == {"postgres": {"postgres_url": {"env": STORAGE_VARIABLE}}}
    assert found == written(tmp_path)
    assert "p%40ss" not in (tmp_path / "dagster.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg2"])
def test_the_driver_is_the_one_that_dagster_works_with(scheme: str) -> None:
    settings = DagsterSettings(storage_url=URL.replace("postgresql", scheme, 1))
    assert storage_environment(settings) == {STORAGE_VARIABLE: PSYCOPG2_URL}


@pytest.mark.parametrize("url", ["db.example.com", "mysql://dagster:p%40ss@db.example.com/dagster"])
def test_another_url_is_an_error_that_does_not_repeat_it(url: str) -> None:
    with pytest.raises(ConfigError, match=r"dagster\.storage_url is .*postgresql://") as error:
        storage_environment(DagsterSettings(storage_url=url))
    assert "p%40ss" not in str(error.value)


def test_a_server_that_is_not_there_is_said_in_a_sentence_without_the_password() -> None:
    [port] = free_ports(1)
    settings = DagsterSettings(storage_url=f"postgresql://dagster:p%40ss-word@127.0.0.1:{port}/dagster")
    with pytest.raises(ConfigError, match=r"^Postgres of dagster\.storage_url cannot be used: .*refused\.$") as error:
        require_storage(settings)
    assert "ss-word" not in str(error.value)


def test_the_url_is_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "p%40ss" not in repr(DagsterSettings(storage_url=URL))
    (tmp_path / "wakeline.toml").write_text(f'[dagster]\nstorage_url = ["{URL}"]', encoding="utf-8")
    monkeypatch.setenv("WAKELINE_CONFIG", str(tmp_path / "wakeline.toml"))
    with pytest.raises(ConfigError, match=r"setting 'dagster\.storage_url' is wrong: ") as error:
        read_settings()
    assert "p%40ss" not in str(error.value)


def test_a_second_storage_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_text("storage:\n  sqlite:\n    base_dir: here\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"dagster\.yaml has a storage, and dagster\.storage_url names another"):
        write_instance(tmp_path, tmp_path, DagsterSettings(storage_url=URL))


@pytest.fixture
def storage_url(postgres: "PostgresServer", monkeypatch: pytest.MonkeyPatch) -> str:
    url = postgres.create_database()
    monkeypatch.setenv(STORAGE_VARIABLE, url)  # The stack's own look at the settings.
    return url


@pytest.mark.whole_stack
@pytest.mark.timeout(400)
def test_a_whole_stack_runs_with_dagster_on_postgres(storage_url: str, tmp_path: Path) -> None:
    stack = RunningStack(tmp_path, {STORAGE_VARIABLE: storage_url})
    try:
        stack.start()
        assert runs(storage_url) == ["resident_lane"]
        assert list((stack.settings.data_dir / "dagster").rglob("*.db")) == []
        password = str(sa.make_url(storage_url).password)
        assert [line for line in command_lines() if password in line] == []
        assert [path for path in readable_by_all(tmp_path) if password.encode() in path.read_bytes()] == []
    finally:
        stack.stop()


def runs(url: str) -> list[str]:
    engine = sa.create_engine(sa.make_url(url).set(drivername="postgresql+psycopg2"))
    with engine.connect() as connection:
        names = [row[0] for row in connection.execute(sa.text("SELECT DISTINCT pipeline_name FROM runs"))]
    engine.dispose()
    return names


def command_lines() -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            found.append((entry / "cmdline").read_bytes().decode(errors="replace"))
        except (OSError, NotADirectoryError):  # Ended meanwhile, or is no process.
            continue
    return [line for line in found if str(os.getpid()) not in line]


def readable_by_all(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and path.stat().st_mode & 0o077]


def test_a_project_folder_that_is_none_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"dagster\.yaml is missing: project_dir must name the folder of Wakeline"):
        write_instance(tmp_path, tmp_path, DagsterSettings())
