"""Mails with working links, and the collector that these lead to."""

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from support.clocks import NOW_MS
from support.collecting import Collector
from wakeline.activation.campaigns import load_campaigns
from wakeline.activation.esp.protocol import Mail
from wakeline.activation.links import MailLinks
from wakeline.activation.rendering import Renderer
from wakeline.activation.tokens import Mailed, Tokens
from wakeline.settings import ActivationSettings, load_secrets

ROOT = Path(__file__).parents[2]
CAMPAIGNS = load_campaigns(ROOT / "campaigns")
SENDER = "Wakeline Demo Shop <shop@example.com>"
PUBLIC_URL = "https://events.example.com"
#: Where the links of previews and tests lead.
HOSTS = ("127.0.0.1", "::1", "a.example", "b.example", "shop.example.com", "xn--bcher-kva.example")
KEY = "a1" * 16
ANN = {"profile_id": "user:ann", "email": "ann@example.com", "first_name": "Ann"}
SEND = Mailed(KEY, "abandoned_cart", "user:ann")

CHROME = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36"
)
#: What a person's browser sends with a click.
PERSON = {"User-Agent": CHROME, "Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}


class Hrefs(HTMLParser):
    """The addresses of all links of a document, entities resolved, as a parser of the standard library sees them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if tag in ("a", "area") and name == "href"]


class Postbox(Collector):
    """A collector, and mails whose links lead to it."""

    def __init__(
        self, folder: Path, project_dir: Path = ROOT, options: dict[str, Any] | None = None, **activation: Any
    ) -> None:
        settings = ActivationSettings(
            **{"public_url": PUBLIC_URL, "link_hosts": ["127.0.0.1", "a.example", "shop.example.com"], **activation}
        )
        super().__init__(folder, options or {}, {"activation": settings, "project_dir": project_dir})
        self.tokens = Tokens(load_secrets(folder).signing_key)
        self.renderer = Renderer(CAMPAIGNS, SENDER, PUBLIC_URL, self.sign, HOSTS)
        self.links = MailLinks(PUBLIC_URL, self.sign, SEND, HOSTS)

    def sign(self, token: Mailed) -> str:
        """The token of a mail that is made now."""
        return self.tokens.sign(token, self.clock())

    def mail(self, campaign: str) -> Mail:
        """A mail to Ann, made now."""
        return self.renderer.render(campaign, KEY, ANN, CAMPAIGNS[campaign].preview)

    def later(self, milliseconds: int) -> None:
        """Set the clock so long after the start."""
        self.clock.now_ms = NOW_MS + milliseconds
