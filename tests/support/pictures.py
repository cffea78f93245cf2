"""Takes the pictures of the campaigns in docs/pictures: `make pictures`."""

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from playwright.sync_api import Browser, Page, Route

from support.browser import open_browser
from support.mailing import ANN, CAMPAIGNS, KEY, PUBLIC_URL, SENDER
from wakeline.activation.rendering import Renderer
from wakeline.pages.images import product_image
from wakeline.play.catalogue import find_product

FOLDER = Path(__file__).parents[2] / "docs" / "pictures"
#: Name -> width and height of the window, and pixels of the picture to one of the page.
WINDOWS = {"phone": (390, 844, 2), "desktop": (1280, 900, 1)}
QUALITY_PERCENT = 80


def main() -> None:
    """Write CAMPAIGN-WINDOW.webp for every campaign and window, the whole mail each."""
    FOLDER.mkdir(exist_ok=True)
    renderer = Renderer(CAMPAIGNS, SENDER, PUBLIC_URL, lambda _: "token", ())
    with open_browser() as browser:
        for campaign in CAMPAIGNS.values():
            html = renderer.render(campaign.name, KEY, ANN, campaign.preview).html
            for window in WINDOWS:
                path = FOLDER / f"{campaign.name}-{window}.webp"
                path.write_bytes(picture(browser, html, window))
                click.echo(f"{path.name}: {path.stat().st_size:,} bytes")


def picture(browser: Browser, html: str, window: str) -> bytes:
    """A mail as this window shows it: WebP."""
    with open_mail(browser, html, window) as page:
        return _whole_page(page)


@contextmanager
def open_mail(browser: Browser, html: str, window: str) -> Iterator[Page]:
    """A mail in this window, with the demo shop's pictures, which nobody needs to serve, and no others."""
    width, height, scale = WINDOWS[window]
    context = browser.new_context(viewport={"width": width, "height": height}, device_scale_factor=scale)
    page = context.new_page()
    page.route("**/*", _serve)
    page.set_content(html, wait_until="load")
    try:
        yield page
    finally:
        context.close()


def _serve(route: Route) -> None:
    _, _, name = route.request.url.partition("/shop/images/")
    product = find_product(name.removesuffix(".svg"))
    if product is None:
        route.abort()
    else:
        route.fulfill(body=product_image(product), content_type="image/svg+xml")


def _whole_page(page: Page) -> bytes:
    # Playwright itself knows no WebP.
    session = page.context.new_cdp_session(page)
    size = session.send("Page.getLayoutMetrics")["cssContentSize"]
    options = {
        "format": "webp",
        "quality": QUALITY_PERCENT,
        "captureBeyondViewport": True,
        "clip": {**size, "scale": 1},
    }
    return base64.b64decode(session.send("Page.captureScreenshot", options)["data"])


if __name__ == "__main__":
    main()
