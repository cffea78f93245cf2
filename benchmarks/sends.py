"""Sends on one core: gates, ledger, rendering and a local HTTP ESP, mails a second by database of the ledger.

`python benchmarks/sends.py` prints the tables and writes results/sends.md and results/sends.json. One process claims
and sends as a lane does, on one core; the ESP, which answers at once, is a process of its own on another. Beside it
plain httpx posts the same mails, already rendered, with as many threads on the same core: the ratio is what a send
costs more than its request. Postgres is Debian's, started for the benchmark, with durable commits. It asserts no time:
the exit code is 1 only when a mail was not sent.
"""

import multiprocessing
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import click
import httpx
import orjson
import uvicorn
from deployment import FOLDER, await_answer, fresh_settings, remove, take_lock
from machine import machine_facts
from render import table

from wakeline.activation.campaigns import Campaign, load_campaigns
from wakeline.activation.claims import Intended, Person, Stages
from wakeline.activation.consent import Consent
from wakeline.activation.esp.factory import open_esp
from wakeline.activation.esp.protocol import Accepted, Mail
from wakeline.activation.esp.settings import WebhookEsp
from wakeline.activation.esp.webhook import WebhookApi
from wakeline.activation.ledger.protocol import Ledger
from wakeline.activation.mailer import Mailer
from wakeline.activation.rendering import Renderer
from wakeline.activation.rules import rules_of
from wakeline.activation.tokens import Tokens
from wakeline.clock import system_clock
from wakeline.engines import open_database
from wakeline.errors import WakelineError
from wakeline.pipeline.factory import lane_store, open_ledger, open_mailer
from wakeline.pipeline.lanes import Lease
from wakeline.settings import Settings, load_secrets

_RESULTS = Path(__file__).parent / "results"
_SUPPORT = Path(__file__).resolve().parent.parent / "tests"
_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - of the local ESP only
_SAMPLE = "abandoned_cart"
_TINY = "<mjml><mj-body><mj-section><mj-column><mj-text>Hello</mj-text></mj-column></mj-section></mj-body></mjml>"
#: As a lane claims them.
_CLAIM = 200
_LEASE_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Result:
    """What one ledger and one template gave; seconds are of the core's process, by wall clock."""

    ledger: str
    template: str
    sends: int
    not_sent: int
    claim_seconds: float
    send_seconds: float
    settle_seconds: float
    httpx_per_second: float

    @property
    def seconds(self) -> float:
        """All of it."""
        return self.claim_seconds + self.send_seconds + self.settle_seconds

    @property
    def per_second(self) -> float:
        """Mails a second through gates, ledger and ESP."""
        return self.sends / self.seconds


async def _answer(scope: Any, receive: Any, send: Any) -> None:
    """Take any mail, at once."""
    if scope["type"] == "http":
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})


def _serve(port: int, core: int) -> None:
    os.sched_setaffinity(0, {core})
    uvicorn.run(_answer, port=port, log_level="warning", access_log=False, lifespan="off")


@contextmanager
def _esp(port: int, core: int) -> Iterator[None]:
    process = multiprocessing.get_context("fork").Process(target=_serve, args=(port, core), daemon=True)
    process.start()
    try:
        await_answer(f"http://127.0.0.1:{port}/")
        yield
    finally:
        process.terminate()
        process.join()


@contextmanager
def _databases(names: Sequence[str], folder: Path) -> Iterator[Mapping[str, Mapping[str, Any]]]:
    """The `ledger` settings of each; DynamoDB is an imitation of it."""
    sys.path.insert(0, str(_SUPPORT))
    from support.dynamodb import open_dynamodb
    from support.ministack import CREDENTIALS
    from support.postgres import open_postgres_server

    with ExitStack() as servers:
        found: dict[str, Mapping[str, Any]] = {"sqlite": {}}
        if "postgres" in names:
            found["postgres"] = {"url": servers.enter_context(open_postgres_server(durable=True)).create_database()}
        if "dynamodb" in names:
            os.environ.update({name.upper(): value for name, value in CREDENTIALS.items()})
            found["dynamodb"] = servers.enter_context(open_dynamodb(folder)).settings("benchmark").model_dump()
        yield {name: {**found[name], "kind": name} for name in names}


def _campaigns(settings: Settings) -> dict[str, Campaign]:
    """Templates by name: the smallest that is a mail, and one of the samples, to people who agreed to marketing."""
    sample = load_campaigns(settings.campaigns_dir)[_SAMPLE]
    unhindered = {"frequency_cap": None, "quiet_hours": False, "wait_minutes": 0.0}
    tiny = sample.model_copy(update={**unhindered, "name": "tiny", "subject": "Hello", "body": _TINY})
    return {"tiny": tiny, _SAMPLE: sample.model_copy(update=unhindered)}


def _intended(campaign: Campaign, settings: Settings, count: int) -> list[Intended]:
    now_ms = system_clock()
    rules = rules_of(campaign, settings.activation)
    return [
        Intended(
            campaign=campaign.name,
            campaign_class=campaign.kind,
            purpose=campaign.purpose,
            campaign_hash=campaign.definition_hash,
            rules=rules,
            variant="",
            profile_id=f"user:{number}",
            person=Person(
                (f"user:{number}", f"anonymous:{number}"),
                {"email": f"person-{number}@example.com", "first_name": "Ann"},
            ),
            occurrence_key=f"benchmark/{number}",
            occurred_at_ms=now_ms,
            expires_at_ms=now_ms + _LEASE_MS,
            trigger_hash="benchmark",
            message_ids=("benchmark",),
            context=campaign.preview,
            stages=Stages(now_ms, now_ms, now_ms, now_ms, now_ms),
        )
        for number in range(count)
    ]


def _agree(ledger: Ledger, lease: Lease, people: int, purpose: str) -> None:
    said = [Consent(f"user:{number}", purpose, True, 1, f"yes-{number}") for number in range(people)]
    ledger.record(lease, said, [])


def _measure(
    name: str, ledger: Ledger, lease: Lease, mailer: Mailer, intended: Sequence[Intended], httpx_per_second: float
) -> Result:
    seconds, sent = [0.0, 0.0, 0.0], 0
    for start in range(0, len(intended), _CLAIM):
        began = time.perf_counter()
        decided = ledger.claim(
            lease, intended[start : start + _CLAIM], lease.holder, {0: (start, start + _CLAIM)}, system_clock()
        )
        claimed = time.perf_counter()
        answers = mailer.send([one.claim for one in decided if one.claim], mailer.patience())
        answered = time.perf_counter()
        ledger.settle(answers)
        for part, took in enumerate((claimed - began, answered - claimed, time.perf_counter() - answered)):
            seconds[part] += took
        sent += sum(isinstance(answer.outcome, Accepted) for answer in answers)
    return Result(name, intended[0].campaign, sent, len(intended) - sent, *seconds, httpx_per_second)


def _mails(renderer: Renderer, intended: Sequence[Intended]) -> tuple[list[Mail], float]:
    """The mails of these sends, and the milliseconds that rendering one took."""
    began = time.perf_counter()
    mails = [renderer.render(one.campaign, one.key, one.person.stored(one.profile_id), one.context) for one in intended]
    return mails, (time.perf_counter() - began) * 1000 / len(mails)


def _httpx_alone(settings: Settings, mails: Sequence[Mail], threads: int) -> float:
    """Requests a second."""
    api = WebhookApi(cast(WebhookEsp, settings.esp["main"]), system_clock)
    requests = [api.request(mail) for mail in mails]

    def post(first: int) -> None:
        with httpx.Client() as client:
            for request in requests[first::threads]:
                client.send(request).raise_for_status()

    with ThreadPoolExecutor(threads) as pool:
        began = time.perf_counter()
        list(pool.map(post, range(threads)))
        return len(requests) / (time.perf_counter() - began)


def _measure_all(ledgers: Sequence[str], count: int) -> dict[str, Any]:
    with fresh_settings("embedded", lanes=1) as (base, _, _broker):
        return _measure_ledgers(base, ledgers, count)


def _measure_ledgers(base: Settings, ledgers: Sequence[str], count: int) -> dict[str, Any]:
    cores = sorted(os.sched_getaffinity(0))
    port = base.pages.port
    esp = {
        "kind": "webhook",
        "url": f"http://127.0.0.1:{port}/mails",
        "signing_secret": _SECRET,
        "rate_per_second": 1e6,
    }
    options = {"esp": {"main": esp}, "activation": {**base.activation.model_dump(), "esp": ["main"]}}
    results: dict[str, Any] = {"machine": machine_facts(FOLDER), "threads": base.activation.send_threads, "results": []}
    with _databases(ledgers, FOLDER) as databases, _esp(port, cores[-1]):
        os.sched_setaffinity(0, {cores[0]})
        settings = {
            name: base.model_copy(update={**_validated(options), "ledger": _validated({"ledger": one})["ledger"]})
            for name, one in databases.items()
        }
        rates, results["rendering_ms"] = _without_a_ledger(next(iter(settings.values())), count)
        for name, one in settings.items():
            results["results"] += _with_ledger(name, one, count, rates)
    return results


def _validated(options: Mapping[str, Any]) -> dict[str, Any]:
    settings = Settings.model_validate(options)
    return {name: getattr(settings, name) for name in options}


def _without_a_ledger(settings: Settings, count: int) -> tuple[dict[str, float], dict[str, float]]:
    """Template -> requests a second of plain httpx, and milliseconds that rendering takes."""
    campaigns, activation = _campaigns(settings), settings.activation
    tokens = Tokens(load_secrets(settings.data_dir).signing_key)
    renderer = Renderer(
        campaigns, activation.sender, activation.public_url, lambda token: tokens.sign(token, 0), settings.link_hosts
    )
    rates, rendering_ms = {}, {}
    for name, campaign in campaigns.items():
        mails, rendering_ms[name] = _mails(renderer, _intended(campaign, settings, count))
        rates[name] = _httpx_alone(settings, mails, activation.send_threads)
    return rates, rendering_ms


def _with_ledger(name: str, settings: Settings, count: int, rates: Mapping[str, float]) -> list[Result]:
    campaigns = _campaigns(settings)
    esp, database = open_esp(settings, system_clock), open_database(settings)
    ledger = open_ledger(database, esp.idempotency_key_seconds)
    lease = lane_store(settings, database).acquire("0", "benchmark", system_clock(), _LEASE_MS)
    if lease is None:
        raise WakelineError(f"Somebody else holds the lane of the ledger {name}.")
    _agree(ledger, lease, count, str(campaigns[_SAMPLE].purpose))
    with closing(open_mailer(settings, campaigns, esp, system_clock)) as mailer:
        found = [
            _measure(name, ledger, lease, mailer, _intended(campaign, settings, count), rates[template])
            for template, campaign in campaigns.items()
        ]
    database.dispose()
    return found


def _markdown(results: Mapping[str, Any]) -> str:
    header = ("ledger", "template", "sends/s", "httpx alone/s", "of it", "claim ms", "render and send ms", "settle ms")
    rows = [
        (
            one.ledger,
            one.template,
            f"{one.per_second:,.0f}",
            f"{one.httpx_per_second:,.0f}",
            f"{one.per_second / one.httpx_per_second:.0%}",
            *(f"{part * 1000 / one.sends:.2f}" for part in (one.claim_seconds, one.send_seconds, one.settle_seconds)),
        )
        for one in results["results"]
    ]
    rendering = [(template, f"{took:.2f}") for template, took in results["rendering_ms"].items()]
    return f"{table(header, rows)}\n\n{table(('template', 'rendering alone, ms a mail'), rendering)}\n"


@click.command(context_settings={"show_default": True})
@click.option(
    "--ledger", "ledgers", multiple=True, default=("sqlite", "postgres", "dynamodb"), help="Databases to measure."
)
@click.option("--sends", default=2_000, type=click.IntRange(min=1), help="Mails of each ledger and template.")
def main(ledgers: tuple[str, ...], sends: int) -> None:
    """Measure what one core sends."""
    lock = take_lock()
    results = _measure_all(ledgers, sends)
    remove()
    os.close(lock)
    _RESULTS.mkdir(exist_ok=True)
    text = _markdown(results)
    (_RESULTS / "sends.md").write_text(text, encoding="utf-8")
    (_RESULTS / "sends.json").write_bytes(orjson.dumps(results, default=asdict))
    click.echo(text)
    sys.exit(1 if any(one.not_sent for one in results["results"]) else 0)


if __name__ == "__main__":
    main()
