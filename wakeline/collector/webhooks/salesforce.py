"""Salesforce: outbound messages (SOAP) and change events (JSON), told apart by how the body begins."""

from wakeline.collector.webhooks.protocol import WebhookAnswer, WebhookRequest, forged
from wakeline.collector.webhooks.salesforce_changes import parse_changes
from wakeline.collector.webhooks.salesforce_outbound import ACKNOWLEDGED, parse_outbound
from wakeline.collector.webhooks.settings import SalesforceWebhook
from wakeline.collector.webhooks.signing import require_basic_auth

#: What may stand before the first character of XML or JSON, a byte order mark included.
_BLANK = b"\xef\xbb\xbf \t\r\n"
#: The 18-character form of an id repeats in its last three characters which of the first 15 are capitals.
_ID_LENGTHS, _ID_LENGTH = (15, 18), 15


class SalesforceAdapter:
    """Salesforce signs nothing: it is known by user name and password, and by the organization in its messages."""

    def __init__(self, name: str, settings: SalesforceWebhook) -> None:
        self._name = name
        self._settings = settings

    async def receive(self, request: WebhookRequest) -> WebhookAnswer:
        """The messages of a body; see `protocol.Webhook`."""
        require_basic_auth(request.headers, self._settings.username, self._settings.password)
        if request.body.lstrip(_BLANK).startswith(b"<"):
            organization, messages = parse_outbound(request.body)
            self._require_ours({organization})
            return WebhookAnswer(messages, ACKNOWLEDGED, "text/xml")
        organizations, messages = parse_changes(request.body, self._name)
        self._require_ours(organizations)
        return WebhookAnswer(messages)

    def _require_ours(self, organizations: set[str]) -> None:
        if not all(same_id(one, self._settings.organization_id) for one in organizations):
            raise forged("The message is not of the Salesforce organization in the settings.")


def same_id(one: str, other: str) -> bool:
    """Whether two ids, of 15 or 18 characters each, are the same."""
    return len(one) in _ID_LENGTHS and one[:_ID_LENGTH] == other[:_ID_LENGTH]
