"""The local web application: the outbox page at `/` and the demo shop at `/shop`."""

from pathlib import Path
from urllib.parse import urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from starlette.templating import Jinja2Templates
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from wakeline.clock import Clock, to_iso
from wakeline.pages.decisions import Decisions
from wakeline.pages.outbox import Outbox
from wakeline.pages.shop import Shop
from wakeline.pages.wording import moment
from wakeline.settings import Settings

_HERE = Path(__file__).parent
_LOOPBACK = ("127.0.0.1", "localhost", "::1", "[::1]")


def create_app(settings: Settings, clock: Clock, notice: str) -> Starlette:
    """The pages over `settings.outbox_dir`; `notice` is a line shown in the demo shop, such as its thresholds.

    The shop's script posts to `activation.public_url`; the collector must allow this application's origin.
    """
    templates = _templates()
    outbox, shop = Outbox(settings, clock, templates), Shop(settings, templates, notice)
    decisions = Decisions(settings, templates)

    def missing(request: Request, _error: Exception) -> Response:
        if request.url.path.startswith("/shop"):
            return shop.not_found(request)
        return templates.TemplateResponse(request, "outbox/missing.html", status_code=404)

    return Starlette(
        routes=[
            *outbox.routes(),
            *decisions.routes(),
            *shop.routes(),
            Mount("/static", StaticFiles(directory=_HERE / "static")),
        ],
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=_hosts(settings.pages.host)),
            Middleware(_SafeHeaders, collector=_origin(settings.activation.public_url)),
        ],
        exception_handlers={404: missing},
    )


def _templates() -> Jinja2Templates:
    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["iso"] = to_iso
    environment.filters["moment"] = moment
    environment.filters["euro"] = lambda amount: f"€{amount:,.2f}"
    return Jinja2Templates(env=environment)


def _hosts(host: str) -> list[str]:
    """The names answered to: on loopback only its own, so that DNS rebinding cannot read the mails."""
    return [*_LOOPBACK] if host in _LOOPBACK else ["*"]


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


class _SafeHeaders:
    """Adds to every answer what keeps foreign content from running, framing or being kept."""

    def __init__(self, app: ASGIApp, collector: str) -> None:
        self._app = app
        self._headers = {
            "Content-Security-Policy": (
                f"default-src 'none'; script-src 'self' {collector}; style-src 'self'; img-src 'self'; "
                f"frame-src 'self'; connect-src 'self' {collector}; form-action 'self'; base-uri 'none'; "
                "frame-ancestors 'none'"
            ),
            "Cache-Control": "no-cache",
            "Referrer-Policy": "same-origin",
            "X-Content-Type-Options": "nosniff",
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers)
