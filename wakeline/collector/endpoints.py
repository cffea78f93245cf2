"""The collector's endpoints for events: authorise, read, translate, append, answer.

An endpoint differs from another only in the shape of its body; see `MESSAGE_PATHS` for whose SDK posts where.
"""

import base64
import binascii
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from wakeline.collector.auth import key_of_body, key_of_request
from wakeline.collector.body import read_body
from wakeline.collector.envelope import Batch, parse_batch, parse_message, parse_object
from wakeline.collector.images import GIF
from wakeline.collector.intake import Intake, Sourced
from wakeline.collector.refused import RefusedError
from wakeline.collector.snowplow import app_id, by_source, parse_snowplow
from wakeline.collector.sources import Sources
from wakeline.collector.visitor import describe, visitor_of
from wakeline.settings import CollectorSettings

Endpoint = Callable[[Request], Awaitable[Response]]

MESSAGE_TYPES = ("track", "page", "screen", "identify", "group", "alias")
#: Segment's and RudderStack's SDKs, then Segment's browser SDK, then RudderStack's browser SDK at page close.
BATCH_PATHS = ("/v1/batch", "/v1/import", "/v1/b", "/beacon/v1/batch")
#: One message each; `{}` is its type: Segment and RudderStack, then Jitsu from browsers and from servers.
MESSAGE_PATHS = ("/v1/{}", "/api/s/{}", "/api/s/s2s/{}")
#: Segment's browser SDK says the type in one letter.
LETTER_PATH = "/v1/{}"
PIXEL_PATH = "/v1/pixel/{}"
SNOWPLOW_POST_PATH = "/com.snowplowanalytics.snowplow/tp2"
SNOWPLOW_GET_PATH = "/i"
SETTINGS_PATH = "/v1/projects/{write_key}/settings"
#: Segment's browser SDK tells how it fares.
METRICS_PATH = "/v1/m"
#: RudderStack's browser SDK asks what to do.
SOURCE_CONFIG_PATH = "/sourceConfig/"


class Endpoints:
    """The endpoints and what they share; `api_host` is where the settings route sends Segment's browser SDK."""

    def __init__(self, settings: CollectorSettings, sources: Sources, intake: Intake, api_host: str) -> None:
        self._settings = settings
        self._sources = sources
        self._intake = intake
        self._api_host = api_host.rstrip("/")

    def routes(self) -> list[Route]:
        return [
            *(Route(path, self._batch, methods=["POST"]) for path in BATCH_PATHS),
            *(self._message_route(path.format(kind), kind) for path in MESSAGE_PATHS for kind in MESSAGE_TYPES),
            *(self._message_route(LETTER_PATH.format(kind[0]), kind) for kind in MESSAGE_TYPES),
            *(Route(PIXEL_PATH.format(kind), self._pixel(kind), methods=["GET"]) for kind in MESSAGE_TYPES),
            Route(SNOWPLOW_POST_PATH, self._snowplow_post, methods=["POST"]),
            Route(SNOWPLOW_GET_PATH, self._snowplow_get, methods=["GET"]),
            Route(SETTINGS_PATH, self._segment_settings, methods=["GET"]),
            Route(METRICS_PATH, self._segment_metrics, methods=["POST"]),
            Route(SOURCE_CONFIG_PATH, self._rudder_config, methods=["GET"]),
        ]

    def _message_route(self, path: str, message_type: str) -> Route:
        async def endpoint(request: Request) -> Response:
            """One message, of the type that the address says unless it says otherwise."""
            return await self._collect(request, lambda content: parse_message(content, message_type))

        return Route(path, endpoint, methods=["POST"])

    async def _batch(self, request: Request) -> Response:
        """Many messages: `{"batch": [...], "sentAt": ...}`."""
        return await self._collect(request, lambda content: parse_batch(content, self._settings.max_batch_bytes))

    def _pixel(self, message_type: str) -> Endpoint:
        async def endpoint(request: Request) -> Response:
            """A message as base64 in the address of an image, for pages without a script.

            https://segment.com/docs/connections/sources/catalog/libraries/server/pixel-tracking-api/
            """
            if request.method == "GET":
                received_at_ms = self._intake.clock()
                self._intake.check()
                content = parse_object(_decoded(request.query_params.get("data", "")))
                source = self._sources.of_key(key_of_request(request) or key_of_body(content))
                await self._take(request, [(parse_message(content, message_type), source)], received_at_ms)
            return Response(GIF, media_type="image/gif", headers={"Cache-Control": "no-store"})

        return endpoint

    async def _snowplow_post(self, request: Request) -> Response:
        """Many Snowplow events."""
        received_at_ms = self._intake.clock()
        self._intake.check()
        await self._take(request, self._snowplow_batches(await self._body(request)), received_at_ms)
        return PlainTextResponse("ok")

    def _snowplow_batches(self, body: bytes) -> list[Sourced]:
        return self._by_app_id(parse_snowplow(parse_object(body)))

    def _by_app_id(self, events: Sequence[Any]) -> list[Sourced]:
        sources = self._sources.of_app_ids([app_id(event) for event in events])
        return by_source(events, sources, self._settings.snowplow_heartbeat_seconds)

    async def _snowplow_get(self, request: Request) -> Response:
        """One Snowplow event in the query."""
        if request.method == "GET":
            received_at_ms = self._intake.clock()
            self._intake.check()
            await self._take(request, self._by_app_id([dict(request.query_params)]), received_at_ms)
        return Response(GIF, media_type="image/gif", headers={"Cache-Control": "no-store"})

    async def _segment_settings(self, request: Request) -> Response:
        """What Segment's browser SDK asks its CDN before it sends anything."""
        write_key = request.path_params["write_key"]
        self._sources.of_key(write_key)
        scheme, _, host = self._api_host.rpartition("://")
        segment = {"apiKey": write_key, "apiHost": f"{host}/v1", "protocol": scheme, "versionSettings": {}}
        # Browsers would else tell Segment's own host how they fare.
        return JSONResponse({"integrations": {"Segment.io": segment}, "plan": {}, "metrics": {"sampleRate": 0}})

    async def _segment_metrics(self, request: Request) -> Response:
        """For pages that ask for metrics all the same: nothing of it is kept."""
        return JSONResponse({"success": True})

    async def _rudder_config(self, request: Request) -> Response:
        """What RudderStack's browser SDK asks before it sends anything: a source with nothing for the page to do."""
        name = self._sources.of_key(key_of_request(request))
        source = {"id": name, "name": name, "workspaceId": "", "enabled": True, "config": {}, "destinations": []}
        return JSONResponse({"source": source})

    async def _collect(self, request: Request, parse: Callable[[dict[str, Any]], Batch]) -> Response:
        received_at_ms = self._intake.clock()
        key = key_of_request(request)
        if key is not None:
            self._sources.of_key(key)  # Before the body costs anything.
        self._intake.check()
        await self._take(request, self._parsed(await self._body(request), key, parse), received_at_ms)
        return JSONResponse({"success": True})

    async def _body(self, request: Request) -> bytes:
        with self._intake.reading() as hold:
            return await read_body(request, self._settings.max_batch_bytes, hold)

    def _parsed(self, body: bytes, key: str | None, parse: Callable[[dict[str, Any]], Batch]) -> list[Sourced]:
        content = parse_object(body)
        source = self._sources.of_key(key if key is not None else key_of_body(content))
        return [(parse(content), source)]

    # Not a coroutine: one would keep the body and the messages until they are durable, and nobody counts those.
    def _take(self, request: Request, batches: Sequence[Sourced], received_at_ms: int) -> Awaitable[None]:
        visitor = visitor_of(request, self._settings.trusted_proxies)
        for batch, _ in batches:
            for message in batch.messages:
                describe(message, visitor)
        return self._intake.take(batches, received_at_ms)


def _decoded(data: str) -> bytes:
    data = data.replace(" ", "+")  # A plus sign that was not encoded for the query.
    try:
        return base64.b64decode(data.replace("-", "+").replace("_", "/") + "=" * (-len(data) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise RefusedError(400, "The query parameter data is not base64.") from error
