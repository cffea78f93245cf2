"""The collector as an ASGI app; `openapi.yaml` describes it from outside."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from uuid import uuid4

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from wakeline.clock import Clock
from wakeline.collector.appender import Appender
from wakeline.collector.backpressure import Gate, UnreadGauge
from wakeline.collector.endpoints import Endpoints
from wakeline.collector.intake import Intake
from wakeline.collector.mail.endpoints import MailEndpoints
from wakeline.collector.refused import ANSWERED_ERRORS
from wakeline.collector.service import service_routes
from wakeline.collector.sources import Sources
from wakeline.collector.webhooks.endpoints import webhook_routes
from wakeline.collector.webhooks.fetching import Fetch, fetch
from wakeline.errors import ConfigError
from wakeline.metrics.collector import CollectorMetrics, CountRequests
from wakeline.settings import Settings, load_secrets
from wakeline.streams.protocol import EventStream
from wakeline.streams.spool import SpooledStream

#: How old the metric of unread events may be.
_COUNT_SECONDS = 5.0


def random_id() -> str:
    """A new random message id."""
    return str(uuid4())


def create_app(
    settings: Settings,
    stream: EventStream,
    clock: Clock,
    unread_events: Callable[[], int],
    new_id: Callable[[], str] = random_id,
    fetch: Fetch = fetch,
    metrics: CollectorMetrics | None = None,
) -> Starlette:
    """The collector over `stream`, which it closes when it shuts down.

    `unread_events` counts what is in the stream and not processed yet; it may block, and is called about once
    a second in a worker thread. `fetch` gets what webhooks need from their provider. Raises ConfigError when there is
    no write key, or when a webhook's settings are wrong.
    """
    if not settings.collector.write_key:
        raise ConfigError("collector.write_key is empty; set it, or read the settings with load_settings.")
    metrics = metrics or CollectorMetrics()
    appender = Appender(stream, clock, metrics.append_seconds.observe)
    unread = UnreadGauge(unread_events, clock)
    gate = Gate(settings.collector, appender, unread, metrics.pushed_back)
    _watch(metrics, gate, unread, stream)
    secrets = load_secrets(settings.data_dir)
    sources = Sources(settings, secrets.heartbeat_key)
    intake = Intake(appender, gate, clock, new_id, metrics)
    routes = [
        *Endpoints(settings.collector, sources, intake, settings.activation.public_url).routes(),
        *MailEndpoints(settings, secrets.signing_key, intake).routes(),
        *webhook_routes(settings, intake, fetch),
        *service_routes(intake, stream.spooled if isinstance(stream, SpooledStream) else dict),
    ]
    return Starlette(
        routes=routes,
        middleware=[
            Middleware(CountRequests, metrics=metrics, routes=routes),
            *_middleware(settings.collector.allowed_origins),
        ],
        exception_handlers=ANSWERED_ERRORS,
        lifespan=_lifespan(appender, stream, unread),
    )


def _watch(metrics: CollectorMetrics, gate: Gate, unread: UnreadGauge, stream: EventStream) -> None:
    metrics.watch("unread_events", "Events not processed yet, as back-pressure counts them.", lambda: unread.latest)
    metrics.watch("pending_bytes", "Bytes of bodies being read and of events that wait.", lambda: gate.pending_bytes)
    if isinstance(stream, SpooledStream):
        metrics.watch("spool_events", "Events that wait on disk for the broker.", lambda: stream.spool_events)
        metrics.watch("spool_bytes", "Bytes that wait on disk for the broker.", lambda: stream.spool_bytes)


def _middleware(allowed_origins: list[str]) -> list[Middleware]:
    if not allowed_origins:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=allowed_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["*"],  # Each SDK has headers of its own.
            allow_credentials=True,  # The browser SDKs send with credentials.
            expose_headers=["Retry-After"],
        )
    ]


async def _count_on(unread: UnreadGauge) -> None:
    """While no request comes, nobody else counts."""
    while True:
        unread.count()
        await asyncio.sleep(_COUNT_SECONDS)


def _lifespan(
    appender: Appender, stream: EventStream, unread: UnreadGauge
) -> Callable[[Starlette], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        counting = asyncio.create_task(_count_on(unread))
        yield
        counting.cancel()
        await appender.drain()
        await asyncio.to_thread(stream.close)

    return lifespan
