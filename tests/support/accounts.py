"""An account at each provider that speaks HTTP, and its documented answers."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from support.providers import KEY, MAIL, Provider, Recorded, answering, fixed_clock, providing
from wakeline.activation.esp.factory import open_esp
from wakeline.activation.esp.http import HttpEsp
from wakeline.activation.esp.protocol import Mail, Outcome
from wakeline.clock import Clock
from wakeline.settings import Settings

SECRET = "a-secret-of-the-account"
#: Headers of every request with JSON, without what proves the account.
JSON_HEADERS = {
    "accept": "application/json",
    "accept-encoding": "identity",
    "user-agent": "wakeline",
    "content-type": "application/json",
}
SIGNING_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@dataclass(frozen=True)
class Account:
    """A kind, its settings, what its provider answers to a mail that it takes, and the id in that."""

    kind: str
    settings: dict[str, Any]
    idempotency_key_seconds: float
    provider_id: str
    document: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    endpoint: str = "endpoint_url"

    @contextmanager
    def opened(self, provider: Provider | str, clock: Clock = fixed_clock, **more: Any) -> Iterator[HttpEsp]:
        """The adapter towards a provider, as the settings open it."""
        url = provider if isinstance(provider, str) else provider.url
        table = {"kind": self.kind, self.endpoint: url, "timeout_seconds": 20.0, **self.settings, **more}
        esp = open_esp(Settings.model_validate({"esp": {"main": table}, "activation": {"esp": ["main"]}}), clock)
        assert isinstance(esp, HttpEsp)
        yield esp
        esp.close()

    def sent(self, mail: Mail = MAIL, **more: Any) -> Recorded:
        """The one request that a mail becomes, without what the connection needs; the provider takes it."""
        behaviour = answering(self.status, self.document, self.headers)
        with providing(behaviour) as provider, self.opened(provider, **more) as esp:
            esp.send(mail)
        [request] = provider.requests
        assert request.headers.pop("host") == provider.url.removeprefix("http://")
        assert request.headers.pop("content-length") == str(len(request.body))
        return request

    def outcome_of(self, status: int, document: Any = None, **headers: str) -> Outcome:
        """What becomes of a mail that is answered so."""
        with providing(answering(status, document, headers)) as provider, self.opened(provider) as esp:
            return esp.send(MAIL)


ACCOUNTS = {
    one.kind: one
    for one in (
        Account("sendgrid", {"api_key": SECRET}, 0, "14c5d75ce93", status=202, headers={"X-Message-Id": "14c5d75ce93"}),
        Account(
            "postmark",
            {"server_token": SECRET},
            0,
            "0a129aee-e1cd-480d-b08d-4f48548ff48d",
            {
                "To": "ada@example.com",
                "SubmittedAt": "2014-02-17T07:25:01.4178645-05:00",
                "MessageID": "0a129aee-e1cd-480d-b08d-4f48548ff48d",
                "ErrorCode": 0,
                "Message": "OK",
            },
        ),
        Account(
            "mailgun",
            {"api_key": SECRET, "domain": "mg.example.com"},
            0,
            f"{KEY}@example.com",
            {"id": f"<{KEY}@example.com>", "message": "Queued. Thank you."},
        ),
        Account(
            "resend",
            {"api_key": SECRET},
            86_400,
            "49a3999c-0ce1-4ea6-ab68-afcd6dc2e794",
            {"id": "49a3999c-0ce1-4ea6-ab68-afcd6dc2e794"},
        ),
        Account(
            "braze",
            {"api_key": SECRET, "campaign_id": "417220e4-5a2a-b634-7f7d-9ec891532368"},
            86_400,
            "acf471119f7449d579e8089032003ded",
            {"dispatch_id": "acf471119f7449d579e8089032003ded", "status": "sent", "metadata": {}},
            status=201,
        ),
        Account(
            "customerio",
            {"app_api_key": SECRET, "transactional_message_id": "wakeline"},
            0,
            "RPILAgABcRhIBqSp7kiPekGBIeVh",
            {"delivery_id": "RPILAgABcRhIBqSp7kiPekGBIeVh", "queued_at": 1_800_000_000},
        ),
        Account("webhook", {"signing_secret": SIGNING_SECRET}, 0, KEY, status=204, endpoint="url"),
    )
}
