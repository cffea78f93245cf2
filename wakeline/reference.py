"""Writes docs/settings.md and docs/commands.md from the code: `python -m wakeline.reference`."""

import inspect
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import click
from pydantic import BaseModel, IPvAnyNetwork
from pydantic.fields import FieldInfo

from wakeline.cli import cli
from wakeline.settings import CONFIG_VARIABLE, DEFAULT_CONFIG_NAME, Settings

FOLDER = Path("docs")
REGENERATE = "python -m wakeline.reference"

_GENERATED = f"<!-- Written by `{REGENERATE}`; do not edit. -->"
#: Long numbers are written with underscores, as TOML allows.
_LONG_NUMBER = 100_000
_KINDS = {
    bool: "true or false",
    int: "whole number",
    float: "number",
    str: "text",
    Path: "folder",
    IPvAnyNetwork: "network",
}
_OPTION_KINDS = {
    "Int": "whole number",
    "IntRange": "whole number",
    "Float": "number",
    "FloatRange": "number",
    "String": "text",
    "Path": "path",
}

_SETTINGS_INTRODUCTION = f"""\
# Settings

Settings are read from `{DEFAULT_CONFIG_NAME}` in the working directory, or from the file that the environment variable
`{CONFIG_VARIABLE}` names. The file is not needed: every setting has a default.

- A setting can also come from the environment, under the name in the table; the environment wins over the file. Lists
  and tables are written there as JSON.
- `wakeline demo` reads `demo.toml` instead when that file is in the working directory and `{CONFIG_VARIABLE}` is not
  set.
- Relative folders are taken from the folder that the settings file is in, wherever they were set.
- A name that is not in these tables is an error in the file. In the environment it is an error inside a known section
  (`WAKELINE_COLLECTOR__PROT`); other `WAKELINE_` variables are ignored.
- Every process reads the settings when it starts. Restart the stack after a change.

```toml
data_dir = "state"

[collector]
port = 8300
allowed_origins = ["https://shop.example.com"]

[dbt_vars]
abandoned_cart_after_seconds = 7200
```
"""

_COMMANDS_INTRODUCTION = """\
# Commands

`wakeline COMMAND --help` shows the same. All commands read the [settings](settings.md).

A command that cannot go on because of something you can mend says so in one sentence on stderr. Exit codes: 0 done,
1 failed, 2 wrong usage, 130 interrupted.
"""


def settings_markdown(model: type[BaseModel]) -> str:
    """The page about a settings model: one table for its own fields and one for each section."""
    prefix = str(model.model_config.get("env_prefix") or "")
    delimiter = str(model.model_config.get("env_nested_delimiter") or "")
    sections = {name: found for name, field in model.model_fields.items() if (found := _sections(field.annotation))}
    own = {name: field for name, field in model.model_fields.items() if name not in sections}
    parts = [_GENERATED, _SETTINGS_INTRODUCTION.rstrip(), "## Top level", _settings_table(own, prefix)]
    for name, kinds in sections.items():
        place = f"{name}.NAME" if get_origin(model.model_fields[name].annotation) is dict else name
        for section in kinds:
            heading = f"`[{place}]`{_variant(section) if len(kinds) > 1 else ''}"
            parts += _section(section, heading, place, prefix + place.replace(".", delimiter) + delimiter, delimiter)
    return "\n\n".join(parts) + "\n"


def _section(section: type[BaseModel], heading: str, place: str, prefix: str, delimiter: str) -> Iterator[str]:
    """The part about a section, then those about the tables in it; inside a list nothing has a variable (no prefix)."""
    yield f"## {heading}"
    yield inspect.cleandoc(section.__doc__ or "")
    yield _settings_table({name: one for name, one in section.model_fields.items() if not _is_section(one)}, prefix)
    for name, field in section.model_fields.items():
        many, named = (get_origin(field.annotation) is kind for kind in (list, dict))
        inner, variable = f"{place}.{name}", f"{prefix}{name}{delimiter}"
        if named:
            inner, variable = f"{inner}.NAME", f"{variable}NAME{delimiter}"
        for table in _sections(field.annotation):
            heading = f"`[[{inner}]]`" if many else f"`[{inner}]`"
            yield from _section(table, heading, inner, "" if many else variable, delimiter)


def commands_markdown(command: click.Group, name: str) -> str:
    """The page about a command line called `name`."""
    described = command.to_info_dict(click.Context(command, info_name=name))
    parts = [_GENERATED, _COMMANDS_INTRODUCTION.rstrip()]
    for child, info in described["commands"].items():
        parts += _command(f"{name} {child}", info)
    return "\n\n".join(parts) + "\n"


def reference_pages() -> dict[str, str]:
    """File name in docs/ -> text of every generated page."""
    return {"settings.md": settings_markdown(Settings), "commands.md": commands_markdown(cli, "wakeline")}


def _sections(annotation: Any) -> list[type[BaseModel]]:
    """The tables that a setting may hold: one section, a list, or by name (`[sources.NAME]`) those of several kinds."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (dict, list, Annotated, Union, UnionType):
        return [section for part in get_args(annotation) for section in _sections(part)]
    return []


def _is_section(field: FieldInfo) -> bool:
    return isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)


def _variant(section: type[BaseModel]) -> str:
    """What tells sections of different kinds apart."""
    kind = section.model_fields.get("kind")
    single = kind is not None and get_origin(kind.annotation) is Literal and len(get_args(kind.annotation)) == 1
    return f" with `kind = {_toml(get_args(kind.annotation)[0])}`" if kind is not None and single else ""


def _settings_table(fields: Mapping[str, FieldInfo], prefix: str) -> str:
    """The table of these fields; without a prefix they have no environment variables."""
    head = ("setting", "type", "default", *(["environment variable"] if prefix else []), "what it is")
    return _table(head, (_settings_row(name, field, prefix) for name, field in fields.items()))


def _settings_row(name: str, field: FieldInfo, prefix: str) -> Sequence[str]:
    written = field.validation_alias or name  # `from` is no name in Python.
    variable = [f"`{prefix}{written}`".upper()] if prefix else []
    return f"`{written}`", _kind(field), _default_text(field), *variable, field.description or ""


def _default(field: FieldInfo) -> object:
    return field.get_default(call_default_factory=True, validated_data={})


def _default_text(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    default = _default(field)
    return "none" if default is None else f"`{_toml(default)}`"


def _kind(field: FieldInfo) -> str:
    bounds = [f"at least {bound.ge}" for bound in field.metadata if hasattr(bound, "ge")]
    bounds += [f"above {bound.gt}" for bound in field.metadata if hasattr(bound, "gt")]
    return ", ".join([_kind_name(field.annotation), *bounds])


def _kind_name(annotation: Any) -> str:
    origin = get_origin(annotation)
    if origin is Annotated:
        return _kind_name(get_args(annotation)[0])
    if origin is Literal:
        return " or ".join(f"`{_toml(choice)}`" for choice in get_args(annotation))
    if origin in (Union, UnionType) and not _sections(annotation):
        return " or ".join(_kind_name(part) for part in get_args(annotation) if part is not type(None))
    if origin is list:
        return f"list of {_kind_name(get_args(annotation)[0])}s"
    return "table" if origin is dict or _sections(annotation) else _KINDS[annotation]


def _toml(value: object) -> str:
    """A value as it is written in the settings file."""
    if isinstance(value, Path):
        return json.dumps(str(value))
    if isinstance(value, int) and not isinstance(value, bool) and value >= _LONG_NUMBER:
        return f"{value:_}"
    return json.dumps(value)


def _command(path: str, info: Mapping[str, Any]) -> Iterator[str]:
    options = [one for one in info["params"] if one["param_type_name"] == "option" and one["name"] != "help"]
    arguments = [one for one in info["params"] if one["param_type_name"] == "argument"]
    usage = [path, *(["[OPTIONS]"] if options else []), *map(_argument, arguments)]
    yield f"## {path}"
    yield inspect.cleandoc(info["help"] or "")
    yield f"```text\n{' '.join(usage)}\n```"
    if options:
        yield _table(("option", "value", "default", "what it does"), map(_option, options))


def _argument(info: Mapping[str, Any]) -> str:
    name = str(info["name"]).upper()
    return (name if info["required"] else f"[{name}]") + ("..." if info["nargs"] == -1 else "")


def _option(info: Mapping[str, Any]) -> Sequence[str]:
    names = ", ".join(f"`{name}`" for name in info["opts"])
    help_text = " ".join((info["help"] or "").split())
    if info["is_flag"]:
        return names, "", "", help_text
    default = "required" if info["required"] else _option_default(info["default"])
    return names, _option_kind(info["type"]), default, help_text


def _option_default(value: object) -> str:
    return "" if value is None else f"`{value}`"


def _option_kind(kind: Mapping[str, Any]) -> str:
    if "choices" in kind:
        return ", ".join(f"`{choice}`" for choice in kind["choices"])
    name = _OPTION_KINDS[kind["param_type"]]
    if kind.get("min") is None:
        return name
    return f"{name}, {'above' if kind['min_open'] else 'at least'} {kind['min']}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Write the pages into ./docs."""
    if not FOLDER.is_dir():
        raise SystemExit(f"There is no folder {FOLDER} here; run '{REGENERATE}' in the project's folder.")
    for name, text in reference_pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
        click.echo(f"Wrote {FOLDER / name}.")


if __name__ == "__main__":
    main()
