"""The adapters that the settings name."""

from collections.abc import Callable
from functools import partial
from typing import Any

from wakeline.collector.webhooks.fetching import Fetch
from wakeline.collector.webhooks.hubspot import HubspotAdapter
from wakeline.collector.webhooks.mailgun import MailgunAdapter
from wakeline.collector.webhooks.mapped import MappedAdapter
from wakeline.collector.webhooks.postmark import PostmarkAdapter
from wakeline.collector.webhooks.protocol import Webhook
from wakeline.collector.webhooks.resend import ResendAdapter
from wakeline.collector.webhooks.salesforce import SalesforceAdapter
from wakeline.collector.webhooks.sendgrid import SendgridAdapter
from wakeline.collector.webhooks.ses import SesAdapter
from wakeline.collector.webhooks.settings import (
    HubspotWebhook,
    MailgunWebhook,
    MappedWebhook,
    PostmarkWebhook,
    ResendWebhook,
    SalesforceWebhook,
    SendgridWebhook,
    SesWebhook,
)
from wakeline.section import Section
from wakeline.settings import Settings


def open_webhooks(settings: Settings, fetch: Fetch) -> dict[str, Webhook]:
    """Name -> adapter of every webhook in the settings; raises ConfigError for one that is wrong."""
    adapters = _adapters(settings, fetch)
    return {name: adapters[type(section)](name, section) for name, section in settings.webhooks.items()}


def _adapters(settings: Settings, fetch: Fetch) -> dict[type[Section], Callable[[str, Any], Webhook]]:
    """Table of the settings -> what opens its adapter, given the webhook's name and the table."""
    too_soon_ms = settings.activation.automated_click_seconds * 1_000
    return {
        SesWebhook: partial(SesAdapter, too_soon_ms=too_soon_ms, fetch=fetch),
        SendgridWebhook: SendgridAdapter,
        PostmarkWebhook: PostmarkAdapter,
        MailgunWebhook: partial(MailgunAdapter, too_soon_ms=too_soon_ms),
        ResendWebhook: partial(ResendAdapter, too_soon_ms=too_soon_ms),
        HubspotWebhook: HubspotAdapter,
        SalesforceWebhook: SalesforceAdapter,
        MappedWebhook: MappedAdapter,
    }
