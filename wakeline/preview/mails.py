"""Mails to look at: the real templates and, if asked for, real data; but no send, and links that count for nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from wakeline.activation.addresses import parse_address
from wakeline.activation.campaigns import DEFINITION_FILE, Campaign, load_campaigns
from wakeline.activation.esp.protocol import Mail
from wakeline.activation.rendering import Renderer
from wakeline.activation.tokens import Tokens
from wakeline.clock import Clock
from wakeline.errors import ConfigError, WakelineError
from wakeline.events import address_subject
from wakeline.preview.person import Person, find_person
from wakeline.settings import Settings, load_secrets

#: Who a preview is for when nobody is named; example.com is nobody's (RFC 2606).
SAMPLE_CONTACT = {
    "profile_id": "user:ada",
    "email": "ada@example.com",
    "first_name": "Ada",
    "last_name": "Lovelace",
    "timezone": "Europe/London",
}
SUBJECT_MARK = "[Test] "


@dataclass(frozen=True, slots=True)
class Material:
    """What a mail is made of: contact columns and a trigger row's context."""

    contact: Mapping[str, Any]
    context: Mapping[str, Any]

    @property
    def profile_id(self) -> str:
        """Whom it is about."""
        return str(self.contact["profile_id"])


def chosen_campaign(settings: Settings, name: str) -> Campaign:
    """The campaign of this name. Raises ConfigError when there is none, or when one is wrong."""
    campaigns = load_campaigns(settings.campaigns_dir)
    if name not in campaigns:
        raise ConfigError(f"There is no campaign '{name}'; known are {', '.join(campaigns)}.")
    return campaigns[name]


def chosen_variant(campaign: Campaign, name: str) -> str:
    """The variant of this name. Raises ConfigError when the campaign has none."""
    if name not in campaign.variants:
        known = f"known are {', '.join(campaign.variants)}" if campaign.variants else "it has none"
        raise ConfigError(f"Campaign '{campaign.name}' has no variant '{name}'; {known}.")
    return name


def material(settings: Settings, campaign: Campaign, who: str | None, sample: bool, clock: Clock) -> Material:
    """The campaign's preview, or what is known of a person; with `sample` the person with the campaign's preview.

    Raises WakelineError when the person is not found, or the trigger has nothing about them now.
    """
    if who is None:
        return Material(SAMPLE_CONTACT, campaign.preview)
    person = find_person(settings, campaign.trigger, who, clock())
    return Material(person.contact, campaign.preview if sample else _context(campaign, person))


def _context(campaign: Campaign, person: Person) -> Mapping[str, Any]:
    if person.occurrence is None:
        raise WakelineError(
            f"The trigger {campaign.trigger} has nothing about {person.profile_id} now; add --sample to see their mail"
            f" with the 'preview' of campaigns/{campaign.name}/{DEFINITION_FILE}."
        )
    return person.occurrence.context


def render(settings: Settings, campaign: Campaign, made_of: Material, variant: str, key: str, clock: Clock) -> Mail:
    """The mail as it would be sent, with links of a test mail. Raises RenderError naming file and line."""
    activation = settings.activation
    tokens = Tokens(load_secrets(settings.data_dir).signing_key, test=True)
    renderer = Renderer(
        {campaign.name: campaign},
        activation.sender,
        activation.public_url,
        lambda token: tokens.sign(token, clock()),
        settings.link_hosts,
    )
    return renderer.render(campaign.name, key, made_of.contact, made_of.context, variant)


def addressed(made_of: Material, to: str) -> Material:
    """The same for a mail to an address that is not the person's. Raises WakelineError when it is none.

    It is no longer about the person: providers are told whom a mail is for, keep their address and report on them.
    """
    try:
        address = parse_address(to).addr_spec
    except ValueError as error:
        raise WakelineError(f"--to {to!r} is not a mail address, {error}.") from error
    return replace(made_of, contact={**made_of.contact, "email": address, "profile_id": address_subject(address)})


def marked(mail: Mail) -> Mail:
    """The mail with a subject that says that it is a test."""
    return replace(mail, subject=f"{SUBJECT_MARK}{mail.subject}")
