"""Any mail server, over SMTP.

Replies: https://www.rfc-editor.org/rfc/rfc5321#section-4.2, https://www.rfc-editor.org/rfc/rfc3463
"""

import re
import ssl
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

from wakeline.activation.addresses import parse_address, parse_mailbox
from wakeline.activation.esp.message import to_bytes
from wakeline.activation.esp.protocol import Accepted, Mail, Outcome, Rejected, TryLater, Unknown
from wakeline.activation.esp.settings import SmtpEsp
from wakeline.activation.esp.smtp_connection import CLOSING, Broken, Connection, Envelope, Reply, open_connection
from wakeline.clock import Clock
from wakeline.errors import ConfigError

_LATER_SECONDS = 5.0
#: What a server means by "later" is usually minutes: greylisting, a full mailbox.
_REFUSED_SECONDS = 60.0
#: Somebody has to look at the settings or at the account first.
_SETTINGS_SECONDS = 60.0
#: RFC 5321, 4.5.3.2.7, has servers wait for five minutes; many wait for less.
_MOST_IDLE_SECONDS = 60.0
#: Some servers take no more over one connection.
_MOST_MAILS = 100

_TEMPORARY, _PERMANENT = 4, 5
#: Refusals that the next mail would get as well: no such command, encryption or credentials missing or wrong.
_WRONG_SETTINGS = frozenset({500, 501, 502, 503, 504, 530, 534, 535, 538})
_NOT_ABOUT_THE_MAIL = re.compile(r"not verified|relay|authenticat|paused|suspended", re.IGNORECASE)
_NOT_AUTHORIZED = re.compile(r"5\.7\.\d+\b")
_TOO_LARGE = 552


@dataclass(slots=True)
class _Kept:
    connection: Connection
    mails: int = 0
    used_at: float = 0.0


class Smtp:
    """Hands each mail over on a connection of its own, which is kept for the next one.

    Safe to use from several threads; `monotonic` is in seconds. Raises ConfigError when `ca_file` cannot be read.
    """

    idempotency_key_seconds = 0.0

    def __init__(self, name: str, section: SmtpEsp, clock: Clock, monotonic: Callable[[], float]) -> None:
        self.name = name
        self._section = section
        self._tls = _tls(name, section)
        self._clock = clock
        self._monotonic = monotonic
        self._idle: deque[_Kept] = deque()
        self._lock = Lock()

    def send(self, mail: Mail) -> Outcome:
        """What the server's reply means, or what is certain of the mail without one."""
        try:
            envelope = _envelope(mail, self._clock())
        except ValueError as error:
            return Rejected(f"no valid message can be written: {error}")
        kept = self._idle_one()
        if kept:
            outcome = self._hand_over(kept, envelope)
            if outcome is not None:
                return outcome
        # The server had given the connection up, before it was told of the mail's content.
        return self._on_a_new_one(envelope)

    def close(self) -> None:
        """Take leave of the server."""
        while kept := self._idle_one():
            kept.connection.quit()

    def _on_a_new_one(self, envelope: Envelope) -> Outcome:
        try:
            kept = _Kept(open_connection(self._section, self._tls))
        except Broken as error:
            return TryLater(_SETTINGS_SECONDS if error.settings else _LATER_SECONDS, self._reason(error))
        outcome = self._hand_over(kept, envelope)
        return outcome or TryLater(_LATER_SECONDS, "the server closed the connection before it took the mail")

    def _hand_over(self, kept: _Kept, envelope: Envelope) -> Outcome | None:
        """The outcome; None when the connection ended before anything of the mail could be accepted."""
        try:
            reply = kept.connection.send(envelope)
        except Broken as error:
            kept.connection.abandon()
            return Unknown(f"the answer was lost: {error}") if error.may_be_accepted else None
        if reply.code == CLOSING:
            kept.connection.abandon()
            return None if not reply.after_content else TryLater(_REFUSED_SECONDS, str(reply))
        self._keep(kept)
        return self._outcome(reply)

    def _outcome(self, reply: Reply) -> Outcome:
        if reply.is_accepted:
            return Accepted(reply.text)
        if reply.code // 100 == _TEMPORARY:
            return TryLater(_REFUSED_SECONDS, str(reply))
        if reply.after_content and reply.code // 100 != _PERMANENT:
            return Unknown(f"the answer cannot be read: {reply}")
        if reply.code // 100 == _PERMANENT and not _is_about_settings(reply):
            return Rejected(str(reply))
        return TryLater(_SETTINGS_SECONDS, f"look at the settings esp.{self.name} and at the account: {reply}")

    def _reason(self, error: Broken) -> str:
        return f"look at the settings esp.{self.name}: {error}" if error.settings else f"not reached: {error}"

    def _idle_one(self) -> _Kept | None:
        """The connection used last; those that have been idle for long are closed."""
        with self._lock:
            kept = self._idle.pop() if self._idle else None
        if kept and self._monotonic() - kept.used_at > _MOST_IDLE_SECONDS:
            kept.connection.abandon()
            return self._idle_one()
        return kept

    def _keep(self, kept: _Kept) -> None:
        kept.mails += 1
        kept.used_at = self._monotonic()
        if kept.mails >= _MOST_MAILS:
            kept.connection.quit()
            return
        with self._lock:
            self._idle.append(kept)


def _tls(name: str, section: SmtpEsp) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=section.ca_file)
    except OSError as error:  # An ssl.SSLError is one.
        raise ConfigError(
            f"esp.{name}.ca_file: {section.ca_file} holds no certificates that can be read ({error})."
        ) from error


def _envelope(mail: Mail, at_ms: int) -> Envelope:
    return Envelope(parse_mailbox(mail.sender).addr_spec, parse_address(mail.to).addr_spec, to_bytes(mail, at_ms))


def _is_about_settings(reply: Reply) -> bool:
    """Whether all mails would be refused until somebody mends something: then none may be lost.

    The sender is a setting; of the recipient and the content only a refusal to relay or to serve us is.
    """
    if reply.code in _WRONG_SETTINGS or _NOT_ABOUT_THE_MAIL.search(reply.text):
        return True
    if reply.after_content:
        return False
    return (reply.is_to_sender and reply.code != _TOO_LARGE) or bool(_NOT_AUTHORIZED.match(reply.text))
