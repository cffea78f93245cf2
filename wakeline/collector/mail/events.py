"""The Segment events that become of what people do with a mail.

https://segment.com/docs/connections/spec/email/, and the consent spec for a confirmed consent.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

from wakeline.activation.consent import PREFERENCE_UPDATED
from wakeline.activation.tokens import Click, Confirm, Mailed, Open, OptOut
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


def confirmed(token: Confirm, sealed: str, user_agent: str, at_ms: int) -> Message:
    """A consent that the person confirms, stated at this moment.

    The id is the link's: the first press counts. A repetition is a duplicate, so that an old mail that is opened again
    cannot undo an opt-out that came after the first. It is made of the token as it is `sealed`: by an id that others
    can work out, as they can a send's key, they could send a duplicate before.
    """
    message_id = f"confirmed-{hashlib.sha256(sealed.encode()).hexdigest()[:32]}"
    message = _track(PREFERENCE_UPDATED, token, {"purpose": token.purpose}, user_agent, at_ms, message_id)
    message["context"]["consent"] = {"categoryPreferences": {token.purpose: True}}
    return message


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
