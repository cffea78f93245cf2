"""A deployment as somebody at a terminal has it: a settings file, the campaigns, a ledger, and no server."""

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from support.mailing import ROOT
from wakeline.cli import cli
from wakeline.settings import CONFIG_VARIABLE, Settings, load_settings


def deployed_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings of a deployment with campaigns of its own, which every command finds; the terminal is wide."""
    shutil.copytree(ROOT / "campaigns", folder / "campaigns")
    (folder / "wakeline.toml").write_text('data_dir = "data"\n', encoding="utf-8")
    monkeypatch.setenv(CONFIG_VARIABLE, str(folder / "wakeline.toml"))
    monkeypatch.setenv("COLUMNS", "300")
    return load_settings()


def run(*arguments: str) -> Result:
    """`wakeline` with these arguments; errors come through."""
    return CliRunner(catch_exceptions=False).invoke(cli, arguments)
