"""The default ESP: every mail becomes an .eml file that the outbox page shows and any mail client opens."""

import os
import re
import tempfile
from math import inf
from pathlib import Path

from wakeline.activation.esp.message import to_bytes
from wakeline.activation.esp.protocol import Accepted, Mail, Outcome, Rejected, TryLater
from wakeline.clock import Clock
from wakeline.durable import sync

#: A mail's key names its file; hex cannot lead out of the folder.
KEY = re.compile(r"[0-9a-f]{1,128}")
RETRY_SECONDS = 5.0


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
            self._write_once(mail.key, to_bytes(mail, self._clock()))
        except ValueError as error:
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
        sync(self._folder)  # The new name as well: a mail answered as accepted must survive a power cut.

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
