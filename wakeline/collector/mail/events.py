"""The Segment events that become of what people do with a mail.

https://segment.com/docs/connections/spec/email/
"""

from collections.abc import Mapping
from typing import Any

from wakeline.activation.tokens import Click, Mailed, Open, OptOut
from wakeline.clock import to_iso
from wakeline.events import subject_fields

Message = dict[str, Any]


def opened(token: Open, labels: Mapping[str, Any], user_agent: str, at_ms: int, message_id: str) -> Message:
    """An open, as far as an image can tell."""
    return _track("Email Opened", token, labels, user_agent, at_ms, message_id)


def clicked(token: Click, labels: Mapping[str, Any], user_agent: str, at_ms: int, message_id: str) -> Message:
    """A click on a link of a mail."""
    link = {"link_url": token.url, "link_id": token.link_id}
    return _track("Email Link Clicked", token, {**link, **labels}, user_agent, at_ms, message_id)


def unsubscribed(token: OptOut, user_agent: str, at_ms: int) -> Message:
    """A withdrawn consent.

    The id holds the time: who has agreed again since and presses the same link again must be opted out again, and
    an id that came before would be taken for a duplicate.
    """
    message_id = f"unsubscribed-{token.key}-{token.purpose}-{at_ms}"
    return _track("Unsubscribed", token, {"purpose": token.purpose}, user_agent, at_ms, message_id)


def _track(
    event: str, mailed: Mailed, properties: Mapping[str, Any], user_agent: str, at_ms: int, message_id: str
) -> Message:
    ids, address = subject_fields(mailed.profile_id)
    return {
        "type": "track",
        "event": event,
        "messageId": message_id,
        "timestamp": to_iso(at_ms),
        **ids,
        "properties": {"idempotency_key": mailed.key, "campaign": mailed.campaign, **address, **properties},
        "context": {"userAgent": user_agent} if user_agent else {},
    }
