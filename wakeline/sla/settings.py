"""The `[sla]` section: what is promised of the whole, and when it is judged."""

from typing import Self

from pydantic import Field, model_validator

from wakeline.section import Section

#: A heartbeat can be late by a pause of the collector's client or of a lane.
_FEWEST_HEARTBEATS = 3


class SlaSettings(Section):
    """Service levels, which asset checks judge; those of dbt models and campaigns are in their own YAML."""

    window_minutes: int = Field(
        10, ge=1, le=60, description="Latency, quarantine and volume are judged over the latest so many minutes."
    )
    latency_p95_seconds: float = Field(
        30.0, gt=0, description="Of 95 in a hundred mails: from the event at the collector to the ESP's yes."
    )
    latency_min_sends: int = Field(20, ge=1, description="With fewer mails in the window latency is not judged.")
    lag_seconds: float = Field(
        30.0, ge=1, description="What was appended to the stream is read, and in ClickHouse, within this time."
    )
    max_quarantine_percent: float = Field(
        5.0, ge=0, le=100, description="Largest share of events in the window that may be quarantined."
    )
    quarantine_min_events: int = Field(
        50, ge=1, description="With fewer events in the window their share in quarantine is not judged."
    )
    volume_score: float = Field(
        6.0,
        gt=0,
        description="Traffic is too little when it is below the median of past weeks by more than so many robust"
        " standard deviations.",
    )
    volume_min_events: int = Field(
        50, ge=1, description="Where fewer events are usual in the window, their number is not judged."
    )
    heartbeat_seconds: float = Field(
        5.0, ge=0, description="Pause between two synthetic events to each partition; 0 for none."
    )
    heartbeat_fail_after_seconds: float = Field(
        30.0, gt=0, description="Without a heartbeat for so long the way through the collector counts as broken."
    )

    @model_validator(mode="after")
    def _some_heartbeats_fit(self) -> Self:
        if self.heartbeat_fail_after_seconds < _FEWEST_HEARTBEATS * self.heartbeat_seconds:
            raise ValueError(
                f"heartbeat_fail_after_seconds must be at least {_FEWEST_HEARTBEATS} times heartbeat_seconds"
            )
        return self

    @model_validator(mode="after")
    def _late_mails_are_in_the_window(self) -> Self:
        if self.latency_p95_seconds >= self.window_minutes * 60:
            raise ValueError("latency_p95_seconds must be less than the window of window_minutes")
        return self
