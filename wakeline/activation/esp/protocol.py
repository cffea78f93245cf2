"""What every email service provider adapter offers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Mail:
    """A rendered mail; `key` is the idempotency key of the send it belongs to, `profile_id` whom it is for."""

    key: str
    campaign: str
    to: str
    sender: str
    subject: str
    html: str
    text: str
    headers: Mapping[str, str]
    profile_id: str = ""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The provider took the mail under its own id."""

    provider_id: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """The provider refuses this mail for good."""

    reason: str


@dataclass(frozen=True, slots=True)
class MissingVariable(Rejected):
    """Never handed to the provider: the campaign's templates name a variable that the data does not have."""


@dataclass(frozen=True, slots=True)
class TryLater:
    """Certainly not accepted; worth another try after `after_seconds`."""

    after_seconds: float
    reason: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """The answer was lost: the mail may or may not have been accepted."""

    reason: str


Outcome = Accepted | Rejected | TryLater | Unknown


class Esp(Protocol):
    """One adapter; `send` never raises for what the provider answered."""

    name: str
    #: For how long a second request with the same key is certain to produce no second mail; 0 where it takes no key.
    idempotency_key_seconds: float

    def send(self, mail: Mail) -> Outcome:
        """Hand one mail to the provider."""

    def close(self) -> None:
        """Let go of its connections; it is not used afterwards."""
