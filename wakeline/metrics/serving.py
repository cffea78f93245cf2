"""Serves a registry to Prometheus from a thread of its own."""

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, disable_created_metrics, start_http_server

from wakeline.errors import WakelineError


@contextmanager
def serving(registry: CollectorRegistry, host: str, port: int, setting: str) -> Iterator[None]:
    """`/metrics` meanwhile. Raises WakelineError naming the setting when the address is taken."""
    disable_created_metrics()  # type: ignore[no-untyped-call]  # Twice the series for what nobody asks.
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        raise WakelineError(
            f"Metrics cannot be served on {host}:{port} ({error.strerror}); stop what uses it, or change {setting}."
        ) from error
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
