"""What the collector serves besides taking events: the browser SDK, its own description and its health."""

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from wakeline.collector.intake import Intake

_HERE = Path(__file__).parent
STATIC = _HERE / "static"
SCRIPTS = ("wakeline.js", "loader.js")

#: A page may keep the script for an hour; a new version is out within that time.
_SCRIPT_HEADERS = {
    "Cache-Control": "public, max-age=3600",
    # A script with an integrity hash is loaded by CORS, and it is no secret.
    "Access-Control-Allow-Origin": "*",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "X-Content-Type-Options": "nosniff",
}


@cache
def openapi_document() -> dict[str, Any]:
    """The collector's OpenAPI 3.1 document (https://spec.openapis.org/oas/v3.1.0)."""
    document: dict[str, Any] = yaml.safe_load((_HERE / "openapi.yaml").read_text(encoding="utf-8"))
    return document


def service_routes(intake: Intake, spooled: Callable[[], Mapping[str, object]]) -> list[Route]:
    """Routes that need no write key and take no events; `spooled` is what waits on this machine, as health shows it."""

    def script(request: Request) -> Response:
        """The browser SDK, or the snippet that loads it."""
        path = STATIC / request.url.path.removeprefix("/")
        return FileResponse(path, media_type="text/javascript", headers=_SCRIPT_HEADERS)

    def openapi(request: Request) -> Response:
        """This interface, described."""
        return JSONResponse(openapi_document())

    async def health(request: Request) -> Response:
        """200 while events can be taken as far as known, to the stream or to the spool, else 503 with the reason.

        A collector that refuses for a while, because too much waits, must not be taken out by a load balancer for it.
        """
        failure = intake.failure()
        if failure is None:
            pressure = intake.pressure()
            return JSONResponse({"status": "refusing" if pressure else "ok", **spooled(), **pressure})
        return JSONResponse({"status": "failing", "error": str(failure)}, 503)

    return [
        *(Route(f"/{name}", script, methods=["GET"]) for name in SCRIPTS),
        Route("/openapi.json", openapi, methods=["GET"]),
        Route("/healthz", health, methods=["GET"]),
    ]
