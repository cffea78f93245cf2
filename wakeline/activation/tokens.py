"""What the addresses in a mail carry: sealed tokens, each for one purpose.

A token is authentic, and nobody but us can read it: profile ids are often e-mail addresses, and proxies log the
addresses of links. AES-SIV (https://www.rfc-editor.org/rfc/rfc5297) makes the same token of the same content, so a mail
rendered again is the same mail. Its associated data is the purpose: a token for one is worth nothing for another.
"""

import base64
import binascii
import hashlib
from dataclasses import astuple, dataclass
from typing import Generic, TypeVar

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from wakeline.events import subject_fields

#: Common servers take a request line of 8,000 bytes. The longest ids that an event may have fit in.
MAX_TOKEN_CHARACTERS = 8_000


@dataclass(frozen=True, slots=True)
class Mailed:
    """The send that a token belongs to: its key, and `profile_id` as user:ID, anonymous:ID or email:ADDRESS."""

    key: str
    campaign: str
    profile_id: str


@dataclass(frozen=True, slots=True)
class Open(Mailed):
    """The open pixel of a mail."""


@dataclass(frozen=True, slots=True)
class View(Mailed):
    """A mail, to be shown in the browser."""


@dataclass(frozen=True, slots=True)
class Click(Mailed):
    """A link of a mail, and where it leads."""

    url: str
    link_id: str


@dataclass(frozen=True, slots=True)
class OptOut(Mailed):
    """The right to withdraw a consent: whoever has the mail may."""

    purpose: str


@dataclass(frozen=True, slots=True)
class Confirm(Mailed):
    """The right to confirm a consent: whoever has the mail reads at its address."""

    purpose: str


_PURPOSES: dict[type[Mailed], bytes] = {
    Open: b"mail-open",
    View: b"mail-view",
    Click: b"mail-click",
    OptOut: b"mail-opt-out",
    Confirm: b"mail-confirm",
}
T = TypeVar("T", bound=Mailed)


@dataclass(frozen=True, slots=True)
class Stamped(Generic[T]):
    """A token that is ours, and when its mail was made, in epoch milliseconds."""

    token: T
    made_at_ms: int

    def age_ms(self, now_ms: int) -> int:
        """How old the mail is; less than nothing when the clocks of two machines differ."""
        return now_ms - self.made_at_ms


class Tokens:
    """Seals and reads tokens; safe to use from several threads.

    Those of test mails are another kind: whoever reads real tokens knows none of them, and the other way round.
    """

    def __init__(self, secret: str, *, test: bool = False) -> None:
        context = "test mail tokens" if test else "mail tokens"
        self._cipher = AESSIV(hashlib.sha512(f"{context} {secret}".encode()).digest())

    def sign(self, token: Mailed, made_at_ms: int) -> str:
        """The token as text that needs no escaping in an address.

        Raises ValueError when the profile id is none.
        """
        subject_fields(token.profile_id)
        sealed = self._cipher.encrypt(orjson.dumps([made_at_ms, *astuple(token)]), [_PURPOSES[type(token)]])
        return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode("ascii")

    def read(self, kind: type[T], text: str) -> Stamped[T] | None:
        """What a token of this kind says; None when it is not one of ours."""
        if len(text) > MAX_TOKEN_CHARACTERS or not text.isascii():
            return None
        try:
            sealed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
            made_at_ms, *fields = orjson.loads(self._cipher.decrypt(sealed, [_PURPOSES[kind]]))
            return Stamped(kind(*fields), made_at_ms)
        except (binascii.Error, InvalidTag, TypeError):  # TypeError: made by a version with other fields.
            return None
