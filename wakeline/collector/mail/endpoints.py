"""What the links and images of a mail lead to.

A GET or a HEAD, by whomever, changes nothing that matters: it records an open or a click, labelled, and no more.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from wakeline.activation.links import (
    CLICK_PATH,
    CONFIRM_PATH,
    PIXEL_PATH,
    TOKEN_PARAMETER,
    UNSUBSCRIBE_PATH,
    VIEW_PATH,
)
from wakeline.activation.tokens import Click, Confirm, Mailed, Open, OptOut, Stamped, Tokens, View
from wakeline.clock import to_iso
from wakeline.collector.envelope import Batch
from wakeline.collector.images import GIF
from wakeline.collector.intake import Intake
from wakeline.collector.mail import pages
from wakeline.collector.mail.events import Message, clicked, confirmed, opened, unsubscribed
from wakeline.collector.mail.labels import ClickRules, label_click, label_open, user_agent
from wakeline.collector.mail.viewing import MailUnavailableError, MailViewer, NoSuchMailError
from wakeline.errors import StreamError
from wakeline.settings import MAIL_SOURCE, Settings

_MS_PER_DAY = 86_400_000
#: The mail cannot run scripts, read cookies or post forms; its links open, and its pictures load.
_VIEW_POLICY = (
    "sandbox allow-popups allow-popups-to-escape-sandbox allow-top-navigation-by-user-activation;"
    " default-src 'none'; img-src https: http: data:; style-src 'unsafe-inline';"
    " form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
T = TypeVar("T", bound=Mailed)


class MailEndpoints:
    """The endpoints that mail recipients reach; `signing_key` has signed what is in the addresses."""

    def __init__(self, settings: Settings, signing_key: str, intake: Intake) -> None:
        activation = settings.activation
        self._tokens = Tokens(signing_key)
        self._test_tokens = Tokens(signing_key, test=True)
        self._intake = intake
        self._viewer = MailViewer(settings, self._tokens)
        self._one_view = asyncio.Semaphore(1)
        self._lifetime_ms = activation.link_days * _MS_PER_DAY
        self._confirm_lifetime_ms = activation.confirm_days * _MS_PER_DAY
        self._rules = ClickRules(
            too_soon_ms=activation.automated_click_seconds * 1_000, https=activation.public_url.startswith("https:")
        )

    def routes(self) -> list[Route]:
        return [
            Route(PIXEL_PATH, self.pixel, methods=["GET"]),
            Route(CLICK_PATH, self.click, methods=["GET"]),
            Route(VIEW_PATH, self.view, methods=["GET"]),
            Route(UNSUBSCRIBE_PATH, self.unsubscribe, methods=["GET", "POST"]),
            Route(CONFIRM_PATH, self.confirm, methods=["GET", "POST"]),
        ]

    async def pixel(self, request: Request) -> Response:
        """The image, whatever the token; a GET with one of ours is an open."""
        opening = self._read(request, Open)
        now_ms = self._intake.clock()
        if opening is not None and self._counts(request, opening, now_ms):
            agent = user_agent(request.headers)
            message = opened(opening.token, label_open(request.headers), agent, now_ms, self._intake.new_id())
            # The image must not break in the mail; the appender has logged that the open is lost.
            with suppress(StreamError):
                await self._accept(message, now_ms)
        return Response(GIF, media_type="image/gif", headers={"Cache-Control": "no-store"})

    async def click(self, request: Request) -> Response:
        """On to where the link leads; only addresses that we have signed are gone to."""
        click = self._read(request, Click)
        shown = click or self._read_test(request, Click)
        if shown is None or not _can_be_gone_to(shown.token.url):
            return pages.answer(pages.NO_SUCH_LINK)
        now_ms = self._intake.clock()
        if click is not None and self._counts(request, click, now_ms):
            labels = label_click(request.headers, click.age_ms(now_ms), self._rules)
            message = clicked(click.token, labels, user_agent(request.headers), now_ms, self._intake.new_id())
            # The person wants to get on; the appender has logged that the click is lost.
            with suppress(StreamError):
                await self._accept(message, now_ms)
        return Response(status_code=302, headers={"Location": shown.token.url, **pages.PRIVATE_HEADERS})

    async def view(self, request: Request) -> Response:
        """The mail in the browser."""
        view = self._read(request, View)
        if view is None:
            return pages.answer(pages.TEST_MAIL if self._read_test(request, View) else pages.NO_SUCH_LINK)
        if self._is_old(view, self._intake.clock()):
            return pages.answer(pages.MAIL_EXPIRED)
        try:
            # One at a time: events are appended by the same worker threads.
            async with self._one_view:
                html = await asyncio.to_thread(self._viewer.html, view)
        except NoSuchMailError:
            return pages.answer(pages.NO_SUCH_MAIL)
        except MailUnavailableError:
            return pages.answer(pages.MAIL_UNAVAILABLE)
        return HTMLResponse(html, headers=_view_headers())

    async def unsubscribe(self, request: Request) -> Response:
        """GET asks, POST opts out: of our page, or of a mail service for a person (RFC 8058).

        The body is not looked at: the token alone is the right, and an opt-out must not fail for its form.
        """
        opt_out = self._read(request, OptOut)
        shown = opt_out or self._read_test(request, OptOut)
        if shown is None:
            return pages.answer(pages.NO_SUCH_LINK)
        purpose = shown.token.purpose
        if request.method != "POST":
            return pages.answer(pages.ask_to_unsubscribe(purpose))
        if opt_out is None:
            return pages.answer(pages.NOBODY_UNSUBSCRIBED)
        now_ms = self._intake.clock()
        try:
            await self._accept(unsubscribed(opt_out.token, user_agent(request.headers), now_ms), now_ms)
        except StreamError:  # Logged by the appender.
            return pages.answer(pages.NOT_UNSUBSCRIBED)
        return pages.answer(pages.is_unsubscribed(purpose))

    async def confirm(self, request: Request) -> Response:
        """GET asks, POST records the yes: mail scanners press every link, and theirs is none."""
        confirm = self._read(request, Confirm)
        shown = confirm or self._read_test(request, Confirm)
        if shown is None:
            return pages.answer(pages.NO_SUCH_LINK)
        now_ms = self._intake.clock()
        if shown.age_ms(now_ms) > self._confirm_lifetime_ms:
            return pages.answer(pages.CONFIRMATION_EXPIRED)
        purpose = shown.token.purpose
        if request.method != "POST":
            return pages.answer(pages.ask_to_confirm(purpose))
        if confirm is None:
            return pages.answer(pages.NOTHING_CONFIRMED)
        # Sealed anew: base64 has several texts for the same token.
        sealed = self._tokens.sign(confirm.token, confirm.made_at_ms)
        try:
            await self._accept(confirmed(confirm.token, sealed, user_agent(request.headers), now_ms), now_ms)
        except StreamError:  # Logged by the appender.
            return pages.answer(pages.NOT_CONFIRMED)
        return pages.answer(pages.is_confirmed(purpose))

    def _read(self, request: Request, kind: type[T]) -> Stamped[T] | None:
        return self._tokens.read(kind, request.query_params.get(TOKEN_PARAMETER, ""))

    def _read_test(self, request: Request, kind: type[T]) -> Stamped[T] | None:
        """The token of a test mail, whose links work and change and record nothing."""
        return self._test_tokens.read(kind, request.query_params.get(TOKEN_PARAMETER, ""))

    def _counts(self, request: Request, stamped: Stamped[T], now_ms: int) -> bool:
        return request.method == "GET" and not self._is_old(stamped, now_ms)

    def _is_old(self, stamped: Stamped[T], now_ms: int) -> bool:
        return stamped.age_ms(now_ms) > self._lifetime_ms

    async def _accept(self, message: Message, now_ms: int) -> None:
        # Past the gate: nobody sends these again when they are refused.
        await self._intake.accept(Batch([message], to_iso(now_ms)), MAIL_SOURCE, now_ms)


def _can_be_gone_to(url: str) -> bool:
    """A second lock behind the signature: a web address, and one that fits into a header."""
    return url.startswith(("http://", "https://")) and url.isascii() and url.isprintable()


def _view_headers() -> Mapping[str, str]:
    return {"Content-Security-Policy": _VIEW_POLICY, **pages.PRIVATE_HEADERS}
