"""The `[alerts]` table of the settings."""

import re
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from wakeline.section import Section

#: As the settings write them, in the order of `datetime.weekday`.
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

_TIME = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")

_ConcernName = Annotated[str, StringConstraints(pattern=r"^[a-z]*$")]


def _time_of_day(text: str) -> str:
    if not _TIME.fullmatch(text):
        raise ValueError('write a time of day such as "21:00"')
    return text


def _day(text: str) -> str:
    if text not in DAYS:
        raise ValueError(f"write one of {', '.join(DAYS)}")
    return text


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("write an IANA name such as Europe/Berlin") from None
    return name


class ChannelSettings(Section):
    """A channel that alerts go out through, one table each: `[alerts.channels.oncall]`."""

    url: str = Field(
        min_length=1,
        repr=False,
        description="Address for [Apprise](https://appriseit.com/services/), e.g. `slack://...`, `mailtos://...`,"
        " `pagerduty://...`, `json://HOST/PATH`. It holds secrets.",
    )
    min_severity: Literal["info", "warning", "error", "critical"] = Field(
        "info", description="The channel hears of nothing less severe."
    )
    concerns: list[_ConcernName] = Field(
        default_factory=list, description="The channel hears of these concerns only; empty means of all."
    )


class MaintenanceSettings(Section):
    """Times of the week in which nothing new is told; what is still wrong at their end is told then."""

    days: list[Annotated[str, AfterValidator(_day)]] = Field(
        default_factory=lambda: list(DAYS), min_length=1, description="Days of the week that it begins on."
    )
    start: Annotated[str, AfterValidator(_time_of_day)] = Field(
        validation_alias="from", description='Local time it begins, e.g. "02:00".'
    )
    end: Annotated[str, AfterValidator(_time_of_day)] = Field(
        validation_alias="to", description="Local time it ends; on the next day where it is the earlier."
    )
    time_zone: Annotated[str, AfterValidator(_zone)] = Field(
        "UTC", description="IANA name of the time zone of both times."
    )
    concern: str = Field("", description="Only this concern; empty for all.")
    key: str = Field("", description="Only problems of this key; `*` stands for anything, empty for all.")

    @model_validator(mode="after")
    def _is_a_part_of_the_day(self) -> Self:
        if self.start == self.end:
            raise ValueError("'from' and 'to' are the same time")
        return self


class AlertSettings(Section):
    """What is told when something is wrong, and to whom."""

    url: str = Field(
        "",
        repr=False,
        description="Postgres database of alerts and messages, `postgresql://USER@HOST/DATABASE`; empty is the file"
        " `alerts.sqlite` in `data_dir`.",
    )
    channels: dict[Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}$")], ChannelSettings] = Field(
        default_factory=dict, description="Where messages go; without any, alerts are kept and shown only."
    )
    maintenance: list[MaintenanceSettings] = Field(
        default_factory=list, description="Times of the week in which nothing new is told."
    )
    remind_hours: float = Field(
        24.0, ge=0, description="What is still wrong is told again after this long; 0 for never."
    )
    collector_url: str = Field(
        "",
        description="Address of the collector as Dagster reaches it; empty takes `collector.host` and"
        " `collector.port`.",
    )
    min_free_percent: float = Field(
        10.0, ge=0, lt=100, description="A disk with less free space is told; critical below half of it."
    )
    failed_ticks: int = Field(
        3, ge=1, description="A sensor of which so many ticks in a row failed is told; a schedule after one."
    )
