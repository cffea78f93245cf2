"""Reading .eml files: ours, and whatever else someone puts into the outbox folder."""

from dataclasses import dataclass
from email.errors import MessageError
from email.header import decode_header, make_header
from email.message import EmailMessage, Message
from email.parser import BytesHeaderParser, BytesParser
from email.policy import compat32, default


@dataclass(frozen=True, slots=True)
class Head:
    """One line of the list; `at_ms` is when the file was written, in milliseconds since the epoch."""

    key: str
    at_ms: int
    to: str
    subject: str
    campaign: str


@dataclass(frozen=True, slots=True)
class Letter:
    """A whole mail; a part it does not have is empty."""

    key: str
    headers: list[tuple[str, str]]
    text: str
    html: str

    def header(self, name: str) -> str:
        """The value of a header, empty when there is none."""
        return next((value for found, value in self.headers if found.lower() == name.lower()), "")


def parse_head(key: str, at_ms: int, content: bytes) -> Head:
    """The line of the list for a file that starts with `content`."""
    # The old policy leaves headers as they are, which is ten times faster than parsing each.
    message = BytesHeaderParser(policy=compat32).parsebytes(content)
    to, subject, campaign = (_decoded(message.get(name, "")) for name in ("To", "Subject", "X-Wakeline-Campaign"))
    return Head(key=key, at_ms=at_ms, to=to, subject=subject, campaign=campaign)


def parse_letter(key: str, content: bytes) -> Letter:
    """All of a file; what cannot be decoded is shown as it is."""
    message = BytesParser(EmailMessage, policy=default).parsebytes(content)
    headers: Message = BytesHeaderParser(policy=compat32).parsebytes(content)
    return Letter(
        key=key,
        headers=[(name, _decoded(value)) for name, value in headers.items()],
        text=_part(message, "plain"),
        html=_part(message, "html"),
    )


def _part(message: EmailMessage, subtype: str) -> str:
    part = message.get_body((subtype,))
    if part is None:
        return ""
    try:
        return str(part.get_content())
    except LookupError:  # A character set that Python does not know.
        return str(part.get_payload())


def _decoded(value: object) -> str:
    raw = " ".join(str(value).split())
    if "=?" not in raw:
        return raw
    try:
        return str(make_header(decode_header(raw)))
    except (MessageError, LookupError, ValueError):
        return raw
