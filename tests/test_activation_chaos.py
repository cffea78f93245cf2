"""Workers that compete for lanes and are killed where it hurts, before an ESP that fails: no key is accepted twice.

The processes are real, and so are kill -9, the network and the database. Time is moved by hand where something waits.
"""

import multiprocessing
import random
import signal
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.connection import wait
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

import pytest
from support.ledgers import BACKENDS, books
from support.ports import free_ports
from support.receiver import ACCEPTED, AGAIN, CERTAINLY_NOT_TAKEN, REFUSED, Journal, Request, serve
from support.sending import LEASE_MS, intended
from support.workers import CAMPAIGN, Fate, Site, import_everything, work

from wakeline.activation.claims import Intended, Person
from wakeline.activation.consent import Suppression
from wakeline.activation.ledger.states import FAILED, SENT, SKIPPED, UNKNOWN
from wakeline.clock import system_clock

pytestmark = [
    pytest.mark.stack,
    pytest.mark.timeout(300),
    pytest.mark.skipif(sys.platform != "linux", reason="forks"),
]

SENDS, PEOPLE, PARTITIONS = 1_000, 300, 2
DUPLICATES = SENDS // 10
#: Every twentieth person's address is suppressed.
SUPPRESSED = 20
#: Until the first of these the ESP is down.
FATES = (
    Fate("ledger", "settle", after=True),
    Fate("ledger", "claim", after=False, call=2),
    Fate("ledger", "claim", after=True),
    Fate("esp", "send", after=True, call=30),
    Fate("mailer", "send", after=True, call=2),
    Fate("mailer", "send", after=False, call=2, stalls=True),
    Fate("ledger", "settle_orphans", after=True),
    Fate("lanes", "begin", after=True, call=2),
    Fate("lanes", "commit", after=True, call=2),
    # Time passes, and what waits is due, when nothing else is left to do.
    Fate("ledger", "reclaim", after=False),
    Fate("ledger", "reclaim", after=True),
)
#: The requests at which the ESP dies, counted over all its lives.
ESP_DIES_AT = (150, 400)
_PROCESSES = 64
_context = multiprocessing.get_context("fork")


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


@pytest.mark.parametrize(
    ("takes_key", "lane_count"), [(False, 1), (False, 2), (True, 2)], ids=["one lane", "two lanes", "with key"]
)
def test_whatever_dies_every_key_ends_once_and_no_mail_goes_out_twice(
    backend: str, takes_key: bool, lane_count: int, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    sends = orders()
    with books(backend, request, tmp_path) as open_book:
        [port] = free_ports(1)
        moved_ms = _context.RawArray("q", _PROCESSES)
        site = Site(tmp_path, open_book, lane_count, takes_key, port, partitions(sends), FATES, moved_ms)
        journal = Journal(tmp_path / "journal")
        run_to_the_end(site, journal)
        rows = {row["idempotency_key"]: row for row in open_book().rows()}

    requests = defaultdict(list)
    for one in journal.read():
        requests[one.key].append(one)
    assert set(rows) == {one.key for one in sends}
    assert_mails_are_what_the_ledger_says(rows, requests)
    if takes_key:
        assert_the_very_mail_is_asked_for_again(requests)
        assert {row["state"] for row in rows.values()} == {SENT, FAILED, SKIPPED}
    else:
        assert_nothing_in_doubt_is_asked_for_again(requests)
    assert sum(row["state"] == SENT for row in rows.values()) > SENDS / 2
    assert max(row["attempts"] for row in rows.values()) > 1


def orders() -> list[Intended]:
    """A thousand orders of some hundred people."""
    now_ms = system_clock()
    return [
        replace(
            intended(f"order/{number}", ids=(f"user:{number % PEOPLE}",)),
            campaign=CAMPAIGN.name,
            person=Person((f"user:{number % PEOPLE}",), {"email": address(number % PEOPLE), "timezone": ""}),
            occurred_at_ms=now_ms,
            expires_at_ms=now_ms + 7 * 86_400_000,
            context={"order_id": str(number)},
        )
        for number in range(SENDS)
    ]


def address(person: int) -> str:
    """Where somebody's mail goes."""
    return f"person-{person}@example.com"


def partitions(sends: Sequence[Intended]) -> dict[int, list[Intended]]:
    """The events that ask for these sends, a tenth of them twice, anywhere in the stream."""
    shuffled = random.Random(7)  # noqa: S311 - no secret
    events = [*sends, *shuffled.sample(sends, DUPLICATES)]
    shuffled.shuffle(events)
    return {partition: events[partition::PARTITIONS] for partition in range(PARTITIONS)}


def run_to_the_end(site: Site, journal: Journal) -> None:
    """Two workers at any time, and the ESP from the first death on; who dies is followed by the next."""
    numbers = iter(range(1, _PROCESSES))
    esp_dies_at: Iterator[int | None] = iter([*ESP_DIES_AT, *[None] * _PROCESSES])
    import_everything(site)
    with processes() as running:
        setup = running.start(suppress, site)
        assert running.await_ends() == [setup]
        assert setup.exitcode == 0
        workers = {running.start(work, site, next(numbers)) for _ in range(2)}
        esp: ForkProcess | None = None
        while workers:
            for ended in running.await_ends():
                if ended is esp:
                    assert ended.exitcode == -signal.SIGKILL
                elif ended.exitcode == -signal.SIGKILL:
                    site.moved_ms[0] += LEASE_MS
                    workers.add(running.start(work, site, next(numbers)))
                else:
                    assert ended.exitcode == 0
                workers.discard(ended)
                if esp is None or ended is esp:
                    esp = running.start(serve, site.port, journal.path, site.takes_key, next(esp_dies_at))
    assert site.struck() == len(site.fates)
    assert next(esp_dies_at) is None


def suppress(site: Site) -> None:
    """Some people's addresses have bounced."""
    book = site.open_book()
    lanes = book.store(site.lane_count)
    lease = lanes.acquire("0", "setup", site.now(), LEASE_MS)
    assert lease is not None
    bounced = [address(person) for person in range(0, PEOPLE, SUPPRESSED)]
    book.ledger.record(lease, [], [Suppression(one, "hard_bounce", site.now(), f"bounce {one}") for one in bounced])
    lanes.release(lease)


class Processes:
    """Those that a test has started."""

    def __init__(self) -> None:
        self._running: list[ForkProcess] = []

    def start(self, target: Any, *arguments: Any) -> ForkProcess:
        """A new process; nothing here has threads or a connection that it could inherit."""
        process = _context.Process(target=target, args=arguments)
        process.start()
        self._running.append(process)
        return process

    def await_ends(self) -> list[ForkProcess]:
        """Those that have ended since the last call, at least one."""
        ready = wait([process.sentinel for process in self._running])
        ended = [process for process in self._running if process.sentinel in ready]
        for process in ended:
            process.join()
        self._running = [process for process in self._running if process not in ended]
        return ended

    def kill(self) -> None:
        """kill -9 to all that still run."""
        for process in self._running:
            process.kill()
            process.join()


@contextmanager
def processes() -> Iterator[Processes]:
    """None of them outlives the test."""
    started = Processes()
    try:
        yield started
    finally:
        started.kill()


def assert_mails_are_what_the_ledger_says(
    rows: Mapping[str, Mapping[str, Any]], requests: Mapping[str, Sequence[Request]]
) -> None:
    """One mail at most for each key, and a final state that agrees with it."""
    bounced = {address(person) for person in range(0, PEOPLE, SUPPRESSED)}
    for key, row in rows.items():
        verdicts = [one.verdict for one in requests[key]]
        mails = verdicts.count(ACCEPTED)
        assert mails <= 1, key
        assert row["state"] in ((SENT, UNKNOWN) if mails else (FAILED, SKIPPED, UNKNOWN)), (key, verdicts)
        assert (row["state"] == SKIPPED) == (row["address"] in bounced), key
        assert row["state"] != SKIPPED or not verdicts, key
        assert row["state"] != FAILED or verdicts[-1] == REFUSED, (key, verdicts)


def assert_nothing_in_doubt_is_asked_for_again(requests: Mapping[str, Sequence[Request]]) -> None:
    """Only what was certainly not taken was handed over a second time."""
    for key, seen in requests.items():
        assert {one.verdict for one in seen[:-1]} <= CERTAINLY_NOT_TAKEN, (key, seen)


def assert_the_very_mail_is_asked_for_again(requests: Mapping[str, Sequence[Request]]) -> None:
    """What an ESP that knows keys again is handed under a key it has accepted is the same to the byte."""
    again = [one for seen in requests.values() for one in seen if one.verdict == AGAIN]
    first = {one.key: one.mail for seen in requests.values() for one in seen if one.verdict == ACCEPTED}
    assert again
    assert [requests[one.key] for one in again if one.mail != first[one.key]] == []
