"""One connection to a mail server, and what is certain when it breaks."""

import re
import smtplib
import socket
import ssl
from contextlib import suppress
from dataclasses import dataclass
from functools import cache

from wakeline.activation.esp.reasons import clean_reason
from wakeline.activation.esp.settings import SmtpEsp

_DONE, _TEMPORARY = 2, 4
_GO_ON_WITH_CONTENT = 354
#: The server ends the connection.
CLOSING = 421
_MAX_TEXT = 300
_LINE_BEGINS_WITH_DOT = re.compile(rb"^\.", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Envelope:
    """Whom a message is from and to, for the server, and the message, with the line ends of mail."""

    sender: str
    recipient: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """The reply that decided: that to the content, or the first refusal."""

    code: int
    text: str
    after_content: bool = False
    is_to_sender: bool = False

    @property
    def is_accepted(self) -> bool:
        """The server has taken the responsibility for the mail (RFC 5321, 4.2.5)."""
        return self.after_content and self.is_positive

    @property
    def is_positive(self) -> bool:
        """What was asked for is done."""
        return self.code // 100 == _DONE

    def __str__(self) -> str:
        return clean_reason(f"{self.code} {self.text}")


class Broken(Exception):  # noqa: N818 - not an error of the program
    """The connection ended; the mail may have been accepted only if all of it had been sent.

    With `settings` it would not be better next time.
    """

    def __init__(self, reason: str, may_be_accepted: bool = False, settings: bool = False) -> None:
        super().__init__(reason)
        self.may_be_accepted = may_be_accepted
        self.settings = settings


class Connection:
    """For one mail at a time."""

    def __init__(self, smtp: smtplib.SMTP) -> None:
        self._smtp = smtp

    def send(self, envelope: Envelope) -> Reply:
        """The deciding reply; after a refusal the connection is ready for the next mail. Raises Broken."""
        end_sent = False
        try:
            refusal = self._refusal(envelope)
            if refusal:
                self._begin_anew()
                return refusal
            self._smtp.send(_transparent(envelope.content))
            # A packet of its own: as long as it has not left, nothing can have been accepted.
            end_sent = True
            self._smtp.send(b".\r\n")
            return _reply(*self._smtp.getreply(), after_content=True)
        except (OSError, ValueError) as error:
            raise Broken(_described(error), may_be_accepted=end_sent) from error

    def quit(self) -> None:
        """Take leave and close; a server that has gone already is no matter."""
        with suppress(OSError):
            self._smtp.quit()
        self.abandon()

    def abandon(self) -> None:
        """Close at once."""
        self._smtp.close()

    def _begin_anew(self) -> None:
        """Forget the refused mail; a connection that does not answer as it should is closed, and found so later."""
        with suppress(OSError):
            if self._smtp.rset()[0] // 100 == _DONE:
                return
        self._smtp.close()

    def _refusal(self, envelope: Envelope) -> Reply | None:
        size = f" SIZE={len(envelope.content)}" if self._smtp.has_extn("size") else ""
        reply = _reply(*self._smtp.docmd("MAIL", f"FROM:<{envelope.sender}>{size}"))
        if not reply.is_positive:
            return Reply(reply.code, reply.text, is_to_sender=True)
        reply = _reply(*self._smtp.docmd("RCPT", f"TO:<{envelope.recipient}>"))
        if not reply.is_positive:
            return reply
        reply = _reply(*self._smtp.docmd("DATA"))
        return None if reply.code == _GO_ON_WITH_CONTENT else reply


def open_connection(section: SmtpEsp, tls: ssl.SSLContext) -> Connection:
    """A connection that is encrypted and logged in as the settings say. Raises Broken with the reason."""
    smtp = _connected(section, tls)
    try:
        if smtp.sock:  # The end of a mail must not wait for the confirmation of what was sent before it.
            smtp.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if section.security == "starttls":
            smtp.starttls(context=tls)
        smtp.ehlo_or_helo_if_needed()
        if section.username:
            smtp.login(section.username, section.password)
    except (OSError, ValueError) as error:
        smtp.close()
        raise _unusable(error) from error
    return Connection(smtp)


def _connected(section: SmtpEsp, tls: ssl.SSLContext) -> smtplib.SMTP:
    where = section.host, section.port, _own_name()
    try:
        if section.security == "tls":
            return smtplib.SMTP_SSL(*where, timeout=section.timeout_seconds, context=tls)
        return smtplib.SMTP(*where, timeout=section.timeout_seconds)
    except (OSError, ValueError) as error:
        raise _unusable(error) from error


@cache
def _own_name() -> str:
    """Looked up once: it asks the name servers."""
    return socket.getfqdn()


def _unusable(error: Exception) -> Broken:
    """Nothing was said of any mail yet. A line that is dead comes back by itself, and so does a server that is busy."""
    if isinstance(error, smtplib.SMTPServerDisconnected):
        return Broken(_described(error))
    if isinstance(error, smtplib.SMTPResponseException):
        return Broken(_described(error), settings=error.smtp_code // 100 != _TEMPORARY)
    wrong = isinstance(error, smtplib.SMTPException | ssl.SSLError | socket.gaierror)
    return Broken(_described(error), settings=wrong)


def _described(error: Exception) -> str:
    if isinstance(error, smtplib.SMTPAuthenticationError):
        return f"the server does not take the user name and password: {_reply(error.smtp_code, error.smtp_error)}"
    if isinstance(error, smtplib.SMTPResponseException):
        return str(_reply(error.smtp_code, error.smtp_error))
    return f"{type(error).__name__}: {error}"[:_MAX_TEXT]


def _reply(code: int, text: bytes | str, after_content: bool = False) -> Reply:
    said = text.decode("ascii", "replace") if isinstance(text, bytes) else text
    return Reply(code, " ".join(said.split())[:_MAX_TEXT], after_content)


def _transparent(content: bytes) -> bytes:
    """The content such that no line of it is the end (RFC 5321, 4.5.2)."""
    dotted = _LINE_BEGINS_WITH_DOT.sub(b"..", content)
    return dotted if dotted.endswith(b"\r\n") else dotted + b"\r\n"
