"""The adapters that the settings name."""

from collections.abc import Callable
from typing import Any

from wakeline.activation.esp.braze import BrazeApi
from wakeline.activation.esp.customerio import CustomerioApi
from wakeline.activation.esp.http import Api, HttpEsp
from wakeline.activation.esp.mailgun import MailgunApi
from wakeline.activation.esp.outbox import OutboxEsp
from wakeline.activation.esp.postmark import PostmarkApi
from wakeline.activation.esp.protocol import Esp
from wakeline.activation.esp.resend import ResendApi
from wakeline.activation.esp.sendgrid import SendgridApi
from wakeline.activation.esp.settings import (
    OUTBOX,
    BrazeEsp,
    CustomerioEsp,
    EspSection,
    MailgunEsp,
    PostmarkEsp,
    ResendEsp,
    SendgridEsp,
    WebhookEsp,
)
from wakeline.activation.esp.webhook import WebhookApi
from wakeline.clock import Clock
from wakeline.errors import ConfigError
from wakeline.settings import Settings

#: Table of the settings -> what opens its API, given the table and the clock.
_APIS: dict[type[EspSection], Callable[[Any, Clock], Api]] = {
    SendgridEsp: SendgridApi,
    PostmarkEsp: PostmarkApi,
    MailgunEsp: MailgunApi,
    ResendEsp: ResendApi,
    BrazeEsp: BrazeApi,
    CustomerioEsp: CustomerioApi,
    WebhookEsp: WebhookApi,
}


def open_esp(settings: Settings, clock: Clock) -> Esp:
    """The email service providers of `activation.esp` as one; raises ConfigError for one that is wrong."""
    esps = [_open_one(name, settings, clock) for name in settings.activation.esp]
    if len(esps) > 1:
        raise ConfigError("activation.esp names several providers, and there is no fail-over between them; name one.")
    return esps[0]


def _open_one(name: str, settings: Settings, clock: Clock) -> Esp:
    if name == OUTBOX:
        return OutboxEsp(settings.outbox_dir, clock)
    section = settings.esp[name]
    return HttpEsp(name, section, _APIS[type(section)](section, clock), clock)
