"""A mail as it was sent, rendered again from what the ledger keeps of it."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wakeline.activation.campaigns import Campaign, load_campaigns
from wakeline.activation.ledger.reading import send_of
from wakeline.activation.rendering import Renderer, RenderError
from wakeline.activation.tokens import Stamped, Tokens, View
from wakeline.engines import open_for_reading
from wakeline.errors import WakelineError
from wakeline.settings import Settings

_logger = logging.getLogger(__name__)


class NoSuchMailError(WakelineError):
    """The ledger has no such send, or nothing can be made of what is left of it."""


class MailUnavailableError(WakelineError):
    """The ledger or the campaigns cannot be read right now."""


@dataclass(frozen=True, slots=True)
class _Sent:
    contact: Mapping[str, Any]
    context: Mapping[str, Any]
    variant: str


class MailViewer:
    """Shows mails. Nothing is opened before the first is asked for, and nothing stays open after it.

    Not for several threads at once.
    """

    def __init__(self, settings: Settings, tokens: Tokens) -> None:
        self._settings = settings
        self._tokens = tokens
        self._campaigns: dict[str, Campaign] = {}
        self._renderer: Renderer | None = None

    def html(self, view: Stamped[View]) -> str:
        """The mail's HTML without its open pixel, by the campaign's templates of today; blocks.

        Its links are as old as the mail. Raises NoSuchMailError and MailUnavailableError.
        """
        token = view.token
        try:
            sent = _read(self._settings, token.key)
            renderer = self._current_renderer()
        except WakelineError as error:
            _logger.error("Mails cannot be shown in the browser: %s", error)
            raise MailUnavailableError(str(error)) from error
        if sent is None:
            raise NoSuchMailError(f"There is no send {token.key}.")
        try:
            return renderer.render_view(
                token.campaign,
                token.key,
                sent.contact,
                sent.context,
                lambda other: self._tokens.sign(other, view.made_at_ms),
                sent.variant,
            )
        except (RenderError, ValueError) as error:  # ValueError: the ledger's row has lost its profile.
            # The reason may quote what is known of the person.
            _logger.warning("The mail %s of campaign %s can no longer be rendered.", token.key, token.campaign)
            raise NoSuchMailError(f"The mail {token.key} can no longer be rendered.") from error

    def _current_renderer(self) -> Renderer:
        """Campaigns are edited while the collector runs; templates are compiled again only if one has changed."""
        campaigns = load_campaigns(self._settings.campaigns_dir)
        if self._renderer is None or campaigns != self._campaigns:
            activation, hosts = self._settings.activation, self._settings.link_hosts
            self._renderer = Renderer(campaigns, activation.sender, activation.public_url, _unsigned, hosts)
            self._campaigns = campaigns
        return self._renderer


def _unsigned(token: object) -> str:
    raise AssertionError("Only views are rendered here, and each brings its own way to sign.")


def _read(settings: Settings, key: str) -> _Sent | None:
    database = open_for_reading(settings)
    try:
        row = send_of(database, key)
    finally:
        database.dispose()
    return None if row is None else _Sent(row["contact"], row["context"], row["variant"])
