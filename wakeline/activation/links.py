"""The addresses that a mail leads to: the collector's endpoints, each with a signed token."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from urllib.parse import urlencode

import httpx

from wakeline.activation.tokens import Click, Confirm, Mailed, Open, OptOut, View

PIXEL_PATH = "/v1/pixel.gif"
CLICK_PATH = "/v1/click"
VIEW_PATH = "/v1/mail"
UNSUBSCRIBE_PATH = "/v1/unsubscribe"
CONFIRM_PATH = "/v1/confirm"
TOKEN_PARAMETER = "t"  # noqa: S105  # A parameter's name.

#: Mail clients and scanners may cut longer addresses; a link must work above all.
MAX_CLICK_CHARACTERS = 4_000

#: Turns what an address says into its token.
Sign = Callable[[Mailed], str]


@dataclass(frozen=True, slots=True)
class MailLinks:
    """The addresses of one mail; `public_url` is the collector as recipients reach it.

    `hosts` are those that the redirect may lead to: a product's address may come from anybody's browser.
    """

    public_url: str
    sign: Sign
    mailed: Mailed
    hosts: Collection[str]

    def open_pixel(self) -> str:
        """The image whose view is an open."""
        return self._address(PIXEL_PATH, self.sign(Open(*self._send)))

    def view(self) -> str:
        """The mail in the browser."""
        return self._address(VIEW_PATH, self.sign(View(*self._send)))

    def click(self, url: str, link_id: str) -> str:
        """The redirect to `url`; the url itself when its host is not ours, or when it is too long for an address."""
        if host_of(url) not in self.hosts:
            return url
        address = self._address(CLICK_PATH, self.sign(Click(*self._send, url, link_id)))
        return url if len(address) > MAX_CLICK_CHARACTERS else address

    def unsubscribe(self, purpose: str) -> str:
        """The page, and the one-click address of RFC 8058, that withdraws the consent to `purpose`."""
        return self._address(UNSUBSCRIBE_PATH, self.sign(OptOut(*self._send, purpose)))

    def confirm(self, purpose: str) -> str:
        """The page that confirms the consent to `purpose`."""
        return self._address(CONFIRM_PATH, self.sign(Confirm(*self._send, purpose)))

    @property
    def _send(self) -> tuple[str, str, str]:
        return self.mailed.key, self.mailed.campaign, self.mailed.profile_id

    def _address(self, path: str, token: str) -> str:
        return f"{self.public_url.rstrip('/')}{path}?{urlencode({TOKEN_PARAMETER: token})}"


def host_of(url: str) -> str:
    """The host of a web address as browsers ask for it, in lower case and ASCII; raises httpx.InvalidURL."""
    return httpx.URL(url).raw_host.decode("ascii").lower()
