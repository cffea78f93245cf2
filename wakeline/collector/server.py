"""Runs the collector's server process."""

import logging
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress

import uvicorn

from wakeline.clock import system_clock
from wakeline.collector.app import create_app
from wakeline.collector.connection import Connection
from wakeline.errors import WakelineError
from wakeline.metrics.collector import CollectorMetrics
from wakeline.metrics.serving import serving
from wakeline.metrics.settings import MetricsSettings
from wakeline.settings import CollectorSettings, Settings
from wakeline.streams.factory import open_collector_stream

# Longer than the 60 s after which load balancers drop idle connections: the collector must not be the one
# that closes a connection just as a request comes in.
KEEP_ALIVE_SECONDS = 75

# Connections that wait to be accepted.
BACKLOG = 2048

# Requests in flight get this long to finish at a stop; a supervisor's own patience must be longer.
STOP_SECONDS = 8

_logger = logging.getLogger(__name__)


def serve(settings: Settings, unread_events: Callable[[], int]) -> None:
    """Serve until SIGTERM or SIGINT; then finish the requests in flight and close the stream.

    SIGTERM then ends the process, as uvicorn raises it again; after SIGINT this returns.
    `unread_events` is as for `create_app`. Raises WakelineError when the address is taken or the stream
    cannot be opened.
    """
    metrics = CollectorMetrics()
    with _listen(settings.collector) as listener, _serving(metrics, settings.metrics):
        stream = open_collector_stream(settings, system_clock)
        app = create_app(settings, stream, system_clock, unread_events, metrics=metrics)
        config = uvicorn.Config(
            app,
            loop="uvloop",
            http=Connection,
            ws="none",
            lifespan="on",
            access_log=False,  # Addresses carry tokens of persons.
            log_config=None,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=settings.collector.max_connections,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=STOP_SECONDS,
        )
        _logger.info("The collector listens on %s:%d.", *listener.getsockname()[:2])
        with suppress(KeyboardInterrupt):  # Raised again by uvicorn once it has stopped.
            uvicorn.Server(config).run(sockets=[listener])


def _serving(metrics: CollectorMetrics, settings: MetricsSettings) -> AbstractContextManager[None]:
    if not settings.collector_port:
        return nullcontext()
    return serving(metrics.registry, settings.host, settings.collector_port, "metrics.collector_port")


def _listen(settings: CollectorSettings) -> socket.socket:
    # Not socket.create_server, whose error says the address twice.
    listener = socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((settings.host, settings.port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise WakelineError(
            f"The collector cannot listen on {settings.host}:{settings.port} ({error.strerror}); "
            "stop what uses it, or change collector.port or collector.host."
        ) from error
    return listener
