"""Serves the pages on the address of the settings."""

import socket

import uvicorn

from wakeline.clock import system_clock
from wakeline.errors import WakelineError
from wakeline.pages.app import create_app
from wakeline.settings import Settings


def serve(settings: Settings, notice: str) -> None:
    """Serve outbox and demo shop until the process is stopped.

    Raises WakelineError when the address cannot be listened on.
    """
    app = create_app(settings, system_clock, notice)
    with _listen(settings.pages.host, settings.pages.port) as listener:
        config = uvicorn.Config(app, access_log=False, log_level="warning", lifespan="off")
        uvicorn.Server(config).run(sockets=[listener])


def _listen(host: str, port: int) -> socket.socket:
    # Bound here because uvicorn would log the error and leave the process with its own exit code.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        reason = str(error.strerror).partition(" (")[0]  # What follows repeats the address.
        raise WakelineError(
            f"The pages cannot listen on {host} port {port} ({reason}); "
            "stop what uses it or set pages.port (or pages.host) to another."
        ) from error
