"""Ports for servers of tests."""

import random
import socket
from contextlib import ExitStack, suppress

#: Below what systems take for outgoing connections, one of which could take a port before its server starts.
_RANGE = range(15_000, 32_000)


def free_ports(how_many: int) -> list[int]:
    """Ports of loopback that nobody listens on, no two the same."""
    found: list[int] = []
    with ExitStack() as sockets:
        while len(found) < how_many:
            port = random.choice(_RANGE)  # noqa: S311 - no secret
            with suppress(OSError):
                sockets.enter_context(socket.create_server(("127.0.0.1", port)))
                found.append(port)
    return found
