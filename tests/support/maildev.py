"""Mail servers that deliver nothing: MailDev shows what it was sent, and another one speaks STARTTLS."""

import shutil
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from support.brokers import BROKERS, BrokerProcess, started
from support.ports import free_ports
from support.programs import require

MODULES = BROKERS / "mail" / "node_modules"
USER, PASSWORD = "shop", "correct-horse"

_PATIENCE_SECONDS = 20


class Maildev(BrokerProcess):
    """It keeps mails in memory, and wants a user and a password if told so; its ports outlive a restart."""

    name = "maildev"

    def __init__(self, folder: Path, options: Sequence[str] = ()) -> None:
        super().__init__(folder)
        self._options = options
        self.port, self._web_port = free_ports(2)

    def mails(self, to: str) -> list[dict[str, Any]]:
        """What was sent to an address, each with `headers`, `text` and `html`."""
        found = self._get(f"/api/email?to.address={to}")
        return [dict(self._get(f"/api/email/{mail['id']}")) for mail in found]

    def source(self, mail_id: str) -> str:
        """A mail as it came."""
        answer = httpx.get(f"http://127.0.0.1:{self._web_port}/api/email/{mail_id}/source", trust_env=False)
        return answer.raise_for_status().text

    def _get(self, path: str) -> Any:
        return httpx.get(f"http://127.0.0.1:{self._web_port}{path}", trust_env=False).raise_for_status().json()

    def _command(self) -> Sequence[str]:
        ports = ["-s", str(self.port), "-w", str(self._web_port)]
        script = MODULES / "maildev" / "dist" / "bin" / "maildev.js"
        return ["node", str(script), "--ip", "127.0.0.1", "--web-ip", "127.0.0.1", *ports, *self._options]

    def _environment(self) -> Mapping[str, str]:
        return {"TMPDIR": str(self.folder)}

    def _answers(self) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{self._web_port}/api/healthz", trust_env=False).is_success
        except httpx.TransportError:
            return False


class StarttlsServer(BrokerProcess):
    """It wants STARTTLS and the password, and keeps mails as files."""

    name = "smtp-server"

    def __init__(self, folder: Path, certificate: Path, key: Path) -> None:
        super().__init__(folder)
        [self.port] = free_ports(1)
        self._tls = certificate, key

    def sources(self) -> list[bytes]:
        """The mails as they came."""
        return [path.read_bytes() for path in sorted(self.folder.glob("*.eml"))]

    def _command(self) -> Sequence[str]:
        script = MODULES.with_name("starttls.mjs")
        return ["node", str(script), str(self.port), *map(str, self._tls), USER, PASSWORD, str(self.folder)]

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), _PATIENCE_SECONDS) as connection:
                return connection.recv(3) == b"220"
        except OSError:
            return False


@contextmanager
def open_starttls_server(folder: Path, certificate: Path, key: Path) -> Iterator[StarttlsServer]:
    """A server that runs; without it the test is skipped, or fails where brokers are required."""
    require(maildev_missing())
    with started(StarttlsServer(folder, certificate, key)) as server:
        yield server


@contextmanager
def open_maildev(folder: Path, *options: str) -> Iterator[Maildev]:
    """A server that runs; without it the test is skipped, or fails where brokers are required."""
    require(maildev_missing())
    with started(Maildev(folder, options)) as server:
        yield server


def maildev_missing() -> str | None:
    """Why there is no MailDev to be had, if there is none."""
    if shutil.which("node") is None:
        return "Node.js is not installed; MailDev needs it."
    if not (MODULES / "maildev").is_dir():
        return "MailDev is not installed; run 'make brokers'."
    return None
