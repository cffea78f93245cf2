"""The headers that a mail has besides sender, recipient and subject."""

from wakeline.activation.campaigns import Campaign
from wakeline.activation.esp.metadata import CAMPAIGN_HEADER, KEY_HEADER

#: The last field of Feedback-ID, by which Google's Postmaster Tools tell our mail from the domain's other mail.
SENDER_ID = "wakeline"


def mail_headers(campaign: Campaign, key: str, variant: str, domain: str, unsubscribe_url: str) -> dict[str, str]:
    """The headers of one mail; `domain` is the sender's, `unsubscribe_url` is empty for mail that needs no consent."""
    return {
        "Message-ID": f"<{key}@{domain}>",
        KEY_HEADER: key,
        CAMPAIGN_HEADER: campaign.name,
        "Feedback-ID": _feedback_id(campaign, variant),
        # No person writes or checks a triggered mail, so out-of-office replies to it help nobody: RFC 3834, section 5.
        "Auto-Submitted": "auto-generated",
        **_bulk(campaign),
        **_list(campaign, domain, unsubscribe_url),
    }


def _feedback_id(campaign: Campaign, variant: str) -> str:
    """https://support.google.com/mail/answer/6254652: each field is counted by itself, so none may repeat another."""
    of_variant = f"{campaign.name}.{variant}" if variant else ""
    return f"{of_variant}:{campaign.name}:{campaign.kind}:{SENDER_ID}"


def _bulk(campaign: Campaign) -> dict[str, str]:
    # Never standardised, yet there are responders that look at nothing else.
    return {"Precedence": "bulk"} if campaign.kind == "marketing" else {}


def _list(campaign: Campaign, domain: str, unsubscribe_url: str) -> dict[str, str]:
    if not unsubscribe_url:
        return {}
    return {
        "List-Id": f"<{campaign.purpose}.{domain}>",  # RFC 2919: everybody who agreed to the purpose.
        "List-Unsubscribe": f"<{unsubscribe_url}>",  # RFC 8058
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
    }
