"""What every webhook adapter offers: check that a request is the provider's, and say what it means."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from wakeline.collector.refused import RefusedError


@dataclass(frozen=True, slots=True)
class WebhookRequest:
    """A POST as it came; header names are in lower case, `url` is the address the provider was given."""

    headers: Mapping[str, str]
    body: bytes
    url: str
    now_ms: int


@dataclass(frozen=True, slots=True)
class WebhookAnswer:
    """The messages of the Segment spec that a request means, and the success body that the provider wants.

    The body is sent once the messages are durable.
    """

    messages: list[dict[str, Any]] = field(default_factory=list)
    body: str = ""
    media_type: str = "text/plain"


class Webhook(Protocol):
    """One configured webhook of one provider."""

    async def receive(self, request: WebhookRequest) -> WebhookAnswer:
        """Raises RefusedError: 401 when the request is not proven to be the provider's, 400 when it is unreadable."""


def forged(reason: str) -> RefusedError:
    """The refusal of a request that is not proven to be the provider's; `reason` is one sentence."""
    return RefusedError(401, reason)
