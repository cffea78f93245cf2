"""The browser SDK's committed files are what its source builds, and they are small."""

import gzip
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from support.programs import require

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "sdk" / "browser"
STATIC = ROOT / "wakeline" / "collector" / "static"
SERVED = ("wakeline.js", "loader.js")

WAKELINE_GZIP_BYTES = 6_144
LOADER_BYTES = 1_024


@pytest.mark.timeout(300)
def test_the_served_files_are_what_the_source_builds(tmp_path: Path) -> None:
    if shutil.which("npm") is None:
        require("npm is not installed; install Node.js to build the browser SDK.")
    package = tmp_path / "sdk" / "browser"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("node_modules", "dist"))
    for command in (["ci", "--ignore-scripts", "--no-audit", "--no-fund"], ["run", "check"], ["run", "build"]):
        done = subprocess.run(["npm", *command], cwd=package, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"npm {command[0]}: {done.stdout}{done.stderr}"
    for name in SERVED:
        built = tmp_path / "wakeline" / "collector" / "static" / name
        assert built.read_bytes() == (STATIC / name).read_bytes(), f"Run `npm run build` in sdk/browser: {name} is old."


def test_the_sdk_is_smaller_than_its_budget() -> None:
    assert len(gzip.compress((STATIC / "wakeline.js").read_bytes(), 9)) < WAKELINE_GZIP_BYTES


def test_the_loader_is_smaller_than_its_budget() -> None:
    assert len((STATIC / "loader.js").read_bytes()) < LOADER_BYTES


def test_nothing_served_needs_more_than_a_strict_content_security_policy_allows() -> None:
    for name in SERVED:
        assert not re.search(
            r"\beval\(|new Function|\.style\b|innerHTML|setAttribute\(|document\.cookie|document\.write",
            (STATIC / name).read_text(encoding="utf-8"),
        )


def test_the_package_has_no_runtime_dependency_and_pins_its_tools() -> None:
    manifest = json.loads((PACKAGE / "package.json").read_bytes())
    assert "dependencies" not in manifest
    assert all(re.fullmatch(r"[\d.]+", version) for version in manifest["devDependencies"].values())
    lock = json.loads((PACKAGE / "package-lock.json").read_bytes())
    assert not [name for name, entry in lock["packages"].items() if "resolved" in entry]
