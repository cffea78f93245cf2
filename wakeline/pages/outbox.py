"""The outbox page: the mails that the outbox ESP has written, newest first. Looking changes nothing."""

from dataclasses import asdict

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.templating import Jinja2Templates

from wakeline.clock import Clock
from wakeline.pages.letters import Letter
from wakeline.pages.mailbox import Filter, Listing, Mailbox
from wakeline.settings import Settings

#: Mails in one list; older ones are a page away.
PAGE_SIZE = 100

#: What a mail may do on the page: be looked at, load its images, and open links in a tab of their own.
MAIL_POLICY = (
    "sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'; img-src http: https: data:; "
    "style-src 'unsafe-inline'; frame-ancestors 'self'"
)


class Outbox:
    """The pages over an outbox folder."""

    def __init__(self, settings: Settings, clock: Clock, templates: Jinja2Templates) -> None:
        self._folder = settings.outbox_dir
        self._campaigns_dir = settings.campaigns_dir
        self._mailbox = Mailbox(settings.outbox_dir, clock)
        self._templates = templates

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/", self.page),
            Route("/outbox.json", self.as_json),
            Route("/mails/{key}", self.mail),
            Route("/mails/{key}/pane", self.pane),
            Route("/mails/{key}/html", self.html),
            Route("/mails/{key}/eml", self.eml),
        ]

    def page(self, request: Request) -> Response:
        """The list without a mail."""
        return self._show(request, None)

    def mail(self, request: Request) -> Response:
        """The list with a mail beside it."""
        return self._show(request, self._letter(request))

    def pane(self, request: Request) -> Response:
        """A mail alone, as a piece of the page."""
        return self._templates.TemplateResponse(request, "outbox/mail.html", {"mail": self._letter(request)})

    def html(self, request: Request) -> Response:
        """A mail's HTML part, as it was sent, unable to run anything."""
        return HTMLResponse(self._letter(request).html, headers={"Content-Security-Policy": MAIL_POLICY})

    def eml(self, request: Request) -> Response:
        """The file, for a mail client."""
        name = f"{self._letter(request).key}.eml"
        return FileResponse(self._folder / name, media_type="message/rfc822", filename=name)

    def as_json(self, request: Request) -> Response:
        """What the list shows, for the page that keeps itself up to date."""
        wanted, listing = self._listing(request)
        return JSONResponse(asdict(listing) | {"campaigns": self._campaigns(wanted)})

    def _show(self, request: Request, mail: Letter | None) -> Response:
        wanted, listing = self._listing(request)
        context = {
            "listing": listing,
            "wanted": wanted,
            "campaigns": self._campaigns(wanted),
            "before": request.query_params.get("before", ""),
            "mail": mail,
        }
        return self._templates.TemplateResponse(request, "outbox/page.html", context)

    def _listing(self, request: Request) -> tuple[Filter, Listing]:
        query = request.query_params
        wanted = Filter(campaign=query.get("campaign", ""), text=query.get("q", "").strip())
        return wanted, self._mailbox.look(wanted, query.get("before", ""), PAGE_SIZE)

    def _campaigns(self, wanted: Filter) -> list[str]:
        """Those that exist, those of mails seen so far, and the one asked for."""
        defined = {path.parent.name for path in self._campaigns_dir.glob("*/campaign.yml")}
        asked = {wanted.campaign} if wanted.campaign else set()
        return sorted(defined | self._mailbox.campaigns() | asked)

    def _letter(self, request: Request) -> Letter:
        letter = self._mailbox.read(request.path_params["key"])
        if letter is None:
            raise HTTPException(404)
        return letter
