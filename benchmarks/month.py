"""What Dagster's event log comes to when a resident run reports at full rate for a month, with `clean_up` every night.

    python benchmarks/month.py --storage sqlite --days 30

Time is simulated; the reporting, the results of checks, the instance, the clean-up, the web server and the browser are
real. To be done in an hour it keeps its connections to Postgres, as Dagster's web server does; a run opens one for each
statement. The settings must name a data folder that has been deployed to: the web server loads the code location of it.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

import dagster as dg

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from deployment import await_answer
from reporting_load import Simulation, play, resident_lane
from support.browser import open_browser
from support.ports import free_ports
from support.postgres import open_postgres_server

from orchestration import event_log
from orchestration.configuration import settings
from orchestration.retention import clean_dagster
from wakeline.clock import system_clock
from wakeline.settings import DagsterSettings
from wakeline.stack.dagster_instance import storage_environment, write_instance

ROOT = Path(__file__).resolve().parents[1]
_DAY_MS = 86_400_000
_START_SECONDS = 120
_STATEMENT_MS = 600_000
_LOADS = 5
#: Page of an asset -> what is on it once its latest report is.
_PAGES = {
    "/assets/landing?view=events": "lag_seconds",
    "/assets/sends?view=events": "skipped_no_consent",
    "/assets/landing": "lag_seconds",
}


def main() -> None:
    arguments = _arguments()
    with ExitStack() as opened:
        home = Path(opened.enter_context(tempfile.TemporaryDirectory(dir=arguments.folder)))
        url = ""
        if arguments.storage == "postgres":
            url = opened.enter_context(open_postgres_server()).create_database()
        dagster = DagsterSettings(storage_url=url)
        write_instance(ROOT, home, dagster)
        os.environ.update(storage_environment(dagster), DAGSTER_HOME=str(home))
        with dg.DagsterInstance.from_config(str(home)) as instance:
            instance.optimize_for_webserver(_STATEMENT_MS, pool_recycle=-1, max_overflow=20)
            for day in _days(instance, arguments.days):
                print(json.dumps(day), flush=True)
        with _web_server(home) as address:
            print(json.dumps(_page_seconds(address)))


def _days(instance: dg.DagsterInstance, days: int) -> Iterator[dict[str, int | float]]:
    """Each simulated day: its runs, then the clean-up of the night."""
    lane = settings().lane
    # The last day is today: what the browser shows of time is right.
    simulation = Simulation(system_clock() - days * _DAY_MS)
    job = resident_lane(simulation, lane)
    for day in range(1, days + 1):
        began = time.monotonic()
        for _ in range(round(24 * 60 / lane.run_minutes)):
            play(instance, simulation, job)
        before_bytes = event_log.size_bytes(instance)
        played = time.monotonic()
        counts = clean_dagster(instance, simulation.now, dry_run=False, say=lambda said: None)
        took = {"played_seconds": round(played - began, 1), "clean_up_seconds": round(time.monotonic() - played, 1)}
        yield {"day": day, "before_bytes": before_bytes, **counts, **took}


@contextmanager
def _web_server(home: Path) -> Iterator[str]:
    [port] = free_ports(1)
    program = str(Path(sys.executable).with_name("dagster-webserver"))
    command = [program, "-h", "127.0.0.1", "-p", str(port), "-m", "orchestration.definitions", "-d", str(ROOT)]
    with (home / "web.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        await_answer(f"{address}/server_info", _START_SECONDS)
        yield address
    finally:
        process.terminate()
        process.wait()


def _page_seconds(address: str) -> dict[str, float]:
    """Median time from the address to the latest report on the page; the first load fills the browser's cache."""
    found = {}
    with open_browser() as browser:
        page = browser.new_page()
        for path, text in _PAGES.items():
            taken = []
            for _ in range(_LOADS + 1):
                began = time.monotonic()
                page.goto(f"{address}{path}")
                page.get_by_text(text).first.wait_for()
                taken.append(time.monotonic() - began)
            found[path] = round(median(taken[1:]), 2)
            page.screenshot(path=str(Path(tempfile.gettempdir()) / f"month{path.replace('/', '-')[:14]}.png"))
    return found


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--storage", choices=("sqlite", "postgres"), default="sqlite", help="Dagster's storage.")
    parser.add_argument("--days", type=int, default=30, help="Simulated days.")
    parser.add_argument("--folder", help="Folder for the instance; the system's for temporary files by default.")
    return parser.parse_args()


if __name__ == "__main__":
    main()
