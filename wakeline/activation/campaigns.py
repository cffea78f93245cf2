"""Campaigns: one folder each under `campaigns/`, edited by marketers, read once by whoever sends."""

import hashlib
import re
from collections.abc import Collection, Mapping
from itertools import accumulate
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetPydanticSchema,
    StringConstraints,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import core_schema

from wakeline.activation.campaign_file import read_mapping
from wakeline.errors import ConfigError

DEFINITION_FILE = "campaign.yml"
BODY_FILE = "email.mjml.liquid"
SUBJECT_FILE = "subject.liquid"
SHARED_FOLDER = "_shared"

_SNAKE_CASE = r"^[a-z][a-z0-9]*(_[a-z0-9]+)*$"
_Identifier = Annotated[str, StringConstraints(pattern=_SNAKE_CASE)]
_Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
_TIME = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")
#: Written anywhere in a template, in a comment too: to name one partial too many does no harm.
_RENDERED = re.compile(r"""\brender\s+["']([^"']+)["']""")


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


def _minute_of_day(value: Any) -> int:
    time = _TIME.fullmatch(value) if isinstance(value, str) else None
    if time is None:
        raise ValueError('write a time of day such as "21:00"')
    return int(time[1]) * 60 + int(time[2])


_TimeOfDay = Annotated[int, BeforeValidator(_minute_of_day)]


class QuietHours(BaseModel):
    """When a person gets no mail, by their own clock: minutes of the day, `start_minute` in and `end_minute` out.

    The night may lie between: the start may be later than the end, and is never the same.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    start_minute: _TimeOfDay = Field(validation_alias="from")
    end_minute: _TimeOfDay = Field(validation_alias="to")

    @model_validator(mode="after")
    def _is_a_part_of_the_day(self) -> Self:
        if self.start_minute == self.end_minute:
            raise ValueError("'from' and 'to' are the same time; write false for no quiet hours")
        return self


class Holdout(BaseModel):
    """The part of the people, in percent, who never get the campaign, so that its effect can be measured.

    Campaigns with the same `salt` hold out the same people; without one the campaign's name stands in for it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    percent: float = Field(gt=0, lt=100)
    salt: _Text | None = None


def _hours_or_false(value: Any, handler: core_schema.ValidatorFunctionWrapHandler) -> Any:
    if value is None:
        raise ValueError("write false for no quiet hours, or the keys from and to")
    return False if value is False else handler(value)


# A plain union would name its members in the place of an error.
_QuietHoursKey = Annotated[
    QuietHours | Literal[False] | None,
    GetPydanticSchema(
        lambda _source, handler: core_schema.no_info_wrap_validator_function(_hours_or_false, handler(QuietHours))
    ),
]


class Definition(BaseModel):
    """The keys of campaign.yml; `kind` is written `class` there.

    `quiet_hours` is None where the campaign leaves them to the deployment, False where it has none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    description: _Text
    owner: _Text
    trigger: _Identifier
    kind: Literal["marketing", "transactional"] = Field(validation_alias="class")
    purpose: _Identifier | None = Field(default_factory=lambda data: _default_purpose(data.get("kind")))
    frequency_cap: FrequencyCap | None = None
    quiet_hours: _QuietHoursKey = None
    holdout: Holdout | None = None
    priority: int = Field(default=0, strict=True)
    wait_minutes: float = Field(default=0, ge=0)
    expires_after_hours: float | None = Field(default=None, gt=0)
    max_silence_hours: float | None = Field(default=None, gt=0)
    variants: dict[_Identifier, Annotated[int, Field(ge=1, strict=True)]] = Field(default_factory=dict)
    sender: _Text | None = None
    utm: Annotated[Utm | None, BeforeValidator(_none_if_off)] = Utm()
    preview: dict[str, Any] = Field(default_factory=dict)

    @field_validator("purpose")
    @classmethod
    def _marketing_needs_consent(cls, purpose: str | None, info: ValidationInfo) -> str | None:
        if purpose is None and info.data.get("kind") == "marketing":
            raise ValueError("marketing mail needs consent for some purpose")
        return purpose

    @field_validator("holdout", "priority", "wait_minutes")
    @classmethod
    def _transactional_mail_is_for_everybody_at_once(cls, value: Any, info: ValidationInfo) -> Any:
        if info.data.get("kind") == "transactional":
            raise ValueError("transactional mail goes to everybody at once; remove it")
        return value


def _default_purpose(kind: str | None) -> str | None:
    return "marketing" if kind == "marketing" else None


class Campaign(Definition):
    """A loaded campaign: its definition and its Liquid texts, complete in itself and fixed for good.

    `variant_bodies` and `variant_subjects` hold the texts of the variants that have their own. `partials` are the
    shared texts by name without `.liquid`. `definition_hash` is the SHA-256, in hex, of the campaign's own files and
    of the partials they use; every send is recorded with it.
    """

    name: str
    body: str
    subject: str
    variant_bodies: dict[str, str] = Field(default_factory=dict)
    variant_subjects: dict[str, str] = Field(default_factory=dict)
    partials: dict[str, str]
    definition_hash: str

    @property
    def holdout_salt(self) -> str:
        """What the holdout is drawn with: its own salt, or the campaign's name."""
        return (self.holdout and self.holdout.salt) or self.name

    def variant_of(self, profile_id: str) -> str:
        """The variant that a person gets, always the same one while the weights stay; '' without variants."""
        if not self.variants:
            return ""
        names = sorted(self.variants)  # The order in the file may change.
        ends = list(accumulate(self.variants[name] for name in names))
        digest = hashlib.sha256(f"{self.name}\nvariant\n{profile_id}".encode()).digest()
        drawn = int.from_bytes(digest) % ends[-1]
        return next(name for name, end in zip(names, ends, strict=True) if drawn < end)


def file_of(common: str, variant: str) -> str:
    """The name of the file that replaces a common one for a variant: subject.short.liquid for subject.liquid."""
    stem, ending = common.split(".", 1)
    return f"{stem}.{variant}.{ending}" if variant else common


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
    texts = {name: _read(home / name) for name in (DEFINITION_FILE, BODY_FILE, SUBJECT_FILE)}
    raw = read_mapping(home / DEFINITION_FILE, texts[DEFINITION_FILE], Definition)
    variants = raw.get("variants", {})
    bodies, subjects = (_variant_texts(home, common, variants) for common in (BODY_FILE, SUBJECT_FILE))
    _require_own_files(home, set(variants) - bodies.keys() - subjects.keys())
    own = texts | _by_file(BODY_FILE, bodies) | _by_file(SUBJECT_FILE, subjects)
    loaded: dict[str, Any] = {
        "name": home.name,
        "body": texts[BODY_FILE],
        "subject": _one_line(home / SUBJECT_FILE, texts[SUBJECT_FILE]),
        "variant_bodies": bodies,
        "variant_subjects": {
            name: _one_line(home / file_of(SUBJECT_FILE, name), text) for name, text in subjects.items()
        },
        "partials": partials,
        "definition_hash": _hash(own | _used_partials(own.values(), partials)),
    }
    return Campaign.model_validate(raw | loaded)


def _variant_texts(home: Path, common: str, variants: Collection[str]) -> dict[str, str]:
    """Variant -> the text of its own file instead of the common one, for those that have one."""
    before, after = file_of(common, "*").split("*")
    found = {
        path.name.removeprefix(before).removesuffix(after): path for path in sorted(home.glob(f"{before}*{after}"))
    }
    for name, path in found.items():
        if name not in variants:
            raise ConfigError(
                f"{path} belongs to no variant; add '{name}' to 'variants' in campaign.yml, or remove it."
            )
    return {name: _read(path) for name, path in found.items()}


def _require_own_files(home: Path, bare: Collection[str]) -> None:
    if bare:
        name = min(bare)
        files = " or ".join(file_of(common, name) for common in (SUBJECT_FILE, BODY_FILE))
        raise ConfigError(f"{home / DEFINITION_FILE}: variant '{name}' has no file of its own; write {files}.")


def _by_file(common: str, texts: Mapping[str, str]) -> dict[str, str]:
    return {file_of(common, name): text for name, text in texts.items()}


def _used_partials(texts: Collection[str], partials: Mapping[str, str]) -> dict[str, str]:
    """The partials that these texts render, or that those render, by their paths."""
    used: dict[str, str] = {}
    waiting = list(texts)
    while waiting:
        for name in _RENDERED.findall(waiting.pop()):
            path = f"{SHARED_FOLDER}/{name}.liquid"
            if name in partials and path not in used:
                used[path] = partials[name]
                waiting.append(partials[name])
    return used


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
