"""What mail providers' webhooks, and the mails themselves, tell of a send."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from wakeline.pipeline.classify import LandingRow

#: Each is certain to come only after the provider had accepted the mail. Segment email events, and those of our links.
OUT = frozenset(
    {
        "Email Sent",
        "Email Delivered",
        "Email Deferred",
        "Email Bounced",
        "Email Dropped",
        "Email Marked as Spam",
        "Email Opened",
        "Email Link Clicked",
        "Unsubscribed",
        "Email Unsubscribed",
    }
)

# A key has 32; no database has room for an endless one.
_LONGEST_KEY = 64


@dataclass(frozen=True, slots=True)
class DeliveryReport:
    """The event by which we know that the send `key` was accepted by the provider."""

    key: str
    event: str
    message_id: str
    occurred_at_ms: int


def delivery_reports(rows: Iterable[LandingRow], trusted: Collection[str]) -> list[DeliveryReport]:
    """What the accepted rows of trusted sources tell of sends, in order; the first of each send is enough."""
    first: dict[str, DeliveryReport] = {}
    for row in rows:
        key = _key(row.parsed) if row.parsed is not None and row.event in OUT and row.source in trusted else ""
        if key:
            first.setdefault(key, DeliveryReport(key, row.event, row.message_id, row.occurred_at_ms))
    return list(first.values())


def _key(message: dict[str, Any]) -> str:
    properties = message.get("properties")
    key = properties.get("idempotency_key") if isinstance(properties, dict) else ""
    return key if isinstance(key, str) and len(key) <= _LONGEST_KEY else ""
