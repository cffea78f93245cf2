"""`POST /v1/webhooks/NAME`: one address for each webhook of the settings."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from wakeline.collector.body import read_body
from wakeline.collector.envelope import Batch
from wakeline.collector.intake import Intake
from wakeline.collector.refused import RefusedError
from wakeline.collector.webhooks.factory import open_webhooks
from wakeline.collector.webhooks.fetching import Fetch
from wakeline.collector.webhooks.protocol import WebhookRequest
from wakeline.settings import Settings

PATH = "/v1/webhooks/{name}"

#: SendGrid's batches are the largest: up to 768 kB.
MAX_BODY_BYTES = 2_000_000


def webhook_routes(settings: Settings, intake: Intake, fetch: Fetch) -> list[Route]:
    """The route of all configured webhooks; another name is not found."""
    webhooks = open_webhooks(settings, fetch)
    public_url = settings.activation.public_url.rstrip("/")

    async def receive(request: Request) -> Response:
        """What a mail provider or a CRM has to tell; its name is the source of the events."""
        name = request.path_params["name"]
        webhook = webhooks.get(name)
        if webhook is None:
            raise RefusedError(404, f"There is no webhook '{name}'; add a table [webhooks.{name}] to the settings.")
        received_at_ms = intake.clock()
        intake.check()
        # Not request.url, which is an error for a query that is not UTF-8.
        query = request.scope["query_string"].decode("latin-1")
        url = f"{public_url}{request.scope['path']}{f'?{query}' if query else ''}"
        with intake.reading() as hold:
            body = await read_body(request, MAX_BODY_BYTES, hold)
            answer = await webhook.receive(WebhookRequest(dict(request.headers), body, url, received_at_ms))
        await intake.take([(Batch(answer.messages, None), name)], received_at_ms)
        return Response(answer.body, media_type=answer.media_type)

    return [Route(PATH, receive, methods=["POST"])]
