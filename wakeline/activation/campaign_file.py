"""Reads campaign.yml: strict about keys, and every error says where the mistake is."""

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from wakeline.errors import ConfigError


def read_mapping(path: Path, text: str, model: type[BaseModel]) -> dict[str, Any]:
    """The keys in the file's text, as they are written, once `model` takes them.

    Raises ConfigError: one sentence that names the file, the line and the key.
    """
    loader = _Loader(text)
    try:
        node = loader.get_single_node() or yaml.MappingNode("tag:yaml.org,2002:map", [], loader.get_mark())
        raw = loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"{path} line {line}: {error.problem}.") from error
    finally:
        loader.dispose()
    if not isinstance(raw, dict):
        raise ConfigError(f"{path} must hold keys such as 'description: ...'.")
    _check(path, raw, node, model)
    return raw


class _Loader(yaml.SafeLoader):
    """Refuses a key written twice, of which PyYAML would silently keep the last, and reads 21:00 as text."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                problem = f"key '{key.value}' is written twice"
                raise yaml.constructor.ConstructorError(problem=problem, problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> Any:
        # To YAML 1.1 21:00 is the number 1260 and 08:00 a text; YAML 1.2 has dropped numbers with colons.
        return node.value if ":" in node.value else super().construct_yaml_int(node)


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)


def _check(path: Path, raw: dict[str, Any], node: yaml.Node, model: type[BaseModel]) -> None:
    try:
        model.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        reason = _reason(first["type"], first["loc"], first["msg"])
        raise ConfigError(f"{path} line {_line(node, first['loc'])}: {reason}") from error


def _reason(kind: str, location: tuple[int | str, ...], message: str) -> str:
    key = ".".join(str(part) for part in location if part != "[key]")  # So pydantic marks a key that is wrong itself.
    if kind == "extra_forbidden":
        return f"'{key}' is not a key of a campaign; remove it."
    if kind == "missing":
        return f"key '{key}' is missing; add it."
    return f"key '{key}' is wrong: {message.removeprefix('Value error, ')}."


def _line(node: yaml.Node, location: tuple[int | str, ...]) -> int:
    """The line of the key a location leads to, or of the nearest one around it."""
    line = node.start_mark.line + 1
    for part in location:
        if not isinstance(node, yaml.MappingNode):
            break
        entry = next(((key, value) for key, value in node.value if key.value == part), None)
        if entry is None:
            break
        line, node = entry[0].start_mark.line + 1, entry[1]
    return line
