"""`ministack`: an imitation of some of AWS in Python, with the services that a test asks for."""

import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import httpx

from support.brokers import BrokerProcess
from support.ports import free_ports
from support.programs import require

REGION = "us-east-1"
#: No imitation checks them, and nothing of the machine's own is ever sent to one.
CREDENTIALS = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}


class AwsServer(BrokerProcess):
    """An imitation of AWS, which tells at the address `_health` that it is there."""

    _health: str

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        # The second one is for listeners that cannot be turned off.
        self._port, self._other_port = free_ports(2)

    @property
    def endpoint_url(self) -> str:
        """Where it answers, also after a restart."""
        return f"http://127.0.0.1:{self._port}"

    def _answers(self) -> bool:
        try:
            return httpx.get(self.endpoint_url + self._health, trust_env=False).is_success
        except httpx.TransportError:
            return False


class MinistackProcess(AwsServer):
    """The server with one service: its state survives `stop`, and not `kill`."""

    name = "ministack"
    _health = "/_ministack/health"

    def __init__(self, folder: Path, services: str) -> None:
        super().__init__(folder)
        self._services = services

    def _command(self) -> Sequence[str]:
        return [sys.executable, "-m", "ministack"]

    def _environment(self) -> Mapping[str, str]:
        return {
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(self._port),
            "SERVICES": self._services,
            "SFTP_ENABLED": "0",
            "IOT_MTLS_ENABLED": "0",
            "LOG_LEVEL": "WARNING",
            "MINISTACK_REGION": REGION,
            "PERSIST_STATE": "1",
            "STATE_DIR": str(self.folder / "state"),
            "TMPDIR": str(self.folder),
        }


def require_ministack() -> None:
    """Skip the test where it is not installed, or fail it where brokers are required."""
    require(None if find_spec("ministack") else "ministack is not installed; run 'make install'.")
