"""From a campaign, a profile and a trigger row to a mail: Liquid, then MJML, then HTML and plain text."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.headerregistry import Address
from typing import Any

from mjml import mjml2html

from wakeline.activation.addresses import parse_address, parse_mailbox
from wakeline.activation.campaigns import BODY_FILE, DEFINITION_FILE, SUBJECT_FILE, Campaign
from wakeline.activation.esp.protocol import Mail
from wakeline.activation.plaintext import plain_text
from wakeline.activation.templates import Template, TemplateError
from wakeline.collector.pixel import pixel_url
from wakeline.errors import ConfigError, WakelineError

#: Turns (idempotency key, campaign, profile id) into the token of the open pixel.
SignOpen = Callable[[str, str, str], str]

#: The tags MJML 4 defines; the renderer would copy any other into the mail as it stands.
_MJML_TAGS = frozenset(
    {
        "mj-accordion",
        "mj-accordion-element",
        "mj-accordion-text",
        "mj-accordion-title",
        "mj-all",
        "mj-attributes",
        "mj-body",
        "mj-breakpoint",
        "mj-button",
        "mj-carousel",
        "mj-carousel-image",
        "mj-class",
        "mj-column",
        "mj-divider",
        "mj-font",
        "mj-group",
        "mj-head",
        "mj-hero",
        "mj-html-attribute",
        "mj-html-attributes",
        "mj-image",
        "mj-navbar",
        "mj-navbar-link",
        "mj-preview",
        "mj-raw",
        "mj-section",
        "mj-selector",
        "mj-social",
        "mj-social-element",
        "mj-spacer",
        "mj-style",
        "mj-table",
        "mj-text",
        "mj-title",
        "mj-wrapper",
    }
)
_TAG = re.compile(r"<(mj-[a-z-]+)")
#: XML has no way to write these, escaped or not (https://www.w3.org/TR/xml/#charsets).
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


class RenderError(WakelineError):
    """No mail can be made of this campaign for this person; the same data will fail again."""


@dataclass(frozen=True, slots=True)
class _Compiled:
    sender: Address
    subject: Template
    body: Template


class Renderer:
    """Renders campaigns; safe to use from several threads.

    Every template is compiled here, once. Raises ConfigError naming the template or sender that is wrong.
    """

    def __init__(self, campaigns: Mapping[str, Campaign], sender: str, public_url: str, sign_open: SignOpen) -> None:
        self._public_url = public_url
        self._sign_open = sign_open
        self._compiled = {name: _compile(campaign, sender) for name, campaign in campaigns.items()}

    def render(self, campaign: str, key: str, profile: Mapping[str, Any], context: Mapping[str, Any]) -> Mail:
        """The mail of one send: `profile` holds the contact columns, `context` the trigger row's.

        Raises RenderError naming the campaign and the variable, address or tag that is wrong.
        """
        compiled = self._compiled.get(campaign)
        if compiled is None:
            raise RenderError(f"There is no campaign '{campaign}'; add its folder or correct its name.")
        recipient = _recipient(campaign, profile.get("email"))
        token = self._sign_open(key, campaign, str(profile.get("profile_id", "")))
        variables = {
            "profile": profile,
            "context": context,
            "campaign": {"name": campaign},
            "sender": {"name": compiled.sender.display_name or compiled.sender.domain},
            "open_pixel_url": pixel_url(self._public_url, token),
        }
        html = _html(campaign, _filled(campaign, compiled.body, variables))
        return Mail(
            key=key,
            campaign=campaign,
            to=recipient.addr_spec,
            sender=str(compiled.sender),
            subject=_one_line(_filled(campaign, compiled.subject, variables)),
            html=html,
            text=plain_text(html),
            headers=_headers(campaign, key, compiled.sender),
        )


def _compile(campaign: Campaign, default_sender: str) -> _Compiled:
    subject_path, body_path = f"{campaign.name}/{SUBJECT_FILE}", f"{campaign.name}/{BODY_FILE}"
    try:
        return _Compiled(
            sender=_sender(campaign, default_sender),
            subject=Template(campaign.subject, subject_path, campaign.partials, escape_html=False),
            body=Template(campaign.body, body_path, campaign.partials, escape_html=True),
        )
    except TemplateError as error:
        raise ConfigError(f"{error}.") from error


def _sender(campaign: Campaign, default: str) -> Address:
    try:
        return parse_mailbox(campaign.sender or default)
    except ValueError as error:
        where = f"{campaign.name}/{DEFINITION_FILE}: 'sender'" if campaign.sender else "activation.sender"
        raise ConfigError(f"{where} is no mail address, {error}: {campaign.sender or default!r}.") from error


def _recipient(campaign: str, email: object) -> Address:
    try:
        return parse_address(str(email or ""))
    except ValueError as error:
        raise RenderError(f"Campaign '{campaign}': {email!r} is not a mail address, {error}.") from error


def _filled(campaign: str, template: Template, variables: Mapping[str, Any]) -> str:
    try:
        return template.render(variables)
    except TemplateError as error:
        raise RenderError(f"Campaign '{campaign}' cannot be rendered, {error}.") from error


def _one_line(text: str) -> str:
    """A line break in a header would start another header."""
    return " ".join(_NOT_XML.sub(" ", text).split())


def _html(campaign: str, mjml: str) -> str:
    unknown = set(_TAG.findall(mjml)) - _MJML_TAGS
    if unknown:
        raise RenderError(f"Campaign '{campaign}': <{min(unknown)}> is not an MJML tag.")
    try:
        # Left to itself MJML has the reader's mail client load known fonts, such as Roboto, from Google.
        return str(mjml2html(_NOT_XML.sub("", mjml), fonts={}))
    except ValueError as error:
        raise RenderError(f"Campaign '{campaign}' is not valid MJML: {error}.") from error


def _headers(campaign: str, key: str, sender: Address) -> dict[str, str]:
    return {
        "Message-ID": f"<{key}@{sender.domain}>",
        "X-Wakeline-Key": key,
        "X-Wakeline-Campaign": campaign,
    }
