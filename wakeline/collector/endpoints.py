"""What each address of the collector does with a request."""

from collections.abc import Awaitable, Callable
from contextlib import suppress

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from wakeline.clock import Clock, to_iso
from wakeline.collector.appender import Appender
from wakeline.collector.auth import check_write_key
from wakeline.collector.backpressure import Gate
from wakeline.collector.body import read_body
from wakeline.collector.envelope import Batch, parse_batch, parse_message, to_events
from wakeline.collector.pixel import GIF, TOKEN_PARAMETER, Open, opened_message, read_open
from wakeline.errors import StreamError
from wakeline.settings import CollectorSettings

# Name of the only source there is; it stands in every event, so it must not be the write key.
SOURCE = "default"

Endpoint = Callable[[Request], Awaitable[Response]]


class Endpoints:
    """The endpoints and what they share; `new_id` makes the ids of messages that come without one."""

    def __init__(
        self,
        settings: CollectorSettings,
        signing_key: str,
        appender: Appender,
        gate: Gate,
        clock: Clock,
        new_id: Callable[[], str],
    ) -> None:
        self._settings = settings
        self._signing_key = signing_key
        self._appender = appender
        self._gate = gate
        self._clock = clock
        self._new_id = new_id

    async def batch(self, request: Request) -> Response:
        """Many messages: `{"batch": [...], "sentAt": ...}`."""
        return await self._collect(request, parse_batch)

    def message(self, message_type: str) -> Endpoint:
        """An endpoint for one message of this type."""

        async def endpoint(request: Request) -> Response:
            return await self._collect(request, lambda body: parse_message(body, message_type))

        return endpoint

    async def pixel(self, request: Request) -> Response:
        """The image, whatever the token; a GET with one of ours is an open."""
        opened = read_open(self._signing_key, request.query_params.get(TOKEN_PARAMETER, ""))
        if opened is not None and request.method == "GET":
            # The image must not break in the mail; the appender has logged that the open is lost.
            with suppress(StreamError):
                await self._append_open(opened, request.headers.get("user-agent"))
        return Response(GIF, media_type="image/gif", headers={"Cache-Control": "no-store"})

    async def health(self, request: Request) -> Response:
        """200 while events can be appended as far as known, else 503 with the reason."""
        failure = self._appender.failure()
        if failure is None:
            return JSONResponse({"status": "ok"})
        return JSONResponse({"status": "failing", "error": str(failure)}, 503)

    async def _collect(self, request: Request, parse: Callable[[bytes], Batch]) -> Response:
        received_at_ms = self._clock()
        check_write_key(request.headers.get("authorization"), self._settings.write_key)
        self._gate.check()
        batch = parse(await read_body(request, self._settings.max_batch_bytes))
        self._gate.check()  # Again, because slow bodies of many requests may have come in meanwhile.
        await self._append(batch, received_at_ms)
        return JSONResponse({"success": True})

    async def _append_open(self, opened: Open, user_agent: str | None) -> None:
        # Past the gate: nobody sends an open again when it is refused.
        now_ms = self._clock()
        message = opened_message(opened, user_agent, now_ms, self._new_id())
        await self._append(Batch([message], to_iso(now_ms)), now_ms)

    async def _append(self, batch: Batch, received_at_ms: int) -> None:
        if batch.messages:
            await self._appender.append(to_events(batch, received_at_ms, SOURCE, self._new_id))
