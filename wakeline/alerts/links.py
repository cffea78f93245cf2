"""Addresses of pages of Dagster's UI, for people to open."""

from dataclasses import dataclass
from urllib.parse import quote

from wakeline.settings import Settings

_LOCATION = "wakeline"
_ANYWHERE = ("0.0.0.0", "::")  # noqa: S104 - compared, not bound


@dataclass(frozen=True, slots=True)
class Links:
    """`base` is the address of the UI without a slash at its end."""

    base: str

    def run(self, run_id: str) -> str:
        """A run and its log."""
        return f"{self.base}/runs/{quote(run_id)}"

    def asset(self, key: str) -> str:
        """An asset; `key` has slashes between its parts."""
        return f"{self.base}/assets/{quote(key)}"

    def check(self, key: str, check: str) -> str:
        """A check of an asset."""
        return f"{self.asset(key)}?view=checks&checkDetail={quote(check)}"

    def job(self, name: str) -> str:
        """A job with its runs and its launchpad."""
        return f"{self.base}/locations/{_LOCATION}/jobs/{quote(name)}"

    def sensor(self, name: str) -> str:
        """A sensor and its ticks."""
        return f"{self.base}/locations/{_LOCATION}/sensors/{quote(name)}"

    def schedule(self, name: str) -> str:
        """A schedule and its ticks."""
        return f"{self.base}/locations/{_LOCATION}/schedules/{quote(name)}"


def links(settings: Settings) -> Links:
    """Links to the UI as people reach it."""
    dagster = settings.dagster
    return Links((dagster.url or f"http://{host_of(dagster.host)}:{dagster.port}").rstrip("/"))


def collector_url(settings: Settings) -> str:
    """The collector as this machine reaches it."""
    collector = settings.collector
    return (settings.alerts.collector_url or f"http://{host_of(collector.host)}:{collector.port}").rstrip("/")


def host_of(listens_on: str) -> str:
    """How to reach what listens on an address, from the same machine."""
    host = "127.0.0.1" if listens_on in _ANYWHERE else listens_on
    return f"[{host}]" if ":" in host else host
