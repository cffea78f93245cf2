"""Every alert is explained: what it means, what likely causes it, what to do first."""

import ast
import re
from pathlib import Path

import pytest

from wakeline.alerts.checks import CHECKS, DBT_TEST, CheckText
from wakeline.alerts.concerns import CONCERNS
from wakeline.alerts.inhibition import FLOW, RULES

ROOT = Path(__file__).resolve().parent.parent
ALERTS = (ROOT / "docs" / "alerts.md").read_text(encoding="utf-8")
OPERATIONS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")


def rows(heading: str) -> dict[str, list[str]]:
    """First cell -> cells of each row of the table under a heading."""
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", ALERTS, re.MULTILINE | re.DOTALL)
    assert found, heading
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in found[1].splitlines() if line[:1] == "|"]
    return {one[0]: one for one in cells[2:]}


def told(sentence: str) -> str:
    return sentence if sentence.startswith("`") else sentence[0].upper() + sentence[1:]


@pytest.mark.parametrize(("name", "text"), [*CHECKS.items(), ("every other check", DBT_TEST)])
def test_every_known_check_is_explained(name: str, text: CheckText) -> None:
    shown = rows("Checks")
    assert shown.get(f"`{name}`", shown.get(name)) == [
        f"`{name}`" if name in CHECKS else name,
        text.meaning,
        told(text.cause),
        told(text.first_action),
    ]


def test_only_known_checks_are_explained() -> None:
    assert len(rows("Checks")) == len(CHECKS) + 1


def test_every_concern_is_explained_with_its_times() -> None:
    assert rows("What is looked at") == {
        f"`{one.name}`": [
            f"`{one.name}`",
            f"`{one.sensor}`",
            one.meaning,
            f"{one.open_after_seconds:g} s",
            f"{one.close_after_seconds:g} s",
        ]
        for one in CONCERNS
    }
    assert [one.sensor for one in CONCERNS if f"`{one.sensor}`" not in OPERATIONS] == []


def test_every_key_that_a_concern_sees_is_explained() -> None:
    """The prefixes of the keys, and those of the collector one by one."""
    from wakeline.alerts.collector_look import KEYS

    shown = " ".join(rows("Other alerts"))
    prefixes = [one.prefix for one in CONCERNS if one.name not in ("checks", "backpressure")]
    assert [key for key in (*prefixes, *KEYS) if f"`{key}" not in shown] == []


def test_the_table_of_causes_is_shown() -> None:
    shown = rows("One cause, one alert")
    assert list(shown) == [f"`{rule.root}`" for rule in RULES]
    for rule in RULES:
        own = [f"`{pattern}`" for pattern in rule.silent if pattern not in FLOW]
        assert re.findall(r"`[^`]+`", shown[f"`{rule.root}`"][1]) == own
        assert ("all of the flow" in shown[f"`{rule.root}`"][1]) == (set(FLOW) <= set(rule.silent))
    listed = ",\n".join(f"`{pattern}`" for pattern in FLOW)
    assert listed in ALERTS


def test_every_check_of_ours_has_a_text_of_its_own() -> None:
    """The checks that the code location defines by name, and the tests of the whole."""
    named = {path.stem for path in (ROOT / "dbt_project" / "tests").glob("*.sql")}
    for path in (ROOT / "orchestration").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            is_check = isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "CHECK"
            if is_check and isinstance(node.value, ast.Constant):
                named.add(str(node.value.value))
    assert {"stream_can_be_read", "mails_arrive"} <= named
    assert named - set(CHECKS) == set()
