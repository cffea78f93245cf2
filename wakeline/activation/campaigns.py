"""Campaigns: one folder each under `campaigns/`, edited by marketers, read once by whoever sends."""

import hashlib
import re
from collections.abc import Hashable
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from wakeline.errors import ConfigError

DEFINITION_FILE = "campaign.yml"
BODY_FILE = "email.mjml.liquid"
SUBJECT_FILE = "subject.liquid"
SHARED_FOLDER = "_shared"

_SNAKE_CASE = r"^[a-z][a-z0-9]*(_[a-z0-9]+)*$"
_Identifier = Annotated[str, StringConstraints(pattern=_SNAKE_CASE)]
_Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class FrequencyCap(BaseModel):
    """At most `sends` mails of this campaign to one person in any `hours` hours."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    sends: int = Field(ge=1, strict=True)
    hours: float = Field(gt=0)


class Utm(BaseModel):
    """The UTM parameters of a campaign's links; `campaign` is its name and `content` the link's id unless given."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: _Text = "wakeline"
    medium: _Text = "email"
    campaign: _Text | None = None
    content: _Text | None = None
    term: _Text | None = None


def _none_if_off(value: Any) -> Any:
    if value is None:
        raise ValueError("write false to turn it off, or keys such as source")
    return None if value is False else value


class Definition(BaseModel):
    """The keys of campaign.yml; `kind` is written `class` there."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    description: _Text
    owner: _Text
    trigger: _Identifier
    kind: Literal["marketing", "transactional"] = Field(validation_alias="class")
    purpose: _Identifier | None = Field(default_factory=lambda data: _default_purpose(data.get("kind")))
    frequency_cap: FrequencyCap | None = None
    sender: _Text | None = None
    utm: Annotated[Utm | None, BeforeValidator(_none_if_off)] = Utm()
    preview: dict[str, Any] = Field(default_factory=dict)

    @field_validator("purpose")
    @classmethod
    def _marketing_needs_consent(cls, purpose: str | None, info: ValidationInfo) -> str | None:
        if purpose is None and info.data.get("kind") == "marketing":
            raise ValueError("marketing mail needs consent for some purpose")
        return purpose


def _default_purpose(kind: str | None) -> str | None:
    return "marketing" if kind == "marketing" else None


class Campaign(Definition):
    """A loaded campaign: its definition and its Liquid texts, complete in itself and fixed for good.

    `partials` are the shared texts by name without `.liquid`. `definition_hash` is the SHA-256, in hex, of
    the campaign's own three files; every send is recorded with it.
    """

    name: str
    body: str
    subject: str
    partials: dict[str, str]
    definition_hash: str


def load_campaigns(folder: Path) -> dict[str, Campaign]:
    """Every campaign under a folder, by name; a folder whose name starts with `_` or `.` is none.

    Raises ConfigError: one sentence that names the file and, where there is one, the line and the key.
    """
    if not folder.is_dir():
        raise ConfigError(f"The campaigns folder {folder} does not exist; create it or correct project_dir.")
    partials = _partials(folder / SHARED_FOLDER)
    homes = sorted(home for home in folder.iterdir() if home.is_dir() and home.name[0] not in "._")
    return {home.name: _load(home, partials) for home in homes}


def _partials(folder: Path) -> dict[str, str]:
    return {path.name.removesuffix(".liquid"): _read(path) for path in sorted(folder.glob("*.liquid"))}


def _load(home: Path, partials: dict[str, str]) -> Campaign:
    if not re.match(_SNAKE_CASE, home.name):
        raise ConfigError(f"{home}: a campaign is named in snake_case, such as abandoned_cart; rename the folder.")
    raw = _definition(home / DEFINITION_FILE)
    texts = {name: _read(home / name) for name in (DEFINITION_FILE, BODY_FILE, SUBJECT_FILE)}
    loaded: dict[str, Any] = {
        "name": home.name,
        "body": texts[BODY_FILE],
        "subject": _one_line(home / SUBJECT_FILE, texts[SUBJECT_FILE]),
        "partials": partials,
        "definition_hash": _hash(texts),
    }
    return Campaign.model_validate(raw | loaded)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path} is missing; write it, or remove the campaign's folder.") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8.") from error


def _one_line(path: Path, text: str) -> str:
    lines = text.strip().splitlines()
    if len(lines) != 1:
        raise ConfigError(f"{path} must hold exactly one line, the subject, but has {len(lines)}.")
    return lines[0]


def _hash(texts: dict[str, str]) -> str:
    digest = hashlib.sha256()
    for name, text in sorted(texts.items()):
        # Lengths keep text that moves from one file to another from giving the same hash.
        digest.update(f"{name} {len(text)}\n{text}".encode())
    return digest.hexdigest()


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML that refuses a key written twice: PyYAML would silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                problem = f"key '{key.value}' is written twice"
                raise yaml.constructor.ConstructorError(problem=problem, problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _definition(path: Path) -> dict[str, Any]:
    loader = _UniqueKeyLoader(_read(path))
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
    _check(path, raw, node)
    return raw


def _check(path: Path, raw: dict[str, Any], node: yaml.Node) -> None:
    try:
        Definition.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        reason = _reason(first["type"], first["loc"], first["msg"])
        raise ConfigError(f"{path} line {_line(node, first['loc'])}: {reason}") from error


def _reason(kind: str, location: tuple[int | str, ...], message: str) -> str:
    key = ".".join(str(part) for part in location)
    if kind == "extra_forbidden":
        return f"'{key}' is not a key of a campaign; remove it."
    if kind == "missing":
        return f"key '{key}' is missing; add it."
    return f"key '{key}' is wrong: {message}."


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
