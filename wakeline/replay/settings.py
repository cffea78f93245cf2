"""The `[replay]` table of the settings."""

from pydantic import Field

from wakeline.section import Section


class ReplaySettings(Section):
    """Jobs that are started by hand."""

    max_unconfirmed: int = Field(
        1_000,
        ge=0,
        description="Sends or events a job may touch without `confirm_count`; above, the number must be typed in.",
    )
