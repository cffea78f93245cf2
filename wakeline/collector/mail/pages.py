"""The small pages that people see when they follow a link of a mail: plain words, no script, nothing from elsewhere."""

import base64
import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup
from starlette.responses import HTMLResponse

_FOLDER = Path(__file__).parent / "templates"

#: How long a person, or the mail service that presses for them, is asked to wait.
RETRY_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Page:
    """A heading, a sentence or two, and perhaps a button that posts to the same address.

    `one_click` makes the button say what RFC 8058 has mail services say.
    """

    status: int
    title: str
    text: str
    button: str = ""
    one_click: bool = False


NO_SUCH_LINK = Page(
    404, "This link does not work", "It is incomplete or was changed. Please open it from the email once more."
)
NO_SUCH_MAIL = Page(404, "This email is no longer here", "We do not keep it any more.")
MAIL_EXPIRED = Page(
    410, "This email is too old", "Emails can be viewed here for a while only. You still find it in your inbox."
)
MAIL_UNAVAILABLE = Page(
    503, "This email cannot be shown right now", "Something on our side is not working. Please try again in a minute."
)
TEST_MAIL = Page(
    404,
    "This was a test email",
    "Test emails are not kept. People who get the real one can view it in the browser here.",
)
NOBODY_UNSUBSCRIBED = Page(
    200, "This was a test email", "Nobody was unsubscribed. In the real email the button you have pressed works."
)
NOTHING_CONFIRMED = Page(
    200, "This was a test email", "Nothing was confirmed. In the real email the button you have pressed works."
)
NOT_UNSUBSCRIBED = Page(
    503,
    "You are not unsubscribed yet",
    "Something on our side is not working, and your choice could not be saved. Please try again in a minute.",
    button="Try again",
    one_click=True,
)
CONFIRMATION_EXPIRED = Page(
    410, "This email is too old", "Its button no longer works. Please sign up once more, and we send you a new email."
)
NOT_CONFIRMED = Page(
    503,
    "This is not confirmed yet",
    "Something on our side is not working, and your choice could not be saved. Please try again in a minute.",
    button="Try again",
)


def ask_to_unsubscribe(purpose: str) -> Page:
    """The question, with the button that answers it."""
    text = f"You will get no more {_emails(purpose)} from us. Press the button to confirm."
    return Page(200, "Do you want to unsubscribe?", text, button="Unsubscribe", one_click=True)


def is_unsubscribed(purpose: str) -> Page:
    """What an opt-out is answered with."""
    text = f"You get no more {_emails(purpose)} from us. One that is already on its way may still arrive."
    return Page(200, "You are unsubscribed", text)


def ask_to_confirm(purpose: str) -> Page:
    """The question, with the button that answers it."""
    text = f"You will get {_emails(purpose)} from us. Press the button to confirm. You can unsubscribe at any time."
    return Page(200, "Do you want our emails?", text, button="Yes, I do")


def is_confirmed(purpose: str) -> Page:
    """What a confirmation is answered with, the first and any other: a link counts once."""
    text = (
        f"Thank you. You said yes to {_emails(purpose)}, and we keep a record of it. If you unsubscribed after that,"
        " you stay unsubscribed."
    )
    return Page(200, "It is confirmed", text)


def answer(page: Page) -> HTMLResponse:
    """The page as a response that no cache keeps, no search engine lists and no other site can frame."""
    css = _css()
    response = HTMLResponse(_template().render(page=page, css=Markup(css)), page.status)  # noqa: S704  # Our own file.
    response.headers["Content-Security-Policy"] = (
        f"default-src 'none'; style-src 'sha256-{_sha256(css)}'; form-action 'self'; base-uri 'none';"
        " frame-ancestors 'none'"
    )
    response.headers.update(PRIVATE_HEADERS)
    if page.status == NOT_UNSUBSCRIBED.status:
        response.headers["Retry-After"] = str(RETRY_SECONDS)
    return response


#: An address with a token is the recipient's own.
PRIVATE_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex, nofollow",
}


def _emails(purpose: str) -> str:
    return f"{purpose.replace('_', ' ')} emails"


@cache
def _template() -> Template:
    environment = Environment(loader=FileSystemLoader(_FOLDER), autoescape=True, undefined=StrictUndefined)
    return environment.get_template("page.html")


@cache
def _css() -> str:
    return (_FOLDER / "page.css").read_text(encoding="utf-8")


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
