"""The collector's endpoints for events: authorise, read, translate, append, answer.

An endpoint differs from another only in the shape of its body; see `MESSAGE_PATHS` for whose SDK posts where.
"""

import base64
import binascii
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from wakeline.collector.auth import key_of_body, key_of_request
from wakeline.collector.body import read_body
from wakeline.collector.envelope import Batch, parse_batch, parse_message, parse_object
from wakeline.collector.images import GIF
from wakeline.collector.intake import Intake
from wakeline.collector.refused import RefusedError
from wakeline.collector.snowplow import app_ids, parse_snowplow, to_message
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


class Endpoints:
    """The endpoints and what they share; `api_host` is where the settings route sends Segment's browser SDK."""

    def __init__(self, settings: CollectorSettings, sources: Sources, intake: Intake, api_host: str) -> None:
        self._settings = settings
        self._sources = sources
        self._intake = intake
        self._api_host = api_host

    def routes(self) -> list[Route]:
        return [
            *(Route(path, self._batch, methods=["POST"]) for path in BATCH_PATHS),
            *(self._message_route(path.format(kind), kind) for path in MESSAGE_PATHS for kind in MESSAGE_TYPES),
            *(self._message_route(LETTER_PATH.format(kind[0]), kind) for kind in MESSAGE_TYPES),
            *(Route(PIXEL_PATH.format(kind), self._pixel(kind), methods=["GET"]) for kind in MESSAGE_TYPES),
            Route(SNOWPLOW_POST_PATH, self._snowplow_post, methods=["POST"]),
            Route(SNOWPLOW_GET_PATH, self._snowplow_get, methods=["GET"]),
            Route(SETTINGS_PATH, self._segment_settings, methods=["GET"]),
        ]

    def _message_route(self, path: str, message_type: str) -> Route:
        async def endpoint(request: Request) -> Response:
            """One message, of the type that the address says unless it says otherwise."""
            return await self._collect(request, lambda content: parse_message(content, message_type))

        return Route(path, endpoint, methods=["POST"])

    async def _batch(self, request: Request) -> Response:
        """Many messages: `{"batch": [...], "sentAt": ...}`."""
        return await self._collect(request, parse_batch)

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
                await self._append(request, parse_message(content, message_type), source, received_at_ms)
            return Response(GIF, media_type="image/gif", headers={"Cache-Control": "no-store"})

        return endpoint

    async def _snowplow_post(self, request: Request) -> Response:
        """Many Snowplow events."""
        received_at_ms = self._intake.clock()
        self._intake.check()
        content = parse_object(await read_body(request, self._settings.max_batch_bytes))
        batch = parse_snowplow(content, self._settings.snowplow_heartbeat_seconds)
        source = self._one_source(app_ids(content) or {""})
        await self._append(request, batch, source, received_at_ms)
        return PlainTextResponse("ok")

    async def _snowplow_get(self, request: Request) -> Response:
        """One Snowplow event in the query."""
        if request.method == "GET":
            received_at_ms = self._intake.clock()
            self._intake.check()
            event = dict(request.query_params)
            source = self._one_source({event.get("aid", "")})
            message = to_message(event, self._settings.snowplow_heartbeat_seconds)
            await self._append(request, Batch([message], None), source, received_at_ms)
        return Response(GIF, media_type="image/gif", headers={"Cache-Control": "no-store"})

    def _one_source(self, app_ids: set[str]) -> str:
        sources = {self._sources.of_app_id(app_id) for app_id in app_ids}
        if len(sources) > 1:
            raise RefusedError(400, "The events of one request must be of one source.")
        return sources.pop()

    async def _segment_settings(self, request: Request) -> Response:
        """What Segment's browser SDK asks its CDN before it sends anything."""
        write_key = request.path_params["write_key"]
        self._sources.of_key(write_key)
        scheme, _, host = self._api_host.rpartition("://")
        segment = {"apiKey": write_key, "apiHost": f"{host}/v1", "protocol": scheme, "versionSettings": {}}
        return JSONResponse({"integrations": {"Segment.io": segment}, "plan": {}})

    async def _collect(self, request: Request, parse: Callable[[dict[str, Any]], Batch]) -> Response:
        received_at_ms = self._intake.clock()
        key = key_of_request(request)
        if key is not None:
            self._sources.of_key(key)  # Before the body costs anything.
        self._intake.check()
        content = parse_object(await read_body(request, self._settings.max_batch_bytes))
        source = self._sources.of_key(key if key is not None else key_of_body(content))
        await self._append(request, parse(content), source, received_at_ms)
        return JSONResponse({"success": True})

    async def _append(self, request: Request, batch: Batch, source: str, received_at_ms: int) -> None:
        visitor = visitor_of(request, self._settings.trusted_proxies)
        for message in batch.messages:
            describe(message, visitor)
        self._intake.check()  # Again, because slow bodies of many requests may have come in meanwhile.
        await self._intake.accept(batch, source, received_at_ms)


def _decoded(data: str) -> bytes:
    try:
        return base64.b64decode(data.replace("-", "+").replace("_", "/") + "=" * (-len(data) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise RefusedError(400, "The query parameter data is not base64.") from error
