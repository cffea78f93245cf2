"""A real browser for tests: the system's Chromium, driven by Playwright."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, BrowserContext, sync_playwright

from support.programs import require

#: What Debian, Ubuntu and Google call it.
_NAMES = ("chromium", "chromium-browser", "google-chrome")
_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@contextmanager
def open_browser() -> Iterator[Browser]:
    """A headless Chromium; without one the test is skipped, or fails where tests must be complete.

    Playwright runs an event loop in this thread meanwhile, so nothing inside may call `asyncio.run`.
    """
    path = next(filter(None, map(shutil.which, _NAMES)), None)
    if path is None:
        require("Chromium is not installed; install the system's package, e.g. apt-get install chromium.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, headless=True, args=_ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def open_context(browser: Browser, **options: object) -> Iterator[BrowserContext]:
    """A fresh profile that does not say that it is automated: collectors label headless browsers as bots."""
    major = browser.version.partition(".")[0]
    agent = f"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{major}.0.0.0 Safari/537.36"
    # mypy checks each of some thirty options of a dictionary against every parameter.
    context = browser.new_context(**{"user_agent": agent, **options})  # type: ignore[arg-type]
    try:
        yield context
    finally:
        context.close()
