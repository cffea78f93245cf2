"""The Google Tag Manager template: its own tests, run by Node outside of Tag Manager."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

TEMPLATE_DIR = Path(__file__).parent.parent / "sdk" / "gtm"
_HOW = "install Node.js 20 or newer with npm to run the tests of the Google Tag Manager template"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package with its dependencies, so that the checkout stays as it is."""
    if not (shutil.which("node") and shutil.which("npm")):
        if os.environ.get("CI"):
            pytest.fail(f"node or npm is missing; {_HOW}.")
        pytest.skip(_HOW)
    copy = tmp_path_factory.mktemp("gtm") / "package"
    shutil.copytree(TEMPLATE_DIR, copy, ignore=shutil.ignore_patterns("node_modules"))
    _run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", folder=copy)
    return copy


def _run(*command: str, folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)} failed:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def _section(name: str) -> str:
    text = (TEMPLATE_DIR / "template.tpl").read_text(encoding="utf-8")
    found = re.search(rf"^___{name}___$(.*?)(?=^___[A-Z_]+___$|\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"template.tpl has no section {name}"
    return found[1]


def test_the_template_passes_its_tests_and_runs_every_scenario_of_its_own(package: Path) -> None:
    report = _run(
        "node",
        "--test",
        "--test-reporter=tap",
        *sorted(str(one) for one in package.glob("test/*.test.js")),
        folder=package,
    )
    passed = set(re.findall(r"^ *ok \d+ - (.+?)\s*$", report, re.MULTILINE))
    scenarios = [one["name"] for one in yaml.safe_load(_section("TESTS"))["scenarios"]]
    assert len(scenarios) == len(set(scenarios)) > 0
    assert set(scenarios) <= passed
    assert re.search(r"^# (skipped|todo) [1-9]", report, re.MULTILINE) is None


def test_the_metadata_of_the_gallery_names_the_documentation() -> None:
    metadata = yaml.safe_load((TEMPLATE_DIR / "metadata.yaml").read_text(encoding="utf-8"))
    assert (TEMPLATE_DIR / metadata["documentation"]).exists()
    assert isinstance(metadata["versions"], list)


def test_the_lock_file_names_no_address(package: Path) -> None:
    lock = (package / "package-lock.json").read_text(encoding="utf-8")
    assert '"integrity"' in lock
    assert '"resolved"' not in lock
