"""The collector as an ASGI app: the Segment HTTP API, the open pixel and the health check.

https://segment.com/docs/connections/sources/catalog/libraries/server/http-api/
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from uuid import uuid4

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route

from wakeline.clock import Clock
from wakeline.collector.appender import Appender
from wakeline.collector.backpressure import Gate, UnreadGauge
from wakeline.collector.endpoints import Endpoints
from wakeline.collector.pixel import PIXEL_PATH
from wakeline.collector.refused import ANSWERED_ERRORS
from wakeline.errors import ConfigError
from wakeline.settings import Settings, load_secrets
from wakeline.streams.protocol import EventStream

MESSAGE_TYPES = ("track", "page", "screen", "identify", "group", "alias")


def random_id() -> str:
    """A new random message id."""
    return str(uuid4())


def create_app(
    settings: Settings,
    stream: EventStream,
    clock: Clock,
    unread_events: Callable[[], int],
    new_id: Callable[[], str] = random_id,
) -> Starlette:
    """The collector over `stream`, which it closes when it shuts down.

    `unread_events` counts what is in the stream and not processed yet; it may block, and is called about once
    a second in a worker thread. Raises ConfigError when there is no write key.
    """
    if not settings.collector.write_key:
        raise ConfigError("collector.write_key is empty; set it, or read the settings with load_settings.")
    appender = Appender(stream, clock)
    gate = Gate(settings.collector, appender, UnreadGauge(unread_events, clock))
    signing_key = load_secrets(settings.data_dir).signing_key
    endpoints = Endpoints(settings.collector, signing_key, appender, gate, clock, new_id)
    return Starlette(
        routes=_routes(endpoints),
        middleware=_middleware(settings.collector.allowed_origins),
        exception_handlers=ANSWERED_ERRORS,
        lifespan=_lifespan(appender, stream),
    )


def _routes(endpoints: Endpoints) -> list[Route]:
    return [
        Route("/v1/batch", endpoints.batch, methods=["POST"]),
        *(Route(f"/v1/{name}", endpoints.message(name), methods=["POST"]) for name in MESSAGE_TYPES),
        Route(PIXEL_PATH, endpoints.pixel, methods=["GET"]),
        Route("/healthz", endpoints.health, methods=["GET"]),
    ]


def _middleware(allowed_origins: list[str]) -> list[Middleware]:
    if not allowed_origins:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=allowed_origins,
            allow_methods=["POST"],
            allow_headers=["Authorization", "Content-Type", "Content-Encoding"],
            allow_credentials=True,  # The browser SDKs send with credentials.
            expose_headers=["Retry-After"],
        )
    ]


def _lifespan(appender: Appender, stream: EventStream) -> Callable[[Starlette], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        await appender.drain()
        await asyncio.to_thread(stream.close)

    return lifespan
