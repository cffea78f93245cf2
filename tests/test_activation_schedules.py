"""Ten thousand people's weeks around days on which clocks are set, through gates and ledger."""

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import count
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.clocks import DAY_MS, HOUR_MS, MINUTE_MS
from support.sending import Book, granted, marketing

from wakeline.activation.claims import Decided, Intended
from wakeline.activation.esp.protocol import Accepted
from wakeline.activation.gates import FRESH, Cap, Decision, Facts, Rules, Wait, decide
from wakeline.activation.ledger.rows import candidate_of
from wakeline.activation.mailer import Answer
from wakeline.activation.quiet_hours import QuietHours, first_allowed_ms
from wakeline.engines import open_sqlite
from wakeline.pipeline.lanes import Lease

#: Schedules in one example, and examples: ten thousand together.
PEOPLE, EXAMPLES = 50, 200
ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Antarctica/Troll", "Asia/Beirut", "UTC")
#: A day or two before clocks are set in some of these zones.
STARTS = [
    round(datetime(year, month, day, tzinfo=UTC).timestamp() * 1000)
    for year, month, day in ((2026, 3, 7), (2026, 3, 27), (2026, 4, 3), (2026, 10, 2), (2026, 10, 23), (2026, 10, 30))
]
SPAN_MS = 4 * DAY_MS
MARKETING_CAP = Cap(3, 36 * HOUR_MS)
CAMPAIGN_CAPS = {"cart": Cap(1, 20 * HOUR_MS), "dwell": Cap(2, DAY_MS), "launch": None}

_numbers = count()


@dataclass
class World:
    """The ledger, the lane and what came of each send."""

    book: Book
    lease: Lease


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    engine = open_sqlite(tmp_path_factory.mktemp("schedules") / "ledger.sqlite")
    # No power is cut in this test.
    sa.event.listen(engine, "connect", lambda connection, _record: connection.execute("PRAGMA synchronous=OFF"))
    engine.dispose()
    book = Book(engine)
    yield World(book, book.hold(now_ms=STARTS[0]))
    engine.dispose()


def schedule(rng: random.Random, person: str) -> list[Intended]:
    """What the triggers say of one person in a few days, the oldest first."""
    start_ms, zone = rng.choice(STARTS), rng.choice(ZONES)
    quiet = QuietHours(rng.randrange(1_440), rng.randrange(1_440))
    return sorted(
        (_send(rng, person, zone, quiet, start_ms + rng.randrange(SPAN_MS)) for _ in range(rng.randint(1, 5))),
        key=lambda one: (one.occurred_at_ms, -one.rules.priority, one.occurrence_key),
    )


def _send(rng: random.Random, person: str, zone: str, quiet: QuietHours, at_ms: int) -> Intended:
    campaign = rng.choice(list(CAMPAIGN_CAPS))
    rules = Rules(
        cap=CAMPAIGN_CAPS[campaign],
        marketing_cap=MARKETING_CAP,
        quiet_hours=quiet if quiet.start_minute != quiet.end_minute and rng.random() < 0.8 else None,
        priority=5 if campaign == "launch" else 0,
        priority_window_ms=rng.choice((0, 6 * HOUR_MS)),
        priority_wait_ms=rng.choice((0, 0, 30 * MINUTE_MS)),
    )
    one = marketing(f"{campaign}/{at_ms}", ids=(person,), campaign=campaign, time_zone=zone)
    expires_at_ms = at_ms + rng.choice((HOUR_MS, 12 * HOUR_MS, 3 * DAY_MS))
    return replace(one, rules=rules, occurred_at_ms=at_ms, expires_at_ms=expires_at_ms)


@dataclass
class Model:
    """What the gates decide when the facts are counted from a list: the yardstick of the ledger's SQL."""

    rows: dict[str, dict[str, Any]] = field(default_factory=dict)

    def play(self, sends: Sequence[Intended]) -> None:
        """Decide on each of one person's sends when it happens, and on what waits when it is due."""
        coming = {one.key: one for one in sends}
        times = {one.key: one.occurred_at_ms for one in sends}
        while times:
            key = min(
                times,
                key=lambda key: (times[key], key not in self.rows, -coming[key].rules.priority, *_age(coming[key])),
            )
            now_ms = times.pop(key)
            no = self._decide(coming[key], now_ms)
            if isinstance(no, Wait):
                times[key] = no.until_ms

    def _decide(self, one: Intended, now_ms: int) -> Decision:
        rivals = [row for row in self._sent() if row["priority"] > one.rules.priority]
        in_window = [row for row in rivals if row["claimed_at_ms"] > now_ms - one.rules.priority_window_ms]
        waiting = [
            row for row in self.rows.values() if row["state"] == "deferred" and row["priority"] > one.rules.priority
        ]
        rival = {"some": "send"} if one.rules.priority_window_ms and (in_window or waiting) else None
        caps = ((one.rules.marketing_cap, ""), (one.rules.cap, one.campaign))
        counted = tuple((cap, self._count(name, now_ms - cap.window_ms)) for cap, name in caps if cap)
        no = decide(candidate_of(one), Facts(now_ms, {"granted": True}, None, counted, rival))
        state = "sent" if no is None else no.state if isinstance(no, Wait) else "skipped"
        reason = no.reason if no else ""
        row = {"campaign": one.campaign, "priority": one.rules.priority, "claimed_at_ms": now_ms}
        self.rows[one.key] = {**row, "state": state, "reason": reason}
        return no

    def _sent(self) -> list[dict[str, Any]]:
        return [row for row in self.rows.values() if row["state"] == "sent"]

    def _count(self, campaign: str, since_ms: int) -> int:
        return sum(row["campaign"].startswith(campaign) and row["claimed_at_ms"] > since_ms for row in self._sent())


def _age(one: Intended) -> tuple[int, str]:
    return one.occurred_at_ms, one.key


def play(
    world: World, sends: Sequence[Intended], batches: Callable[[list[Intended]], Iterable[list[Intended]]]
) -> None:
    """The same through the ledger."""
    rules = {one.key: one.rules for one in sends}
    coming = sorted(sends, key=lambda one: (one.occurred_at_ms, -one.rules.priority, one.key))
    while True:
        times = [*waiting_times(world), *(one.occurred_at_ms for one in coming[:1])]
        if not times:
            return
        now_ms = min(times)
        reclaim(world, rules, now_ms)
        new = [one for one in coming if one.occurred_at_ms <= now_ms]
        coming = coming[len(new) :]
        for batch in batches(new):
            accept(world, world.book.claim(world.lease, *batch, now_ms=now_ms), now_ms)


def waiting_times(world: World) -> list[int]:
    """When the sends that wait are due."""
    with world.book.engine.connect().execution_options(read_only=True) as connection:
        rows = connection.exec_driver_sql(
            "SELECT next_attempt_at_ms FROM sends WHERE state = 'deferred' ORDER BY next_attempt_at_ms LIMIT 1"
        )
        return [due_ms for (due_ms,) in rows]


def reclaim(world: World, rules: Mapping[str, Rules], now_ms: int) -> None:
    for one in world.book.ledger.due(now_ms, FRESH, 1_000):
        # Two sends of a campaign have different rules here, as those of two campaigns have.
        told = world.book.ledger.reclaim(world.lease, [one], {one.campaign: rules[one.key]}, now_ms)
        accept(world, told, now_ms)


def accept(world: World, told: Sequence[Decided], now_ms: int) -> None:
    """The ESP takes every mail."""
    world.book.ledger.settle([Answer(one.claim, Accepted("id"), now_ms) for one in told if one.claim])


def one_by_one(sends: list[Intended]) -> list[list[Intended]]:
    return [[one] for one in sends]


def together(sends: list[Intended]) -> list[list[Intended]]:
    return [sends] if sends else []


@settings(max_examples=EXAMPLES, deadline=None, database=None)
@given(seed=st.integers(0, 2**32))
def test_no_cap_is_exceeded_nobody_is_woken_and_every_deferral_ends_at_its_minute(seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311 - repeatable play, no secret
    for number in range(PEOPLE):
        sends, model = schedule(rng, f"user:{number}"), Model()
        model.play(sends)
        assert_kept([(one, model.rows[one.key]) for one in sends])


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(seed=st.integers(0, 2**32), batches=st.sampled_from((one_by_one, together)))
def test_the_ledger_decides_the_same_wherever_a_batch_ends(
    world: World, seed: int, batches: Callable[[list[Intended]], list[list[Intended]]]
) -> None:
    rng = random.Random(seed)  # noqa: S311 - repeatable play, no secret
    people = [f"user:{next(_numbers)}" for _ in range(5)]
    world.book.ledger.record(world.lease, [granted(person, at_ms=0) for person in people], [])
    schedules, models = [schedule(rng, person) for person in people], [Model() for _ in people]
    for sends, model in zip(schedules, models, strict=True):
        model.play(sends)
    play(world, [one for sends in schedules for one in sends], batches)
    rows = {row["idempotency_key"]: row for row in world.book.rows()}
    told = ("campaign", "priority", "claimed_at_ms", "state", "reason")
    for key, expected in (item for model in models for item in model.rows.items()):
        found = {name: rows[key][name] for name in told}
        if expected["state"] == "skipped":  # A skip keeps the time of the first decision.
            found.pop("claimed_at_ms"), expected.pop("claimed_at_ms")
        assert found == expected


def assert_kept(decided: Sequence[tuple[Intended, Mapping[str, Any]]]) -> None:
    sent = [(one, row["claimed_at_ms"]) for one, row in decided if row["state"] == "sent"]
    for one, row in decided:
        assert row["state"] in ("sent", "skipped")
        if row["state"] == "sent":
            assert_at_its_minute(one, row["claimed_at_ms"])
        else:
            assert row["reason"] in ("expired", "frequency_cap", "lower_priority")
    assert_capped([at_ms for _, at_ms in sent], MARKETING_CAP)
    for campaign, cap in CAMPAIGN_CAPS.items():
        assert_capped([at_ms for one, at_ms in sent if one.campaign == campaign], cap)


def assert_at_its_minute(one: Intended, sent_at_ms: int) -> None:
    """At once, or when the wait for a better mail was over, or in the first minute after that that was not quiet."""
    assert sent_at_ms < one.expires_at_ms
    quiet, zone = one.rules.quiet_hours, ZoneInfo(one.person.time_zone)
    waited_ms = max(one.occurred_at_ms, one.occurred_at_ms + one.rules.priority_wait_ms)
    if quiet is None:
        assert sent_at_ms == waited_ms
        return
    assert first_allowed_ms(sent_at_ms, quiet, zone) == sent_at_ms
    first_ms = first_allowed_ms(one.occurred_at_ms, quiet, zone)
    assert sent_at_ms == (first_ms if first_ms >= waited_ms else first_allowed_ms(waited_ms, quiet, zone))


def assert_capped(times: Sequence[int], cap: Cap | None) -> None:
    if cap is not None:
        for at_ms in times:
            assert len([one for one in times if at_ms - cap.window_ms < one <= at_ms]) <= cap.sends
