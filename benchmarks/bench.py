"""Measures a running stack: posts a load, watches, and asks stream, lane, ledger and /proc what it took."""

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import orjson
from deployment import Dagster, mails, overlapping
from load import Plan, to_json
from measure import Backlog, Gauge, latencies
from resources import OTHERS, Usage, busy_seconds, usage
from results import Step, Totals, events_per_post, faults
from traffic import VISIT, Traffic, identified, new_people

from wakeline.clock import system_clock
from wakeline.errors import WakelineError
from wakeline.report import build_report
from wakeline.settings import Settings
from wakeline.stack.supervisor import Stack

RESIDENT_JOB, BATCH_JOB = "resident_lane", "batch_models"
#: The generator imports and connects meanwhile.
_LEAD_MS = 2_000
#: People known before the first step: half of all visits are theirs.
_FIRST_PEOPLE = 2_000
#: A step that is this far behind shows nothing more by going on.
_HOPELESS_LAG_SECONDS = 15.0
_DRAIN_SECONDS = 600.0
_FIRST_SEND_SECONDS = 180.0
_BATCH_MODELS_SECONDS = 180.0
_FATES = ("accepted", "unanswered", "refused", "order_accepted", "order_unanswered", "order_refused")
_STATUSES = ("accepted", "duplicate", "quarantined")
_ALIVE = ["QUEUED", "NOT_STARTED", "STARTING", "STARTED", "CANCELING"]

#: Told what is going on, and how many of how many seconds of it are over.
Show = Callable[[str, float, float], None]


@dataclass
class _Watched:
    """What was seen of a step while it went on."""

    begin: float
    seconds: float
    stopped_early: bool
    backlog: Backlog
    resources: dict[str, dict[str, float]]


@dataclass(frozen=True, slots=True)
class _Whole:
    """A step from its first POST, the warm-up's, until everything was processed."""

    drained_after_seconds: float
    seconds: float
    cpu_seconds: float


@dataclass
class Benchmark:
    """One benchmark of one fresh stack; the methods are to be called in their order."""

    settings: Settings
    stack: Stack
    gauge: Gauge
    show: Show
    seconds: float
    warm_up_seconds: float
    #: Process of the stream's broker, if there is one.
    broker: Mapping[str, int] = field(default_factory=dict)
    known_people: int = 1
    posted: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_FATES, 0))
    pids: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.dagster = Dagster(self.settings)
        self.pids = self.stack.pids()

    def cold_start(self, began_ms: int) -> float:
        """Seconds from `began_ms` to the first mail of the new stack."""
        self.show("first mail after a cold start", 0, 0)
        return self._mail_one("bench-cold", began_ms)

    def prepare(self, wait_for_batch_models: bool) -> None:
        """Make people known and let them look around; wait for the recommendations that follow from it."""
        self.show("making people known", 0, 0)
        self._generate(Plan(**self._place("bench-people", 1_000, 50), seconds=_FIRST_PEOPLE / 1_000, known_people=0))
        self.known_people = _FIRST_PEOPLE
        self._generate(Plan(**self._place("bench-browse", 200, 1), seconds=10, known_people=self.known_people))
        self.known_people += new_people(200 * 10)
        if wait_for_batch_models:
            self.show("waiting for the batch models", 0, 0)
            built = lambda: self.dagster.runs(pipelineName=BATCH_JOB, statuses=["SUCCESS"])  # noqa: E731
            self._wait(built, _BATCH_MODELS_SECONDS, "the batch models were not built")
        self._drain()

    def step(self, rate: float) -> Step:
        """Offer a rate and see what comes of it."""
        plan = Plan(
            **self._place(f"bench-{rate:g}", rate, events_per_post(rate)),
            seconds=self.warm_up_seconds + self.seconds,
            warm_up_seconds=self.warm_up_seconds,
            known_people=self.known_people,
        )
        cpu_before = self._cpu_seconds()
        generator = _start(plan)
        try:
            watched = self._watch(plan, generator)
            tally = self._finish(plan, generator)
        finally:
            _kill(generator)
        drained_after = self._drain()
        took_seconds = (system_clock() - plan.start_at_ms) / 1000
        whole = _Whole(drained_after, took_seconds, self._cpu_seconds() - cpu_before)
        return self._step(plan, watched, tally, whole)

    def idle(self) -> float:
        """Seconds from an event that finds no run alive to its mail."""
        self.show("first mail when no run is alive", 0, 0)
        for run in self.dagster.runs(pipelineName=RESIDENT_JOB, statuses=_ALIVE):
            self.dagster.terminate(run["runId"])
        gone = lambda: not self.dagster.runs(pipelineName=RESIDENT_JOB, statuses=["STARTED", "CANCELING"])  # noqa: E731
        self._wait(gone, _FIRST_SEND_SECONDS, "the run does not end")
        return self._mail_one("bench-idle", system_clock())

    def totals(self) -> Totals:
        """What went in and came out; to be asked when everything is drained."""
        report = build_report(self.settings, system_clock)
        decisions, orders = self.gauge.orders_decided("bench-")
        return Totals(
            accepted=self.posted["accepted"],
            unanswered=self.posted["unanswered"],
            orders_accepted=self.posted["order_accepted"],
            orders_unanswered=self.posted["order_unanswered"],
            landed={status: report[status] for status in _STATUSES},
            decisions=decisions,
            orders_decided=orders,
            states=self.gauge.states(),
            mails=mails(self.settings),
        )

    def faults(self, totals: Totals) -> list[str]:
        """What must never happen, and did."""
        now = self.stack.pids()
        restarted = [name for name, pid in self.pids.items() if now.get(name) != pid]
        failed = self.dagster.runs(pipelineName=RESIDENT_JOB, statuses=["FAILURE"])
        return [
            *faults(totals),
            *(f"The {name} process ended." for name in restarted),
            *(f"Run {run['runId']} of {run['jobName']} failed." for run in failed),
        ]

    def _cpu_seconds(self) -> float:
        return sum(one.cpu_seconds for one in usage({**self.stack.pids(), **self.broker}).values())

    def _place(self, step: str, rate: float, per_post: int) -> dict[str, Any]:
        collector = self.settings.collector
        where = {"host": collector.host, "port": collector.port, "write_key": collector.write_key}
        start = {"start_at_ms": system_clock() + _LEAD_MS}
        return {**where, **start, "step": step, "rate": rate, "events_per_post": per_post}

    def _generate(self, plan: Plan) -> None:
        generator = _start(plan)
        try:
            tally = self._finish(plan, generator)
        finally:
            _kill(generator)
        if tally["accepted"] != plan.posts * plan.events_per_post:
            raise WakelineError(f"The collector did not take {plan.step}: {tally['posts_by_status']} (status: POSTs).")

    def _finish(self, plan: Plan, generator: "subprocess.Popen[bytes]") -> dict[str, Any]:
        out, err = generator.communicate()
        if generator.returncode != 0:
            said = err.decode(errors="replace").strip().splitlines() or ["it said nothing"]
            raise WakelineError(f"The load generator of {plan.step} failed: {said[-1]}.")
        tally: dict[str, Any] = orjson.loads(out)
        for fate in _FATES:
            self.posted[fate] += tally[fate]
        return tally

    def _watch(self, plan: Plan, generator: "subprocess.Popen[bytes]") -> _Watched:
        begin = plan.start_at_ms / 1000 + plan.warm_up_seconds
        self._sleep_until(plan, begin)
        programs = {**self.stack.pids(), **self.broker, "generator": generator.pid}
        before, busy_before, backlog, stopped_early = usage(programs), busy_seconds(), Backlog(0, 0.0), False
        peak: dict[str, int] = {}
        while (now := time.time()) < begin + self.seconds and not stopped_early:
            self._sleep_until(plan, min(now + 1, begin + self.seconds))
            backlog, seconds, after = self.gauge.backlog(), time.time() - begin, usage(programs)
            _raise(peak, after)
            self.stack.check()
            stopped_early = backlog.lag_seconds > _HOPELESS_LAG_SECONDS
        used = _used(before, after, peak, seconds)
        others = (busy_seconds() - busy_before) / seconds - sum(one["cores"] for one in used.values())
        used[OTHERS] = {"cores": max(0.0, others), "rss_bytes": 0}
        if stopped_early:
            generator.terminate()
        return _Watched(begin, seconds, stopped_early, backlog, used)

    def _step(self, plan: Plan, watched: _Watched, tally: Mapping[str, Any], whole: _Whole) -> Step:
        self.known_people += new_people(plan.posts * plan.events_per_post)
        measured_from_ms = plan.due_ms(plan.warm_up_posts)
        rows = self.gauge.sends(plan.step)
        runs = overlapping(self.dagster.runs(), watched.begin, watched.begin + watched.seconds)
        seconds = min(watched.seconds, self.seconds)
        offered = sum(tally[f"measured_{fate}"] for fate in ("accepted", "refused", "unanswered"))
        return Step(
            rate=plan.rate,
            events_per_post=plan.events_per_post,
            seconds=seconds,
            offered_per_second=offered / seconds,
            accepted_per_second=tally["measured_accepted"] / seconds,
            refused=tally["refused"] + tally["unanswered"],
            lag_seconds=watched.backlog.lag_seconds,
            unread_events=watched.backlog.events,
            drained_after_seconds=whole.drained_after_seconds,
            processed_per_second=tally["accepted"] / whole.seconds,
            cpu_ms_per_event=1000 * whole.cpu_seconds / max(1, tally["accepted"]),
            latency_ms=latencies(rows, measured_from_ms),
            late_ms=tally["late_ms"],
            answer_ms=tally["answer_ms"],
            stopped_early=watched.stopped_early,
            not_sent=dict(Counter(f"{row['state']} {row['reason']}".strip() for row in rows if row["state"] != "sent")),
            resources=watched.resources,
            other_runs=[name for name in runs if name != RESIDENT_JOB],
        )

    def _mail_one(self, step: str, began_ms: int) -> float:
        """Post an order of the first person; seconds from `began_ms` to when the ESP accepted its mail."""
        now_ms, last = system_clock(), len(VISIT) - 1
        messages = [identified(0, now_ms), Traffic(step, 1, known_people=1).event(last, now_ms)]
        messages[0]["messageId"] = f"{step}-identify"
        collector = self.settings.collector
        url = f"http://{collector.host}:{collector.port}/v1/batch"
        httpx.post(url, json={"batch": messages}, auth=(collector.write_key, ""), timeout=30).raise_for_status()
        self.posted["accepted"] += len(messages)
        self.posted["order_accepted"] += 1
        sent = lambda: [row for row in self.gauge.sends(step) if row["esp_accepted_at_ms"]]  # noqa: E731
        [row] = self._wait(sent, _FIRST_SEND_SECONDS, "no mail was sent")
        return (int(row["esp_accepted_at_ms"]) - began_ms) / 1000

    def _drain(self) -> float:
        began = time.monotonic()
        drained = lambda: self.gauge.is_drained(self.posted["accepted"])  # noqa: E731
        self._wait(drained, _DRAIN_SECONDS, "the lanes did not catch up")
        return time.monotonic() - began

    def _wait(self, ready: Callable[[], Any], seconds: float, otherwise: str) -> Any:
        deadline = time.monotonic() + seconds
        while not (found := ready()):
            self.stack.check()
            if time.monotonic() > deadline:
                raise WakelineError(f"Within {seconds:.0f} s {otherwise}; see the logs of the stack.")
            time.sleep(0.05)
        return found

    def _sleep_until(self, plan: Plan, moment: float) -> None:
        time.sleep(max(0.0, moment - time.time()))
        self.show(f"{plan.rate:,.0f} events/s", time.time() - plan.start_at_ms / 1000, plan.seconds)


def _start(plan: Plan) -> "subprocess.Popen[bytes]":
    pipe = subprocess.PIPE
    script = str(Path(__file__).with_name("load.py"))
    generator = subprocess.Popen([sys.executable, script], stdin=pipe, stdout=pipe, stderr=pipe)
    assert generator.stdin is not None  # noqa: S101 - for the type checker
    generator.stdin.write(to_json(plan))
    generator.stdin.close()
    generator.stdin = None  # Else communicate() flushes it.
    return generator


def _kill(generator: "subprocess.Popen[bytes]") -> None:
    if generator.poll() is None:
        generator.kill()
        generator.communicate()


def _raise(peak: dict[str, int], now: Mapping[str, Usage]) -> None:
    for name, one in now.items():
        peak[name] = max(peak.get(name, 0), one.rss_bytes)


def _used(
    before: Mapping[str, Usage], after: Mapping[str, Usage], peak: Mapping[str, int], seconds: float
) -> dict[str, dict[str, float]]:
    nothing = Usage(0.0, 0)
    return {
        name: {
            "cores": max(0.0, one.cpu_seconds - before.get(name, nothing).cpu_seconds) / seconds,
            "rss_bytes": peak.get(name, one.rss_bytes),
        }
        for name, one in after.items()
    }
