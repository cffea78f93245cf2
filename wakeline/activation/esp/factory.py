"""The adapters that the settings name."""

import math
import time
from collections.abc import Callable
from typing import Any

from wakeline.activation.esp.braze import BrazeApi
from wakeline.activation.esp.breaker import Breaker
from wakeline.activation.esp.customerio import CustomerioApi
from wakeline.activation.esp.failover import FailOver
from wakeline.activation.esp.guarded import Guarded, Observe, unobserved
from wakeline.activation.esp.http import Api, HttpEsp
from wakeline.activation.esp.limit import RateLimit
from wakeline.activation.esp.mailgun import MailgunApi
from wakeline.activation.esp.outbox import OutboxEsp
from wakeline.activation.esp.postmark import PostmarkApi
from wakeline.activation.esp.protocol import Esp
from wakeline.activation.esp.resend import ResendApi
from wakeline.activation.esp.sendgrid import SendgridApi
from wakeline.activation.esp.ses import Ses
from wakeline.activation.esp.settings import (
    OUTBOX,
    BrazeEsp,
    CustomerioEsp,
    EspSection,
    MailgunEsp,
    PostmarkEsp,
    ResendEsp,
    SendgridEsp,
    SesEsp,
    SmtpEsp,
    WebhookEsp,
)
from wakeline.activation.esp.smtp import Smtp
from wakeline.activation.esp.webhook import WebhookApi
from wakeline.clock import Clock
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


def open_esp(settings: Settings, clock: Clock, observe: Observe = unobserved) -> FailOver:
    """The email service providers of `activation.esp`, in its order; raises ConfigError for one that is wrong.

    `observe` is told of every request.
    """
    return FailOver([_guarded(name, settings, clock, observe) for name in settings.activation.esp])


def _guarded(name: str, settings: Settings, clock: Clock, observe: Observe) -> Guarded:
    activation = settings.activation
    breaker = Breaker(activation.breaker_failures, activation.breaker_seconds)
    if name == OUTBOX:
        outbox = OutboxEsp(settings.outbox_dir, clock)
        limit = RateLimit(math.inf)
        return Guarded(outbox, limit, activation.send_threads, breaker, time.monotonic, time.sleep, observe)
    section = settings.esp[name]
    esp, limit = open_adapter(name, section, clock), RateLimit(section.rate_per_second)
    return Guarded(esp, limit, section.concurrency, breaker, time.monotonic, time.sleep, observe)


def open_adapter(name: str, section: EspSection, clock: Clock) -> Esp:
    """The adapter of one table, with nothing around it; raises ConfigError when the table is wrong."""
    match section:
        case SesEsp():
            return Ses(name, section, clock)
        case SmtpEsp():
            return Smtp(name, section, clock, time.monotonic)
    return HttpEsp(name, section, _APIS[type(section)](section, clock), clock)
