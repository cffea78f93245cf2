"""From a campaign, a profile and a trigger row to a mail: Liquid, then MJML, then HTML and plain text."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from email.headerregistry import Address
from typing import Any

from mjml import mjml2html

from wakeline.activation.addresses import parse_address, parse_mailbox
from wakeline.activation.anchors import find_anchors, replace_addresses
from wakeline.activation.campaigns import BODY_FILE, DEFINITION_FILE, SUBJECT_FILE, Campaign, file_of
from wakeline.activation.esp.protocol import Mail
from wakeline.activation.headers import mail_headers
from wakeline.activation.links import MailLinks, Sign
from wakeline.activation.plaintext import plain_text
from wakeline.activation.templates import Template, TemplateError, UndefinedVariableError
from wakeline.activation.tokens import Mailed
from wakeline.activation.utm import with_utm
from wakeline.errors import ConfigError, WakelineError

#: What stands in for the open pixel where a view is no open: one transparent pixel.
_NO_PIXEL = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"

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


class MissingVariableError(RenderError):
    """The templates name a variable that neither the profile nor the trigger's row has."""


@dataclass(frozen=True, slots=True)
class _Compiled:
    campaign: Campaign
    sender: Address
    #: By variant; the common ones under ''.
    subjects: Mapping[str, Template]
    bodies: Mapping[str, Template]

    def subject(self, variant: str) -> Template:
        return self.subjects.get(variant) or self.subjects[""]

    def body(self, variant: str) -> Template:
        return self.bodies.get(variant) or self.bodies[""]


@dataclass(frozen=True, slots=True)
class _Addresses:
    """Where a mail's own links lead; empty where it has none, as transactional mail has no `unsubscribe`."""

    open_pixel: str
    view: str
    unsubscribe: str
    confirm: str


@dataclass(frozen=True, slots=True)
class _Linked:
    """HTML whose links lead through the click redirect, and the same with links that a person can read."""

    tracked: str
    readable: str


class Renderer:
    """Renders campaigns; safe to use from several threads.

    Every template is compiled here, once; `sign` makes the tokens in the addresses of a mail, and `link_hosts` are the
    hosts whose links lead through the click redirect. Raises ConfigError naming the template or sender that is wrong.
    """

    def __init__(
        self,
        campaigns: Mapping[str, Campaign],
        sender: str,
        public_url: str,
        sign: Sign,
        link_hosts: Collection[str],
    ) -> None:
        self._public_url = public_url
        self._sign = sign
        self._link_hosts = link_hosts
        self._compiled = {name: _compile(campaign, sender) for name, campaign in campaigns.items()}

    def render(
        self,
        campaign: str,
        key: str,
        profile: Mapping[str, Any],
        context: Mapping[str, Any],
        variant: str = "",
        sign: Sign | None = None,
    ) -> Mail:
        """The mail of one send: `profile` holds the contact columns, `context` the trigger row's.

        A variant that has been removed since it was drawn gives the common mail. Rendered again with the same `sign`
        it is the same mail to the byte.
        Raises RenderError naming the campaign and the address or tag that is wrong, and MissingVariableError naming
        the variable, the file and the line.
        """
        compiled = self._of(campaign)
        recipient = _recipient(campaign, profile.get("email"))
        links = MailLinks(self._public_url, sign or self._sign, _mailed(campaign, key, profile), self._link_hosts)
        addresses = _Addresses(
            links.open_pixel(), links.view(), _unsubscribe(compiled.campaign, links), _confirm(context, links)
        )
        variables = _variables(compiled, profile, context, addresses)
        html = _html(campaign, _filled(campaign, compiled.body(variant), variables))
        linked = _linked(html, compiled.campaign, links, addresses)
        return Mail(
            key=key,
            campaign=campaign,
            to=recipient.addr_spec,
            sender=str(compiled.sender),
            subject=_one_line(_filled(campaign, compiled.subject(variant), variables)),
            html=linked.tracked,
            text=plain_text(linked.readable),
            headers=mail_headers(compiled.campaign, key, variant, compiled.sender.domain, addresses.unsubscribe),
            profile_id=str(profile.get("profile_id", "")),
        )

    def render_view(
        self,
        campaign: str,
        key: str,
        profile: Mapping[str, Any],
        context: Mapping[str, Any],
        sign: Sign,
        variant: str = "",
    ) -> str:
        """The HTML of the same mail for a browser: no open pixel, no link to itself, its tokens made by `sign`.

        Raises RenderError like `render`.
        """
        compiled = self._of(campaign)
        links = MailLinks(self._public_url, sign, _mailed(campaign, key, profile), self._link_hosts)
        addresses = _Addresses(_NO_PIXEL, "", _unsubscribe(compiled.campaign, links), _confirm(context, links))
        variables = _variables(compiled, profile, context, addresses)
        html = _html(campaign, _filled(campaign, compiled.body(variant), variables))
        return _linked(html, compiled.campaign, links, addresses).tracked

    def _of(self, campaign: str) -> _Compiled:
        compiled = self._compiled.get(campaign)
        if compiled is None:
            raise RenderError(f"There is no campaign '{campaign}'; add its folder or correct its name.")
        return compiled


def _mailed(campaign: str, key: str, profile: Mapping[str, Any]) -> Mailed:
    return Mailed(key, campaign, str(profile.get("profile_id", "")))


def _unsubscribe(campaign: Campaign, links: MailLinks) -> str:
    return "" if campaign.purpose is None else links.unsubscribe(campaign.purpose)


def _confirm(context: Mapping[str, Any], links: MailLinks) -> str:
    """Only a trigger that names a purpose has something to be confirmed."""
    purpose = str(context.get("purpose") or "")
    return links.confirm(purpose) if purpose else ""


def _variables(
    compiled: _Compiled, profile: Mapping[str, Any], context: Mapping[str, Any], addresses: _Addresses
) -> dict[str, Any]:
    return {
        "profile": profile,
        "context": context,
        "campaign": {"name": compiled.campaign.name},
        "sender": {"name": compiled.sender.display_name or compiled.sender.domain},
        "open_pixel_url": addresses.open_pixel,
        "view_url": addresses.view,
        "unsubscribe_url": addresses.unsubscribe,
        "confirm_url": addresses.confirm,
    }


def _linked(html: str, campaign: Campaign, links: MailLinks, addresses: _Addresses) -> _Linked:
    own = {addresses.view, addresses.unsubscribe, addresses.confirm}
    anchors = [anchor for anchor in find_anchors(html) if anchor.address not in own]
    ids = [anchor.name or str(position) for position, anchor in enumerate(anchors, start=1)]
    targets = [with_utm(anchor.address, _utm(campaign, id_)) for anchor, id_ in zip(anchors, ids, strict=True)]
    # What no browser can open is left as it is written.
    readable = [target or anchor.address for target, anchor in zip(targets, anchors, strict=True)]
    tracked = [links.click(target, id_) if target else "" for target, id_ in zip(targets, ids, strict=True)]
    return _Linked(
        tracked=replace_addresses(html, anchors, [one or other for one, other in zip(tracked, readable, strict=True)]),
        readable=replace_addresses(html, anchors, readable),
    )


def _utm(campaign: Campaign, link_id: str) -> list[tuple[str, str]]:
    utm = campaign.utm
    if utm is None:
        return []
    values = {
        "utm_source": utm.source,
        "utm_medium": utm.medium,
        "utm_campaign": utm.campaign or campaign.name,
        "utm_content": utm.content or link_id,
        "utm_term": utm.term,
    }
    return [(name, value) for name, value in values.items() if value]


def _compile(campaign: Campaign, default_sender: str) -> _Compiled:
    subjects, bodies = (
        {"": campaign.subject, **campaign.variant_subjects},
        {"": campaign.body, **campaign.variant_bodies},
    )
    try:
        return _Compiled(
            campaign=campaign,
            sender=_sender(campaign, default_sender),
            subjects=_templates(campaign, SUBJECT_FILE, subjects, escape_html=False),
            bodies=_templates(campaign, BODY_FILE, bodies, escape_html=True),
        )
    except TemplateError as error:
        raise ConfigError(f"{error}.") from error


def _templates(campaign: Campaign, common: str, texts: Mapping[str, str], *, escape_html: bool) -> dict[str, Template]:
    return {
        variant: Template(
            text, f"{campaign.name}/{file_of(common, variant)}", campaign.partials, escape_html=escape_html
        )
        for variant, text in texts.items()
    }


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
    except UndefinedVariableError as error:
        raise MissingVariableError(f"Campaign '{campaign}' cannot be rendered, {error}.") from error
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
