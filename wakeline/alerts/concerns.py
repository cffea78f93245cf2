"""The table of concerns: what is looked at, and how long something must be wrong, or well, before anybody is told."""

from dataclasses import dataclass

#: A concern that has missed so many looks is blind: nobody knows any more whether what it saw last is still so.
MISSED_LOOKS = 20
#: No concern is blind sooner: a tick may hang for a minute until Dagster cuts it off, and the next one comes late.
LEAST_BLIND_SECONDS = 180.0


@dataclass(frozen=True, slots=True)
class Concern:
    """One kind of problems, with a sensor of its own.

    `title` stands over several problems. Keys of its problems begin with `prefix`. What opens, or closes, within
    `group_seconds` is one message.
    """

    name: str
    prefix: str
    title: str
    meaning: str
    open_after_seconds: float
    close_after_seconds: float
    group_seconds: float = 0.0
    every_seconds: int = 8

    @property
    def sensor(self) -> str:
        """Name of the sensor that looks."""
        return "alert_delivery" if self.name in _OF_DELIVERY else f"alert_{self.name}"

    @property
    def blind_after_seconds(self) -> float:
        """After so long without a look what it saw last explains nothing else, and that it does not look is told."""
        return max(MISSED_LOOKS * self.every_seconds, LEAST_BLIND_SECONDS)


#: The concerns that are looked at with every delivery: where that is off, nothing could be told of them.
_OF_DELIVERY = ("channel", "looks")


CONCERNS: tuple[Concern, ...] = (
    Concern(
        "freshness",
        "freshness/",
        "Stale assets",
        "An asset is older than its freshness policy allows. The warning before that is shown in Dagster and not told.",
        # A lane that has just started has not reported yet, and Dagster's daemon looks every half minute.
        open_after_seconds=120,
        close_after_seconds=30,
        group_seconds=30,
    ),
    Concern(
        "runs",
        "run/",
        "Failed runs",
        "Of the runs of a job the last to end failed; it is over when the job next succeeds.",
        # A failed check of the same run must be seen first: it is the better message.
        open_after_seconds=20,
        close_after_seconds=0,
    ),
    Concern(
        "checks",
        "check/",
        "Failed checks",
        "An asset check failed when it was last evaluated.",
        open_after_seconds=10,
        close_after_seconds=15,
        group_seconds=10,
    ),
    Concern(
        "lanes",
        "lane/",
        "Lanes without a run",
        "Nobody processes a lane, or its last resident run failed; it is over when a run has held the lane for half a"
        " minute.",
        open_after_seconds=60,
        close_after_seconds=0,
    ),
    Concern(
        "databases",
        "database/",
        "Databases",
        "ClickHouse or the ledger's database does not answer.",
        # The embedded ClickHouse is started again within seconds when it dies.
        open_after_seconds=20,
        close_after_seconds=10,
    ),
    Concern(
        "pauses",
        "pause/",
        "Paused campaigns",
        "A campaign is paused: its mails are held until somebody resumes it.",
        open_after_seconds=15,
        close_after_seconds=0,
    ),
    Concern(
        "backpressure",
        "collector/",
        "The collector",
        "The collector does not answer, refuses events, or keeps them in its spool because the stream takes none.",
        open_after_seconds=15,
        close_after_seconds=20,
    ),
    Concern(
        "disk",
        "disk/",
        "Disks",
        "A disk has less free space than alerts.min_free_percent.",
        open_after_seconds=30,
        close_after_seconds=60,
        every_seconds=28,
    ),
    Concern(
        "sensors",
        "tick/",
        "Failing sensors and schedules",
        "The last ticks of a sensor or a schedule failed, so what it should start or watch does not happen.",
        open_after_seconds=20,
        close_after_seconds=0,
        group_seconds=20,
    ),
    Concern(
        "channel",
        "channel/",
        "Alert channels",
        "Messages to a channel fail; they wait and are sent when it is back. Told through the other channels.",
        open_after_seconds=30,
        close_after_seconds=0,
        every_seconds=1,
    ),
    Concern(
        "looks",
        "look/",
        "Concerns that do not look",
        "A concern has not looked for three minutes or more: its sensor is off or hangs, or what it looks at does not"
        " answer.",
        open_after_seconds=0,
        close_after_seconds=0,
        group_seconds=20,
        every_seconds=1,
    ),
)

BY_NAME = {concern.name: concern for concern in CONCERNS}
#: The concern whose sensor also delivers what waits in the outbox.
DELIVERY = BY_NAME["channel"]
#: The concern whether all the others look.
OF_LOOKS = BY_NAME["looks"]
