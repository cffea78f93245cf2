"""The documentation is complete, up to date with the code, and what it shows works."""

import ast
import re
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from pydantic import BaseModel
from support.pictures import WINDOWS

from wakeline import report
from wakeline.activation.campaigns import Definition, load_campaigns
from wakeline.activation.gates import GATES, MARKETING, Candidate, Cap, Facts, Holdout, Rules
from wakeline.activation.ledger.states import TRANSITIONS
from wakeline.activation.quiet_hours import QuietHours
from wakeline.activation.rendering import Renderer
from wakeline.cli import cli
from wakeline.collector.service import openapi_document
from wakeline.pipeline.triggers import CONTRACT_COLUMNS
from wakeline.reference import REGENERATE, reference_pages
from wakeline.settings import Section, Settings
from wakeline.stack.programs import programs

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
MODELS = sorted((ROOT / "dbt_project" / "models").rglob("*.sql"))
TRIGGERS = [path for path in MODELS if path.parent.name == "triggers"]
CAMPAIGNS = sorted(path.parent.name for path in (ROOT / "campaigns").glob("*/campaign.yml"))
STATES = sorted(state for state in TRANSITIONS if state)

REGISTRIES = ("pypi.org", "pythonhosted.org", "npmjs.", "registry.", "proxy.golang.org", "crates.io", "anaconda.org")
MACHINE_PATH = re.compile(r"(?<![\w.:/-])/(?:data|etc|home|mnt|opt|private|root|srv|tmp|Users|usr|var|work)/")


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


README, CONCEPTS, ANALYST, OPERATIONS = map(
    text, ("README.md", "docs/concepts.md", "docs/analyst-guide.md", "docs/operations.md")
)


def markdown_files() -> list[Path]:
    left_out = {"target", "logs", "dbt_packages", "node_modules"}
    return [
        path
        for path in sorted(ROOT.rglob("*.md"))
        if not any(part.startswith(".") or part in left_out for part in path.relative_to(ROOT).parts)
    ]


def section(page: str, heading: str) -> str:
    """What stands under a heading, up to the next one of the same level."""
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    assert found, f"There is no heading '{heading}'."
    return found[1]


def first_cells(page: str) -> list[str]:
    """The code in the first cell of each table row."""
    rows = re.findall(r"^\| ([^|]*)\|", page, re.MULTILINE)
    return [code for cell in rows for code in re.findall(r"`([^`]+)`", cell)]


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page, re.MULTILINE | re.DOTALL)


def example(path: str) -> str:
    """The block of the analyst guide that follows the line naming this file."""
    found = re.search(rf"`{re.escape(path)}`:\n\n```\w+\n(.*?)^```", ANALYST, re.MULTILINE | re.DOTALL)
    assert found, f"The analyst guide has no example of {path}."
    return found[1]


def description_of(model: Path) -> dict[str, Any]:
    declared = yaml.safe_load(model.with_suffix(".yml").read_text(encoding="utf-8"))
    [found] = [one for one in declared["models"] if one["name"] == model.stem]
    return {**found, "unit_tests": declared.get("unit_tests", [])}


# What is written from the code


@pytest.mark.parametrize("name", sorted(reference_pages()))
def test_generated_pages_are_up_to_date(name: str) -> None:
    assert text(f"docs/{name}") == reference_pages()[name], f"Run '{REGENERATE}'."


def test_every_setting_and_section_has_a_description() -> None:
    assert list(undescribed(Settings, "")) == []


def undescribed(section: type[BaseModel], place: str) -> Iterator[str]:
    for name, field in section.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            yield from [] if kind.__doc__ else [f"{place}{name}"]
            yield from undescribed(kind, f"{place}{name}.")
        elif not field.description:
            yield f"{place}{name}"


def test_every_command_and_option_has_help() -> None:
    for name, command in commands().items():
        assert command.help, name
        options = (one for one in command.params if isinstance(one, click.Option))
        assert all(one.help for one in options), name


def test_every_command_and_make_target_is_in_the_readme() -> None:
    targets = re.findall(r"^([a-z]+):.*## ", text("Makefile"), re.MULTILINE)
    shown = [f"wakeline {name}" for name in commands()] + [f"make {name}" for name in targets if name != "help"]
    assert [one for one in shown if f"`{one}" not in README] == []


def commands() -> dict[str, click.Command]:
    context = click.Context(cli, info_name="wakeline")
    found = {name: cli.get_command(context, name) for name in cli.list_commands(context)}
    return {name: command for name, command in found.items() if command is not None}


@pytest.mark.parametrize("block", [block for path in markdown_files() for block in blocks(path.read_text(), "toml")])
def test_every_settings_example_is_valid(block: str) -> None:
    Settings.model_validate(tomllib.loads(block))


# dbt models


@pytest.mark.parametrize("model", MODELS, ids=lambda path: path.stem)
def test_every_model_is_described_with_its_grain_and_columns(model: Path) -> None:
    described = description_of(model)
    assert "grain" in described["description"].lower()
    assert described["columns"]
    for column in described["columns"]:
        assert column["name"]
        assert column.get("description"), column["name"]
        assert column.get("data_type"), column["name"]


@pytest.mark.parametrize("trigger", TRIGGERS, ids=lambda path: path.stem)
def test_every_trigger_declares_its_contract_and_has_a_unit_test(trigger: Path) -> None:
    described = description_of(trigger)
    assert {column["name"] for column in described["columns"]} >= set(CONTRACT_COLUMNS)
    assert [one for one in described["unit_tests"] if one["model"] == trigger.stem]


def test_every_dbt_variable_is_in_the_analyst_guide_with_its_default() -> None:
    variables = yaml.safe_load(text("dbt_project/dbt_project.yml"))["vars"]
    shown = section(ANALYST, "Thresholds")
    assert [
        name for name, default in variables.items() if name != "evaluation" and f"| `{name}` | {default} |" not in shown
    ] == []


# Campaigns, gates, states


@pytest.mark.parametrize("name", CAMPAIGNS)
def test_every_campaign_is_named(name: str) -> None:
    assert f"`{name}`" in README + ANALYST


def test_every_key_of_a_campaign_is_documented() -> None:
    keys = {str(field.validation_alias or name) for name, field in Definition.model_fields.items()}
    assert keys <= set(first_cells(section(ANALYST, "Add a campaign")))


def test_the_gates_are_documented_in_their_order() -> None:
    rules = Rules(holdouts=(Holdout("all", "salt", 100),), quiet_hours=QuietHours(0, 1_439))
    hopeless = Candidate(MARKETING, "marketing", "user:1", "", "", occurred_at_ms=0, expires_at_ms=0, rules=rules)
    facts = Facts(
        now_ms=0,
        suppression={"reason": "complaint"},
        caps=((Cap(1, 1), 1),),
        rival={"campaign": "other"},
        stale={"lane": "0"},
        pause={"paused_by": "ann"},
        restored={"paused_at_ms": 1},
    )
    refusals = [gate(hopeless, facts) for gate in GATES]
    codes = [refusal.reason for refusal in refusals if refusal]
    assert len(codes) == len(GATES)
    assert re.findall(r"^\| \d+ \| `(\w+)` \|", section(CONCEPTS, "Gates"), re.MULTILINE) == codes


def test_every_ledger_state_is_explained_and_in_the_picture() -> None:
    shown = section(CONCEPTS, "The ledger")
    [picture] = blocks(shown, "mermaid")
    assert set(first_cells(shown)) == set(STATES)
    assert set(re.findall(r"--> (\w+)", picture)) == set(STATES)
    arrows = {(before, after) for before, after in re.findall(r"(\w+|\[\*\]) --> (\w+)", picture)}
    changes = {(before or "[*]", after) for before, afters in TRANSITIONS.items() for after in afters}
    assert arrows == {(before, after) for before, after in changes if before != after}


def test_every_contract_column_is_explained() -> None:
    assert set(CONTRACT_COLUMNS) <= set(first_cells(section(CONCEPTS, "Triggers")))


def test_the_stages_of_latency_are_explained_in_their_order() -> None:
    shown = first_cells(section(CONCEPTS, "Stages of latency"))
    assert shown == [name for name, _, _ in report._STAGES]


def test_every_reason_of_landing_is_explained() -> None:
    shown = re.findall(r"`([^`]+)`", section(CONCEPTS, "Landing: nothing is dropped"))
    patterns = list(landing_reasons())
    assert len(patterns) > 10
    assert [one for one in patterns if not any(re.fullmatch(one, code) for code in shown)] == []


def landing_reasons() -> Iterator[str]:
    """A pattern for each reason in classify.py: `_BreaksContractError(...)` and `reason=...`."""
    for call in (node for node in ast.walk(parsed("wakeline/pipeline/classify.py")) if isinstance(node, ast.Call)):
        given = call.args[:1] if getattr(call.func, "id", "") == "_BreaksContractError" else []
        given = given + [keyword.value for keyword in call.keywords if keyword.arg == "reason"]
        for value in given:
            choices = [value.body, value.orelse] if isinstance(value, ast.IfExp) else [value]
            yield from (pattern for choice in choices if (pattern := pattern_of(choice)))


def pattern_of(node: ast.expr) -> str:
    """What a text can be; empty for an expression that is no text."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return re.escape(node.value)
    parts = node.values if isinstance(node, ast.JoinedStr) else []
    return "".join(re.escape(part.value) if isinstance(part, ast.Constant) else r"\w+" for part in parts)


def parsed(name: str) -> ast.Module:
    return ast.parse(text(name))


# Operations


def test_every_process_and_its_port_is_in_operations() -> None:
    settings = Settings()
    shown = section(OPERATIONS, "Processes and ports")
    assert first_cells(shown) == [program.name for program in programs(settings)]
    ports = (settings.warehouse.port, settings.warehouse.native_port, settings.collector.port, settings.pages.port)
    for port in (*ports, settings.dagster.code_port, settings.dagster.port):
        assert f"{port}" in shown


def test_every_address_of_the_collector_is_documented() -> None:
    shown = first_cells(section((DOCS / "collector.md").read_text(), "Addresses"))
    assert sorted(shown) == sorted(openapi_document()["paths"])


def test_every_job_and_sensor_is_described_and_in_operations() -> None:
    shown = first_cells(section(OPERATIONS, "What to look at in Dagster"))
    listed = definition_lists()
    described = dict(described_in_dagster())
    assert listed["jobs"]
    assert listed["sensors"]
    for name in (*listed["jobs"], *listed["sensors"]):
        assert described.get(name), name
        assert name in shown


def test_every_asset_is_described_and_in_operations() -> None:
    shown = first_cells(section(OPERATIONS, "What to look at in Dagster"))
    streaming = parsed("orchestration/streaming.py")
    keys = [call.args[0] for call in calls(streaming, "AssetKey")]
    named = {key.value for key in keys if isinstance(key, ast.Constant)}
    assert all("description" in {keyword.arg for keyword in spec.keywords} for spec in calls(streaming, "AssetSpec"))
    assert named | {model.stem for model in MODELS} | {f"campaigns/{name}" for name in CAMPAIGNS} <= set(shown)


def test_every_test_of_the_whole_is_in_operations() -> None:
    names = [path.stem for path in (ROOT / "dbt_project" / "tests").glob("*.sql")]
    assert names
    assert [name for name in names if f"`{name}`" not in OPERATIONS] == []


def definition_lists() -> dict[str, list[str]]:
    """The names in the lists of `dg.Definitions(...)`."""
    [definitions] = calls(parsed("orchestration/definitions.py"), "Definitions")
    return {
        str(keyword.arg): [element.id for element in keyword.value.elts if isinstance(element, ast.Name)]
        for keyword in definitions.keywords
        if isinstance(keyword.value, ast.List)
    }


def described_in_dagster() -> Iterator[tuple[str, bool]]:
    """Each job and sensor, and whether it has a description."""
    for path in (*(ROOT / "orchestration").glob("*.py"), *(ROOT / "sensors").glob("*.py")):
        tree = parsed(str(path.relative_to(ROOT)))
        for call in calls(tree, "define_asset_job"):
            yield ast.literal_eval(call.args[0]), has_description(call)
        for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
            decorators = [one for one in function.decorator_list if isinstance(one, ast.Call)]
            yield from ((function.name, has_description(one)) for one in decorators)


def has_description(call: ast.Call) -> bool:
    return any(keyword.arg == "description" for keyword in call.keywords)


def calls(tree: ast.AST, name: str) -> list[ast.Call]:
    found = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    return [call for call in found if getattr(call.func, "attr", getattr(call.func, "id", "")) == name]


def test_every_error_in_operations_is_one_that_is_raised() -> None:
    said = "\n".join(sentences())
    shown = first_cells(section(OPERATIONS, "Errors and what to do"))
    assert len(shown) > 20
    for sentence in shown:
        fragments = [part.strip() for part in re.split(r"\bN\b|\.\.\.", sentence)]
        assert [part for part in fragments if part and part not in said] == [], sentence


def sentences() -> Iterator[str]:
    for path in (ROOT / "wakeline").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value
            elif isinstance(node, ast.JoinedStr):
                yield "".join(part.value if isinstance(part, ast.Constant) else "…" for part in node.values)


# The examples of the analyst guide


def test_the_example_of_a_trigger_keeps_the_rules() -> None:
    folder = "dbt_project/models/triggers/"
    sql = re.search(r"triggers/review_request.sql`:\n\n```sql\n(.*?)^```", ANALYST, re.MULTILINE | re.DOTALL)
    assert sql
    assert "tags=['live']" in sql[1]
    assert all(f" as {name}" in sql[1] for name in CONTRACT_COLUMNS)
    declared = yaml.safe_load(example(f"{folder}review_request.yml"))
    [model], [unit_test] = declared["models"], declared["unit_tests"]
    assert {column["name"] for column in model["columns"]} >= set(CONTRACT_COLUMNS)
    assert all(f" as {column['name']}" in sql[1] for column in model["columns"])
    assert unit_test["model"] == model["name"]


def test_the_example_of_a_campaign_can_be_rendered(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "campaigns" / "_shared", tmp_path / "_shared")
    home = tmp_path / "review_request"
    home.mkdir()
    for name in ("campaign.yml", "subject.liquid", "email.mjml.liquid"):
        (home / name).write_text(example(f"campaigns/review_request/{name}"), encoding="utf-8")
    campaigns = load_campaigns(tmp_path)
    renderer = Renderer(campaigns, "Shop <shop@example.com>", "http://127.0.0.1:8200", lambda *_: "token", ())
    person = {"profile_id": "user:ada", "email": "ada@example.com", "first_name": "Ada"}
    mail = renderer.render("review_request", "0", person, campaigns["review_request"].preview)
    assert mail.subject == "Ada, how do you like it?"
    assert "Pace Runner Coral" in mail.text


def test_the_commands_that_show_a_mail_can_be_typed() -> None:
    typed = [line.split() for block in blocks(ANALYST, "sh") for line in block.splitlines()]
    shown = [words[1:] for words in typed if words[:1] == ["wakeline"] and words[1] in ("preview", "test-send")]
    assert {words[0] for words in shown} == {"preview", "test-send"}
    for name, *arguments in shown:
        context = commands()[name].make_context(name, list(arguments))
        assert context.params["campaign"] in CAMPAIGNS


# Pages and links


@pytest.mark.parametrize("name", CAMPAIGNS)
def test_every_campaign_is_pictured(name: str) -> None:
    for window in WINDOWS:
        assert f"pictures/{name}-{window}.webp" in ANALYST


@pytest.mark.parametrize("page", markdown_files(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_pictures_are_there_and_small(page: Path) -> None:
    for source in re.findall(r'<img [^>]*src="([^"]+)"', page.read_text(encoding="utf-8")):
        assert (page.parent / source).stat().st_size < 200_000, source


@pytest.mark.parametrize("page", markdown_files(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_internal_links_lead_somewhere(page: Path) -> None:
    content = prose(page)
    targets = [one for one in re.findall(r"\]\(([^)\s]+)\)", content) if "://" not in one]
    assert [one for one in targets if not leads_somewhere(page, one)] == []


def leads_somewhere(page: Path, target: str) -> bool:
    name, _, anchor = target.partition("#")
    path = (page.parent / name).resolve() if name else page
    return path.exists() and (not anchor or anchor in anchors(path))


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to headings."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def prose(page: Path) -> str:
    """A page without its code."""
    without_blocks = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`\n]*`", "", without_blocks)


@pytest.mark.parametrize("page", markdown_files(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_pages_name_no_machine_and_no_registry(page: Path) -> None:
    content = page.read_text(encoding="utf-8")
    assert MACHINE_PATH.findall(content) == []
    assert [host for host in REGISTRIES if host in content] == []


@pytest.mark.parametrize("page", sorted((DOCS / "decisions").glob("*.md")), ids=lambda path: path.stem)
def test_a_decision_tells_context_decision_and_consequence_and_is_linked(page: Path) -> None:
    content = page.read_text(encoding="utf-8")
    assert re.findall(r"^## (.+)$", content, re.MULTILINE) == ["Context", "Decision", "Consequence"]
    assert f"docs/decisions/{page.name}" in README
