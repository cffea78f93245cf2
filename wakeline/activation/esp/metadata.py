"""What our sends carry through a mail provider, and how it is read from the provider's reports.

The key leads to the send in the ledger. A provider that takes metadata of its own is given these names; the headers
stand in every mail.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wakeline.activation.esp.protocol import Mail

KEY = "wakeline_key"
CAMPAIGN = "wakeline_campaign"
#: Optional, and only where a value may hold a colon: `user:ann`.
PROFILE = "wakeline_profile"

KEY_HEADER = "X-Wakeline-Key"
CAMPAIGN_HEADER = "X-Wakeline-Campaign"

#: The form of `wakeline.activation.claims.idempotency_key`, on the left side of our own Message-ID.
_OWN_MESSAGE_ID = re.compile(r"<?([0-9a-f]{32})@[^<>@\s]+>?")


@dataclass(frozen=True, slots=True)
class SendMetadata:
    """The send that a report is about; empty texts for what the report does not tell."""

    key: str = ""
    campaign: str = ""
    profile_id: str = ""


def metadata_of(mail: Mail) -> dict[str, str]:
    """What a mail carries as the provider's own metadata."""
    found = {KEY: mail.key, CAMPAIGN: mail.campaign, PROFILE: mail.profile_id}
    return {name: value for name, value in found.items() if value}


def read_metadata(
    metadata: Mapping[str, Any], headers: Mapping[str, str] | None = None, message_id: str = ""
) -> SendMetadata:
    """The send that a report names: in the provider's `metadata`, else in the mail's `headers`, else in its Message-ID.

    Names of headers are in lower case. A value that is no text counts as none.
    """
    headers = headers or {}
    return SendMetadata(
        key=_text(metadata, KEY) or _text(headers, KEY_HEADER.lower()) or key_of_message_id(message_id),
        campaign=_text(metadata, CAMPAIGN) or _text(headers, CAMPAIGN_HEADER.lower()),
        profile_id=_text(metadata, PROFILE),
    )


def key_of_message_id(message_id: str) -> str:
    """The key in a Message-ID of ours, `<KEY@domain>` with or without the brackets; empty for any other."""
    found = _OWN_MESSAGE_ID.fullmatch(message_id.strip())
    return found[1] if found else ""


def _text(metadata: Mapping[str, Any], name: str) -> str:
    value = metadata.get(name)
    return value if isinstance(value, str) else ""
