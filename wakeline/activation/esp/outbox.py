"""The default ESP: every mail becomes an .eml file that the outbox page shows and any mail client opens."""

import os
import re
import tempfile
from email.header import Header
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from math import inf
from pathlib import Path

from wakeline.activation.addresses import parse_address, parse_mailbox
from wakeline.activation.esp.protocol import Accepted, Mail, Outcome, Rejected, TryLater
from wakeline.clock import Clock, to_datetime

#: A mail's key names its file; hex cannot lead out of the folder.
KEY = re.compile(r"[0-9a-f]{1,128}")
RETRY_SECONDS = 5.0
# Folded at the usual 78 a key goes to a line of its own and may be read back with a blank: CPython issue 124452.
_POLICY = SMTP.clone(max_line_length=998)


class OutboxEsp:
    """Writes each mail once, whole and durably, to `folder/KEY.eml`; processes may share the folder."""

    name = "outbox"
    # A file stays until somebody deletes it.
    idempotency_key_seconds = inf

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock

    def send(self, mail: Mail) -> Outcome:
        """Accepted under the mail's own key once the file is on disk; a second send of a key changes nothing.

        Rejected when the key is not hex or a header cannot be written, TryLater when the disk refuses.
        """
        if not KEY.fullmatch(mail.key):
            return Rejected(f"the key {mail.key!r} is not hex")
        try:
            self._write_once(mail.key, bytes(to_message(mail, self._clock())))
        except (ValueError, IndexError) as error:  # The standard library runs off the end of "<>".
            return Rejected(f"no valid message can be written: {error}")
        except OSError as error:
            return TryLater(RETRY_SECONDS, f"{self._folder} cannot be written: {error.strerror}")
        return Accepted(mail.key)

    def close(self) -> None:
        """There is nothing to let go of."""

    def _write_once(self, key: str, content: bytes) -> None:
        path = self._folder / f"{key}.eml"
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            draft = self._write_draft(key, content)
            try:
                os.link(draft, path)
            except FileExistsError:
                pass  # Another thread or process was first; its mail stays.
            finally:
                draft.unlink()
        _sync_folder(self._folder)

    def _write_draft(self, key: str, content: bytes) -> Path:
        handle, name = tempfile.mkstemp(prefix=f".{key}.", suffix=".draft", dir=self._folder)
        draft = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            draft.unlink()
            raise
        return draft


def to_message(mail: Mail, at_ms: int) -> EmailMessage:
    """The RFC 5322 message of a mail, dated `at_ms`: plain text with an HTML alternative.

    Raises ValueError when an address or a header cannot be written as one, as for a line break in it.
    """
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


def _sync_folder(folder: Path) -> None:
    """Make the new name as durable as the file: a mail answered as accepted must survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
