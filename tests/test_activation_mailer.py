from pathlib import Path

import pytest
from support.clocks import HOUR_MS, NOW_MS, Hand
from support.mailing import ANN, CAMPAIGNS, HOSTS, KEY, PUBLIC_URL, SENDER
from support.sending import RecordingEsp, alone

from wakeline.activation.campaigns import Campaign, load_campaigns
from wakeline.activation.claims import Claim
from wakeline.activation.esp.protocol import Accepted, MissingVariable, Rejected
from wakeline.activation.mailer import Answer, Mailer
from wakeline.activation.rendering import Renderer
from wakeline.activation.tokens import Tokens

PREVIEW = CAMPAIGNS["category_dwell"].preview


def claim(**changed: object) -> Claim:
    values = {
        "key": KEY,
        "campaign": "category_dwell",
        "profile_id": "user:ann",
        "contact": ANN,
        "context": PREVIEW,
        "variant": "",
        "attempts": 1,
        "claimed_at_ms": NOW_MS,
    }
    return Claim(**(values | changed))  # type: ignore[arg-type]


@pytest.fixture
def esp() -> RecordingEsp:
    return RecordingEsp()


def mailer(esp: RecordingEsp, campaigns: dict[str, Campaign] = CAMPAIGNS) -> Mailer:
    return Mailer(Renderer(campaigns, SENDER, PUBLIC_URL, lambda _: "token", HOSTS), alone(esp), 2, lambda: 7)


def send(posted: Mailer, *claims: Claim) -> list[Answer]:
    return posted.send(claims, posted.patience())


def test_a_mail_with_a_missing_variable_reaches_no_esp_and_says_what_is_missing(esp: RecordingEsp) -> None:
    bare = {name: value for name, value in PREVIEW.items() if name != "category"}
    [answer, other] = send(mailer(esp), claim(context=bare), claim())
    assert isinstance(answer.outcome, MissingVariable)
    assert "category_dwell/email.mjml.liquid line" in answer.outcome.reason
    assert "context.category is undefined" in answer.outcome.reason
    assert isinstance(other.outcome, Accepted)
    assert esp.keys == [KEY]


def test_a_mail_to_no_address_is_rejected_for_another_reason(esp: RecordingEsp) -> None:
    [answer] = send(mailer(esp), claim(contact={**ANN, "email": "ann"}))
    assert isinstance(answer.outcome, Rejected)
    assert not isinstance(answer.outcome, MissingVariable)
    assert esp.requests == []


def test_a_mail_is_of_the_variant_that_its_claim_names(esp: RecordingEsp, tmp_path: Path) -> None:
    definition = "description: d\nowner: o\ntrigger: t\nclass: marketing\nvariants: {a: 1, b: 1}\n"
    home = tmp_path / "tested"
    home.mkdir()
    body = "<mjml><mj-body><mj-section><mj-column><mj-text>Hi</mj-text></mj-column></mj-section></mj-body></mjml>"
    files = {"campaign.yml": definition, "email.mjml.liquid": body, "subject.liquid": "common"}
    for name, text in {**files, "subject.a.liquid": "a", "subject.b.liquid": "b"}.items():
        (home / name).write_text(text, encoding="utf-8")
    campaigns = load_campaigns(tmp_path)
    send(mailer(esp, campaigns), *(claim(key=name, campaign="tested", variant=name) for name in ("a", "b")))
    assert {mail.key: mail.subject for mail in esp.requests} == {"a": "a", "b": "b"}


def test_a_mail_that_is_asked_for_again_is_the_very_same_mail(esp: RecordingEsp) -> None:
    tokens, clock = Tokens("secret"), Hand(NOW_MS)
    renderer = Renderer(CAMPAIGNS, SENDER, PUBLIC_URL, lambda token: tokens.sign(token, clock()), HOSTS)
    posted = Mailer(renderer, alone(esp), 1, clock, tokens.sign)
    send(posted, claim(claimed_at_ms=NOW_MS))
    clock.now_ms += HOUR_MS
    send(posted, claim(claimed_at_ms=NOW_MS, attempts=2))
    first, second = esp.requests
    assert first == second
