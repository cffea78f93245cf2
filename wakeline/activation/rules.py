"""What a campaign's definition and the deployment's settings ask of its sends."""

from wakeline.activation.campaigns import Campaign
from wakeline.activation.gates import MARKETING, Cap, Holdout, Rules
from wakeline.activation.quiet_hours import QuietHours
from wakeline.settings import ActivationSettings

_MS_PER_HOUR, _MS_PER_MINUTE = 3_600_000, 60_000
#: The scope of the holdout that no campaign mails.
EVERYWHERE = "all"


def rules_of(campaign: Campaign, settings: ActivationSettings) -> Rules:
    """The rules that the gates go by."""
    cap = campaign.frequency_cap
    marketing = campaign.kind == MARKETING
    return Rules(
        cap=None if cap is None else Cap(cap.sends, round(cap.hours * _MS_PER_HOUR)),
        marketing_cap=_marketing_cap(settings) if marketing else None,
        holdouts=_holdouts(campaign, settings) if marketing else (),
        quiet_hours=_quiet_hours(campaign, settings),
        time_zone=settings.time_zone,
        priority=campaign.priority,
        priority_window_ms=round(settings.priority_window_hours * _MS_PER_HOUR),
        priority_wait_ms=round(campaign.wait_minutes * _MS_PER_MINUTE),
    )


def _marketing_cap(settings: ActivationSettings) -> Cap:
    return Cap(settings.marketing_cap_sends, round(settings.marketing_cap_hours * _MS_PER_HOUR))


def _holdouts(campaign: Campaign, settings: ActivationSettings) -> tuple[Holdout, ...]:
    """The one of all campaigns first: who is in it takes part in nothing."""
    of_all = Holdout(EVERYWHERE, settings.holdout_salt, settings.holdout_percent)
    own = campaign.holdout
    of_campaign = Holdout(campaign.name, own.salt or campaign.name, own.percent) if own else None
    return tuple(one for one in (of_all, of_campaign) if one and one.percent > 0)


def _quiet_hours(campaign: Campaign, settings: ActivationSettings) -> QuietHours | None:
    own = campaign.quiet_hours
    hours = settings.quiet_hours if own is None and campaign.kind == MARKETING else own
    return QuietHours(hours.start_minute, hours.end_minute) if hours else None
