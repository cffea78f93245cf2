"""Processes that claim and send from lanes they compete for, and the fates that strike whoever comes by first."""

import itertools
import os
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.accounts import SIGNING_SECRET
from support.clocks import HOUR_MS
from support.ledgers import OpenBook
from support.mailing import CAMPAIGNS, HOSTS, PUBLIC_URL, SENDER
from support.sending import KEY_MS, LEASE_MS, RULES
from wakeline.activation.claims import Decided, Intended
from wakeline.activation.esp.factory import open_esp
from wakeline.activation.gates import FRESH
from wakeline.activation.ledger.protocol import Ledger
from wakeline.activation.ledger.states import CLAIMED, RETRY
from wakeline.activation.mailer import Mailer
from wakeline.activation.rendering import Renderer
from wakeline.activation.tokens import Mailed, Tokens
from wakeline.clock import system_clock
from wakeline.errors import LeaseLostError
from wakeline.pipeline.lanes import LaneStore, Lease, Ranges
from wakeline.settings import Settings

#: The least that is a mail, with a token in it.
CAMPAIGN = CAMPAIGNS["order_confirmation"].model_copy(
    update={
        "subject": "Order {{ context.order_id }}",
        "body": "<mjml><mj-body><mj-section><mj-column><mj-text>Order {{ context.order_id }}:"
        ' <a href="{{ view_url }}">see it</a></mj-text></mj-column></mj-section></mj-body></mjml>',
    }
)
BATCH = 25
_TURN_SECONDS = 0.005
_IDLE_MS = 1_000
_THREADS = 8


@dataclass(frozen=True, slots=True)
class Fate:
    """What strikes the process that next makes a call, counted from 1, of one of its parts: before it or after it.

    It dies by kill -9, or else (`stalls`) stands still until its lease has run out and another holds the lane.
    """

    part: str
    method: str
    after: bool
    call: int = 1
    stalls: bool = False


@dataclass(frozen=True, slots=True)
class Site:
    """What all processes of a test share; nothing in it is a lock, which a killed process would never let go."""

    folder: Path
    open_book: OpenBook
    lane_count: int
    takes_key: bool
    port: int
    #: The events of each partition, as the sends that they ask for.
    events: Mapping[int, Sequence[Intended]]
    fates: Sequence[Fate]
    #: How far each process has moved the time of all, in milliseconds.
    moved_ms: Any

    def now(self) -> int:
        """The time of all processes."""
        return system_clock() + sum(self.moved_ms)

    def struck(self) -> int:
        """How many fates have come true."""
        return len(list(self.folder.glob("fate-*")))

    def strikes(self, number: int) -> bool:
        """Whether the caller is the one whom this fate strikes."""
        try:
            (self.folder / f"fate-{number}").touch(exist_ok=False)
        except FileExistsError:
            return False
        return True


class Worker:
    """One process: takes whichever lane is free, does one batch and what is due, and gives the lane back."""

    def __init__(self, site: Site, number: int) -> None:
        book = site.open_book()
        self._site = site
        self._number = number
        self.lanes: LaneStore = book.store(site.lane_count)
        self.ledger: Ledger = book.ledger_with_key if site.takes_key else book.ledger
        self.esp = open_esp(_settings(site), site.now)
        tokens = Tokens("k" * 32)
        renderer = Renderer({CAMPAIGN.name: CAMPAIGN}, SENDER, PUBLIC_URL, _unused, HOSTS)
        self.mailer = Mailer(renderer, self.esp, _THREADS, site.now, tokens.sign)
        self._rows = book.rows
        self._lease: Lease | None = None
        for fate in set(site.fates):
            self._await_fate(fate)

    def work(self) -> None:
        """Until every event is processed and every send has ended."""
        with closing(self.mailer):
            while not self._is_done():
                for lane in self.lanes.names():
                    with suppress(LeaseLostError):
                        self._visit(lane)
                time.sleep(_TURN_SECONDS)

    def _visit(self, lane: str) -> None:
        self._lease = lease = self.lanes.acquire(lane, f"run-{self._number}", self._clock(), LEASE_MS)
        if lease is None:
            return
        self.ledger.settle_orphans(lease, self._clock())
        while ranges := self.lanes.to_redo(lease):
            self._activate(lease, ranges)
        ranges = self._unread(lane)
        if ranges:
            self.lanes.begin(lease, ranges, self._clock(), LEASE_MS)
            self._activate(lease, ranges)
        if not self._send_waiting(lease) and not ranges:
            self._wait()
        self.lanes.release(lease)

    def _unread(self, lane: str) -> Ranges:
        committed = self.lanes.committed()
        starts = {one: committed.get(one, 0) for one in self.lanes.partitions_of(lane, self._site.events)}
        ends = {one: min(first + BATCH, len(self._site.events[one])) for one, first in starts.items()}
        return {one: (first, ends[one]) for one, first in starts.items() if first < ends[one]}

    def _activate(self, lease: Lease, ranges: Ranges) -> None:
        intended = [one for partition, bounds in ranges.items() for one in self._site.events[partition][slice(*bounds)]]
        self._send(self.ledger.claim(lease, intended, lease.holder, ranges, self._clock()))
        self.lanes.commit(lease, ranges, self._clock(), self._clock() + LEASE_MS)

    def _send_waiting(self, lease: Lease) -> bool:
        waiting = self.ledger.due(self._clock(), FRESH, BATCH)
        if waiting:
            self._send(self.ledger.reclaim(lease, waiting, {CAMPAIGN.name: RULES}, self._clock()))
        return bool(waiting)

    def _send(self, decided: Sequence[Decided]) -> None:
        claims = [one.claim for one in decided if one.claim]
        answers = self.mailer.send(claims, self.mailer.patience())
        self.ledger.settle(answers)

    def _wait(self) -> None:
        """There is nothing to do but to let time pass."""
        self._site.moved_ms[self._number] += _IDLE_MS

    def _is_done(self) -> bool:
        committed = self.lanes.committed()
        if any(committed.get(partition, 0) < len(events) for partition, events in self._site.events.items()):
            return False
        return all(row["state"] not in (CLAIMED, RETRY) for row in self._rows())

    def _clock(self) -> int:
        return self._site.now()

    def _await_fate(self, fate: Fate) -> None:
        part = getattr(self, fate.part)
        original, calls = getattr(part, fate.method), itertools.count(1)

        def struck(*arguments: Any, **named: Any) -> Any:
            call = next(calls)
            if not fate.after:
                self._meet(fate, call)
            answer = original(*arguments, **named)
            if fate.after:
                self._meet(fate, call)
            return answer

        setattr(part, fate.method, struck)

    def _meet(self, fate: Fate, call: int) -> None:
        number = self._site.struck()
        if call < fate.call or number >= len(self._site.fates) or self._site.fates[number] != fate:
            return
        if not self._site.strikes(number):
            return
        if fate.stalls:
            self._stall()
        else:
            os.kill(os.getpid(), signal.SIGKILL)

    def _stall(self) -> None:
        assert self._lease is not None
        self._site.moved_ms[self._number] += LEASE_MS
        while self.lanes.state(self._lease.lane).fencing_token == self._lease.fencing_token:
            time.sleep(_TURN_SECONDS)


def work(site: Site, number: int) -> None:
    """The life of a process."""
    Worker(site, number).work()


def import_everything(site: Site) -> None:
    """What an adapter imports when it is opened takes a while, and each process would do it anew."""
    open_esp(_settings(site), site.now).close()


def _settings(site: Site) -> Settings:
    esp = {
        "kind": "webhook",
        "url": f"http://127.0.0.1:{site.port}/mails",
        "signing_secret": SIGNING_SECRET,
        "concurrency": _THREADS,
        "idempotency_key_hours": KEY_MS / HOUR_MS if site.takes_key else 0,
    }
    return Settings.model_validate({"esp": {"main": esp}, "activation": {"esp": ["main"]}})


def _unused(_token: Mailed) -> str:
    raise AssertionError("a mail's tokens are those of its claim")
