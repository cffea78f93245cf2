"""Messages of the Segment spec that a CRM's records and changes become.

What a CRM reports is nothing that the person did. So every message says `properties.automated`, and none of them counts
as activity (`is_automated` in the model `events`).
"""

from typing import Any

from wakeline.clock import to_iso
from wakeline.collector.envelope import parse_json
from wakeline.collector.webhooks.reading import truncate_ips

Message = dict[str, Any]


def parse_body(body: bytes) -> Any:
    """The JSON that a body is, without full IP addresses; raises RefusedError (400)."""
    content = parse_json(body)
    truncate_ips(content)
    return content


def identify(traits: dict[str, Any], facts: dict[str, Any], **common: Any) -> Message:
    """What is known of a person; `facts` tell where it is from, `common` holds ids and time (None: not known)."""
    return {"type": "identify", "traits": traits, "properties": _automated(facts), **_known(common)}


def track(event: str, facts: dict[str, Any], **common: Any) -> Message:
    """What happened in the CRM; `common` holds ids and time (None: not known)."""
    return {"type": "track", "event": event, "properties": _automated(facts), **_known(common)}


def unsubscribed(of: Message) -> Message:
    """The opt-out that a message tells of: for the same id and, where it is known, the same address."""
    address = of.get("traits", {}).get("email")
    facts = {**of["properties"], **({"email": address} if isinstance(address, str) else {})}
    common = {name: of.get(name) for name in ("anonymousId", "timestamp")}
    return track("Unsubscribed", facts, messageId=f"{of['messageId']}-unsubscribed", **common)


def nobody(webhook: str) -> str:
    """The anonymousId of what is about no record that can be named."""
    return f"webhook-{webhook}"


def is_true(value: Any) -> bool:
    """Whether a CRM's value is a yes, in JSON, in XML or as text."""
    return value is True or (isinstance(value, str) and value.strip().lower() in ("true", "1"))


def time_text(value: Any) -> Any:
    """Milliseconds since 1970 as ISO 8601; what is no such number goes on as it is and is quarantined later."""
    try:
        return to_iso(value) if isinstance(value, int) and not isinstance(value, bool) else value
    except (ValueError, OverflowError, OSError):
        return value


def _automated(facts: dict[str, Any]) -> dict[str, Any]:
    return {**facts, "automated": True}


def _known(common: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in common.items() if value is not None and value != ""}
