"""A mail as the message that mail servers pass on."""

from email.header import Header
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

from wakeline.activation.addresses import parse_address, parse_mailbox
from wakeline.activation.esp.protocol import Mail
from wakeline.clock import to_datetime

# Folded at the usual 78 a key goes to a line of its own and may be read back with a blank: CPython issue 124452.
# Not every server takes eight bits.
_POLICY = SMTP.clone(max_line_length=998, cte_type="7bit")


def to_bytes(mail: Mail, at_ms: int) -> bytes:
    """The message of a mail, dated `at_ms`, in ASCII and with the line ends of mail.

    Raises ValueError when an address or a header cannot be written as one, as for a line break in it.
    """
    try:
        return bytes(to_message(mail, at_ms))
    except IndexError as error:  # The standard library runs off the end of "<>".
        raise ValueError(str(error)) from error


def to_message(mail: Mail, at_ms: int) -> EmailMessage:
    """The RFC 5322 message of a mail, dated `at_ms`: plain text with an HTML alternative. Raises like `to_bytes`."""
    message = EmailMessage(policy=_POLICY)
    message["From"] = parse_mailbox(mail.sender)
    message["To"] = parse_address(mail.to)
    _set_subject(message, mail.subject)
    message["Date"] = format_datetime(to_datetime(at_ms))
    for name, value in mail.headers.items():
        message[name] = value
    message.set_content(mail.text)
    # MJML's lines are too long for 8bit, and the standard library's quoted-printable takes 5 ms a mail.
    message.add_alternative(mail.html, subtype="html", cte="base64")
    return message


def _set_subject(message: EmailMessage, subject: str) -> None:
    message["Subject"] = subject
    if not subject.isascii():
        # EmailMessage loses spaces between encoded words, or joins the words: CPython issues 92081, 144156.
        del message["Subject"]
        message.set_raw("Subject", Header(subject, "utf-8", header_name="Subject").encode(linesep="\r\n"))
