"""The decisions page beside the outbox: who was not mailed, or not yet, and why. Looking changes nothing."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.templating import Jinja2Templates

from wakeline.activation.ledger.summary import Summary, Wanted
from wakeline.engines import open_for_reading
from wakeline.errors import LedgerError
from wakeline.pages.wording import TOLD, in_words
from wakeline.settings import Settings

#: Decisions on the page: the latest ones.
PAGE_SIZE = 200


class Decisions:
    """The page over the settings' ledger."""

    def __init__(self, settings: Settings, templates: Jinja2Templates) -> None:
        self._campaigns_dir = settings.campaigns_dir
        self._ledger = Summary(open_for_reading(settings))
        self._templates = templates

    def routes(self) -> list[BaseRoute]:
        return [Route("/decisions", self.page)]

    def page(self, request: Request) -> Response:
        """The latest decisions, of one campaign or one person if asked for."""
        query = request.query_params
        wanted = Wanted(TOLD, query.get("campaign", ""), query.get("q", "").strip())
        try:
            rows, problem = self._ledger.latest(wanted, PAGE_SIZE), ""
        except LedgerError as error:
            rows, problem = [], str(error)
        context = {
            "decisions": [{**row, "words": in_words(row)} for row in rows],
            "wanted": wanted,
            "campaigns": self._campaigns(wanted),
            "problem": problem,
        }
        status = 503 if problem else 200
        return self._templates.TemplateResponse(request, "outbox/decisions.html", context, status_code=status)

    def _campaigns(self, wanted: Wanted) -> list[str]:
        defined = {path.parent.name for path in self._campaigns_dir.glob("*/campaign.yml")}
        return sorted(defined | ({wanted.campaign} if wanted.campaign else set()))
