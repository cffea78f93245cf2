"""How long what has happened is remembered."""

from pydantic import Field, field_validator

from wakeline.section import Section

#: A campaign must not find an occurrence again whose key is forgotten; see docs/operations.md.
LEAST_SENDS_DAYS = 90


class RetentionSettings(Section):
    """What the job `clean_up` deletes every night, and after how many days."""

    runs_days: float = Field(
        30.0, gt=0, description="Dagster: ended runs, with their events and logs. The latest run of an asset is kept."
    )
    resident_runs_days: float = Field(
        5.0, gt=0, description="Dagster: ended runs of `resident_lane`, and with them the time series of its reports."
    )
    checks_days: float = Field(
        30.0,
        gt=0,
        description="Dagster: results of asset checks, and events without a run; the latest of each is kept.",
    )
    sends_days: float = Field(
        0.0,
        ge=0,
        description="Ledger: settled sends that have expired for so long and stand in ClickHouse as well; at least"
        f" {LEAST_SENDS_DAYS}. 0 keeps them for ever: they are the protection against sending twice, and the proof.",
    )

    @field_validator("sends_days")
    @classmethod
    def _outlives_every_trigger(cls, days: float) -> float:
        if 0 < days < LEAST_SENDS_DAYS:
            raise ValueError(f"it must be 0 or at least {LEAST_SENDS_DAYS}, or a mail could go out twice")
        return days
