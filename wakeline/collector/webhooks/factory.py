"""The adapters that the settings name."""

from wakeline.collector.webhooks.protocol import Webhook
from wakeline.settings import Settings


def open_webhooks(settings: Settings) -> dict[str, Webhook]:
    """Name -> adapter of every webhook in the settings."""
    return {}
