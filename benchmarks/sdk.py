"""What the browser SDK costs a page: bytes, and main-thread milliseconds in Chromium.

`python benchmarks/sdk.py [--json]` prints the medians of some fresh pages. The script and the collector's answers come
from this process, so no network is in the figures. It asserts no time.
"""

import gzip
import shutil
import sys
from pathlib import Path
from statistics import median
from typing import Any

import click
import orjson
from playwright.sync_api import Browser, CDPSession, Page, Route, sync_playwright
from rich.console import Console
from rich.table import Table

_STATIC = Path(__file__).resolve().parent.parent / "wakeline" / "collector" / "static"
_SITE = "https://shop.example"
_PAGE = "<!doctype html><title>Shop</title><p>A page.</p>"
_PAGE_WITH_SDK = f'{_PAGE}<script async src="/wakeline.js" data-write-key="benchmark"></script>'
_EVENTS = 1_000

_LOAD = """async (source) => {
    const script = document.createElement("script");
    script.textContent = source;
    const began = performance.now();
    document.head.append(script);
    const loaded = performance.now();
    wakeline.init({ writeKey: "benchmark", endpoint: location.origin, flushSeconds: 600, batchSize: 100000 });
    const begun = performance.now();
    return { script_ms: loaded - began, init_ms: begun - loaded };
}"""

_TRACK = """(count) => {
    const began = performance.now();
    for (let n = 0; n < count; n++) wakeline.productViewed({ product_id: `p${n}`, name: "Shoe", price: 20 });
    return (performance.now() - began) / count;
}"""

_MOVES = """(count) => {
    const began = performance.now();
    for (let n = 0; n < count; n++) document.body.dispatchEvent(new PointerEvent("pointermove", { bubbles: true }));
    return (performance.now() - began) / count;
}"""


def sizes() -> dict[str, int]:
    """Bytes of what browsers download."""
    found = {}
    for name in ("wakeline.js", "loader.js"):
        content = (_STATIC / name).read_bytes()
        found[f"{name} bytes"] = len(content)
        found[f"{name} gzip bytes"] = len(gzip.compress(content, 9))
    return found


def times(pages: int) -> dict[str, float]:
    """Medians over fresh pages, in milliseconds of the main thread."""
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        raise click.ClickException("Chromium is not installed; install the system's package, e.g. chromium.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        try:
            runs = [_measured(browser) for _ in range(pages)]
        finally:
            browser.close()
    return {name: round(median(run[name] for run in runs), 4) for name in runs[0]}


def _measured(browser: Browser) -> dict[str, float]:
    context = browser.new_context()
    try:
        context.route("**/*", _answer)
        page = context.new_page()
        session = context.new_cdp_session(page)
        session.send("Performance.enable")
        page.goto(f"{_SITE}/without")  # The first page also starts the process.
        without = _visit_ms(page, session, "/without")
        with_sdk = _visit_ms(page, session, "/with")
        page.goto(f"{_SITE}/without")
        return {"a page view more than without, ms": with_sdk - without, **_costs(page)}
    finally:
        context.close()


def _visit_ms(page: Page, session: CDPSession, path: str) -> float:
    """All main-thread tasks of a page, from its request until its event is sent."""
    before = _task_seconds(session)
    page.goto(f"{_SITE}{path}", wait_until="networkidle")
    return (_task_seconds(session) - before) * 1_000


def _costs(page: Page) -> dict[str, float]:
    loading = page.evaluate(_LOAD, (_STATIC / "wakeline.js").read_text(encoding="utf-8"))
    return {
        "compile and run the script, ms": loading["script_ms"],
        "init, ms": loading["init_ms"],
        "one event, stored and queued, ms": page.evaluate(_TRACK, _EVENTS // 2),
        "one pointer move, ms": page.evaluate(_MOVES, _EVENTS),
    }


def _task_seconds(session: CDPSession) -> float:
    metrics: list[dict[str, Any]] = session.send("Performance.getMetrics")["metrics"]
    return next(float(one["value"]) for one in metrics if one["name"] == "TaskDuration")


def _answer(route: Route) -> None:
    url = route.request.url
    if url.endswith("/wakeline.js"):
        route.fulfill(status=200, content_type="text/javascript", path=_STATIC / "wakeline.js")
    elif route.request.method == "POST":
        route.fulfill(status=200, json={"success": True})
    else:
        route.fulfill(status=200, content_type="text/html", body=_PAGE_WITH_SDK if url.endswith("/with") else _PAGE)


def _table(results: dict[str, float]) -> Table:
    table = Table("what", "median")
    table.columns[1].justify = "right"
    for name, value in results.items():
        table.add_row(name, f"{value:g}")
    return table


@click.command()
@click.option("--pages", default=15, show_default=True, type=click.IntRange(1), help="Fresh pages to measure.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def main(pages: int, as_json: bool) -> None:
    """Measure the browser SDK."""
    results = {**sizes(), **times(pages)}
    if as_json:
        sys.stdout.buffer.write(orjson.dumps(results, option=orjson.OPT_INDENT_2) + b"\n")
    else:
        Console().print(_table(results))


if __name__ == "__main__":
    main()
