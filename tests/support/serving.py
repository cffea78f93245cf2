"""The collector on a real port, as clients in other processes and browsers reach it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

from support.stack import await_that
from wakeline.clock import Clock, system_clock
from wakeline.collector.app import create_app
from wakeline.settings import Settings
from wakeline.streams.factory import open_stream

_START_SECONDS = 20
_STOP_SECONDS = 20


@contextmanager
def serving(app: ASGIApp, port: int = 0) -> Iterator[str]:
    """The address of an app that is served in a thread, on any free port unless one is given.

    At the end it is stopped and has drained.
    """
    config = uvicorn.Config(app, port=port, log_config=None, lifespan="on", timeout_graceful_shutdown=2)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="server")
    thread.start()
    try:
        await_that("the server has started", lambda: server.started, _START_SECONDS)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(_STOP_SECONDS)
        assert not thread.is_alive()


@contextmanager
def collecting(settings: Settings, clock: Clock = system_clock) -> Iterator[str]:
    """The address of a collector on the port and over the stream of the settings."""
    app = create_app(settings, open_stream(settings, clock), clock, lambda: 0)
    with serving(app, settings.collector.port) as address:
        yield address
