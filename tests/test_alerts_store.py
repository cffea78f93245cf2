"""Whatever is seen, and whenever processes die: one opening, one recovery, each delivered once to each channel."""

import tempfile
from collections import deque
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.alerting import ScriptedChannel, concern, problem
from support.clocks import HOUR_MS, SECOND_MS, Hand

from wakeline.alerts.book import Book, rules, windows
from wakeline.alerts.concerns import CONCERNS, DELIVERY, Concern
from wakeline.alerts.database import alert_deliveries, alerts, open_alert_database
from wakeline.alerts.delivery import CLAIM_MS, GIVE_UP_MS, deliver, describe, look_at
from wakeline.alerts.machine import FLAP_QUIET_SECONDS
from wakeline.alerts.outbox import Outbox
from wakeline.alerts.problem import Look, Problem, Severity
from wakeline.alerts.silences import Silence
from wakeline.alerts.store import Store
from wakeline.errors import AlertError
from wakeline.settings import Settings

if TYPE_CHECKING:
    from support.postgres import PostgresServer

BUDGET_MS = 20_000
LANES = next(one for one in CONCERNS if one.name == "lanes")


def some_settings(folder: Path, channels: dict[str, Any] | None = None, **alerting: Any) -> Settings:
    named = {"chat": {"url": "json://127.0.0.1:1"}} if channels is None else channels
    return Settings.model_validate({"data_dir": folder, "alerts": {"channels": named, **alerting}})


@contextmanager
def opened(chosen: Settings, channels: dict[str, ScriptedChannel] | None = None) -> Iterator[Book]:
    """A book whose channels are scripted, as a process opens it when it starts."""
    engine = open_alert_database(chosen)
    found = {name: (channels or {}).get(name, ScriptedChannel()) for name in chosen.alerts.channels}
    try:
        yield Book(chosen.alerts, rules(chosen), Store(engine), Outbox(engine), dict(found), windows(chosen.alerts))
    finally:
        engine.dispose()


def urgent(key: str, **values: Any) -> Problem:
    return problem(key, open_after_seconds=0, **values)


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Book]:
    with opened(some_settings(tmp_path)) as found:
        yield found


def chat(book: Book, *answers: str | None) -> ScriptedChannel:
    channel = ScriptedChannel(deque(answers))
    book.channels["chat"] = channel
    return channel


def titles(channel: ScriptedChannel) -> list[str]:
    return [message.title for message in channel.taken]


# Looks, restarts and deliveries in any order

_LANES = concern("lanes")
_CHECKS = concern("checks", open_after=10, close_after=15, group=10)
_KEYS = {
    _LANES.name: ("lane/0", "lane/1"),
    _CHECKS.name: ("check/a/x", "check/event_stream/lag_within_sla", "check/event_stream/stream_can_be_read"),
}


def _looks(at: Concern) -> st.SearchStrategy[Any]:
    some = st.sets(st.sampled_from(_KEYS[at.name]))
    rarely = st.sampled_from([frozenset[str]()] * 3 + [frozenset(_KEYS[at.name])])
    return st.tuples(st.just("look"), st.just(at), some, rarely, st.integers(0, 40))


_LOOKS = _looks(_LANES) | _looks(_CHECKS)
_ROUNDS = st.tuples(st.just("deliver"), st.lists(st.sampled_from((None, "500", "time-out")), max_size=4))
_STEPS = st.one_of(
    _LOOKS, _LOOKS, _LOOKS, _ROUNDS, _ROUNDS, st.just(("die",)), st.tuples(st.just("silence"), st.integers(1, 120))
)


class Process:
    """One that looks and delivers, and may die at any step: the next one knows only what the database does."""

    def __init__(self, folder: Path) -> None:
        self.settings = some_settings(folder)
        self.clock = Hand()
        self.channel = ScriptedChannel()
        self.broken: dict[str, str] = {}

    def do(self, steps: list[Any]) -> None:
        """All of the steps; each death is the end of one process and the beginning of another."""
        todo = deque(steps)
        while todo:
            with opened(self.settings, {"chat": self.channel}) as book:
                while todo and (step := todo.popleft()) != ("die",):
                    self._do(book, *step)
                self._cut_off(book)

    def _do(self, book: Book, what: str, *values: Any) -> None:
        if what == "look":
            at, seen, unknown, seconds = values
            self.clock.now_ms += seconds * SECOND_MS
            self.look(book, at, seen, unknown)
        elif what == "deliver":
            self.channel.answers = deque(values[0])
            deliver(book.outbox, book.channels, self.clock, BUDGET_MS)
        else:
            now_ms = self.clock()
            book.store.silence(Silence("", "", "a test", "ann", now_ms, now_ms + values[0] * SECOND_MS))

    def _cut_off(self, book: Book) -> None:
        """In the middle of an attempt: the channel took nothing, and nobody writes down what came of it."""
        due = book.outbox.first("chat")
        if due is not None and due.next_attempt_ms <= self.clock():
            book.outbox.claim(due, self.clock() + CLAIM_MS)

    def look(self, book: Book, at: Concern, seen: Collection[str], unknown: Collection[str]) -> None:
        book.take(at, Look(tuple(map(problem, seen)), frozenset(unknown) - frozenset(seen)), self.clock())

    def end_well(self) -> None:
        """All is well for so long that everything recovers, and the channel takes everything."""
        with opened(self.settings, {"chat": self.channel}) as book:
            for _ in range(3):
                for one in (_LANES, _CHECKS):
                    self.look(book, one, [], [])
                self.clock.now_ms += round((FLAP_QUIET_SECONDS + 120) * SECOND_MS)
            self.channel.answers.clear()
            deliver(book.outbox, book.channels, self.clock, BUDGET_MS)
            said = book.store.messages(1_000)
        self.said = [(one["kind"], key) for one in reversed(said) for key in one["keys"]]
        self.titles = [one["title"] for one in reversed(said)]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(_STEPS, min_size=5, max_size=30))
def test_every_opening_has_one_recovery_and_every_message_is_delivered_once(steps: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        process = Process(Path(folder))
        process.do(steps)
        process.end_well()
    for key in (key for keys in _KEYS.values() for key in keys):
        kinds = [kind for kind, told in process.said if told == key and kind != "reminder"]
        assert kinds == ["opened", "recovered"] * (len(kinds) // 2), key
    assert titles(process.channel) == process.titles


# What the database keeps


def test_a_look_is_remembered_by_the_next_process(tmp_path: Path) -> None:
    chosen, clock = some_settings(tmp_path), Hand()
    lane = urgent("lane/0", affected=("landing",), links=(("Run", "http://x/runs/1"),), because=("lane/9",))
    with opened(chosen) as book:
        assert len(book.take(LANES, Look((lane,)), clock())) == 1
    with opened(chosen) as book:
        assert book.take(LANES, Look((lane,)), clock()) == ()
        assert book.store.alerts()["lane/0"].problem == lane
        [recovered] = book.take(LANES, Look(), clock())
        assert recovered.title == "Recovered: lane/0"


def test_state_and_outbox_change_together(book: Book) -> None:
    with book.store.engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE alert_deliveries"))
    with pytest.raises(AlertError, match="The alert database in the data folder fails"):
        book.take(LANES, Look((urgent("lane/0"),)), Hand()())
    assert book.store.alerts() == {}


def test_a_look_that_changes_nothing_writes_nothing(book: Book) -> None:
    clock, look = Hand(), Look((urgent("lane/0"),))
    book.take(LANES, look, clock())
    written: list[str] = []
    sa.event.listen(book.store.engine, "before_cursor_execute", lambda *said: written.append(said[2]))
    book.take(LANES, look, clock() + 1000)
    assert [statement for statement in written if not statement.startswith(("SELECT", "BEGIN"))] == []


def test_old_messages_are_forgotten_but_for_those_that_wait(book: Book) -> None:
    clock, channel = Hand(), chat(book)
    book.take(LANES, Look((urgent("lane/0"),)), clock())
    deliver(book.outbox, book.channels, clock, BUDGET_MS)
    book.take(LANES, Look(), clock())
    clock.now_ms += 91 * 24 * HOUR_MS
    book.forget(clock())
    assert [one["title"] for one in book.store.messages(10)] == ["Recovered: lane/0"]
    deliver(book.outbox, book.channels, clock, BUDGET_MS)
    book.forget(clock())
    assert book.store.messages(10) == []
    assert len(channel.taken) == 2


def test_a_silence_can_be_ended(book: Book) -> None:
    clock = Hand()
    number = book.store.silence(Silence("", "lane/*", "deploy", "ann", clock(), clock() + HOUR_MS))
    assert book.take(LANES, Look((urgent("lane/0"),)), clock()) == ()
    assert book.store.unsilence(number + 1, clock()) == 0
    assert book.store.unsilence(number, clock()) == 1
    assert book.store.silences(clock()) == []
    assert len(book.take(LANES, Look((urgent("lane/0"),)), clock())) == 1


def test_the_same_on_postgres(postgres: "PostgresServer", tmp_path: Path) -> None:
    chosen, clock = some_settings(tmp_path, url=postgres.create_database()), Hand()
    channel = ScriptedChannel(deque(["500"]))
    for _ in range(2):
        with opened(chosen, {"chat": channel}) as book:
            book.take(LANES, Look((urgent("lane/0"),)), clock())
            deliver(book.outbox, book.channels, clock, BUDGET_MS)
            clock.now_ms += 10 * SECOND_MS
    with opened(chosen, {"chat": channel}) as book:
        book.take(LANES, Look(), clock())
        deliver(book.outbox, book.channels, clock, BUDGET_MS)
        assert book.outbox.states()["chat"].waiting == 0
        book.store.silence(Silence("", "", "deploy", "ann", clock(), clock() + HOUR_MS))
        assert book.store.unsilence(None, clock()) == 1
        book.forget(clock() + 100 * 24 * HOUR_MS)
    assert titles(channel) == ["[error] lane/0", "Recovered: lane/0"]


def test_a_wrong_address_of_the_database_names_its_setting(tmp_path: Path) -> None:
    from wakeline.errors import ConfigError

    with (
        pytest.raises(ConfigError, match=r"alerts\.url is one of 'mysql'"),
        opened(some_settings(tmp_path, url="mysql://u:pw@h/d")),
    ):
        pass


# Channels that are down


def test_a_channel_that_is_down_gets_its_messages_later_in_order_and_once(book: Book) -> None:
    clock, channel = Hand(), chat(book, "500", "500")
    book.take(LANES, Look((urgent("lane/0"),)), clock())
    assert deliver(book.outbox, book.channels, clock, BUDGET_MS).failures == {"chat": "500"}
    book.take(LANES, Look(), clock())
    assert deliver(book.outbox, book.channels, clock, BUDGET_MS).failures == {}, "It is left alone for a while."
    clock.now_ms += 5 * SECOND_MS
    assert deliver(book.outbox, book.channels, clock, BUDGET_MS).failures == {"chat": "500"}
    assert "2 messages wait, the oldest for 5 s, 2 attempts: 500" in describe(book.outbox.states()["chat"], clock())
    clock.now_ms += 10 * SECOND_MS
    assert deliver(book.outbox, book.channels, clock, BUDGET_MS).delivered == 2
    clock.now_ms += HOUR_MS
    assert deliver(book.outbox, book.channels, clock, BUDGET_MS).delivered == 0
    assert titles(channel) == ["[error] lane/0", "Recovered: lane/0"]


def test_an_attempt_that_was_cut_off_is_made_again_and_nobody_else_makes_it_meanwhile(book: Book) -> None:
    clock, channel = Hand(), chat(book)
    book.take(LANES, Look((urgent("lane/0"),)), clock())
    due = book.outbox.first("chat")
    assert due is not None
    assert book.outbox.claim(due, clock() + CLAIM_MS)
    assert not book.outbox.claim(due, clock() + CLAIM_MS), "Two processes must not make the same attempt."
    assert deliver(book.outbox, book.channels, clock, BUDGET_MS).delivered == 0
    clock.now_ms += CLAIM_MS
    assert deliver(book.outbox, book.channels, clock, BUDGET_MS).delivered == 1
    assert len(channel.taken) == 1


def test_a_message_that_nobody_took_for_a_day_is_given_up_and_the_next_one_tried(book: Book) -> None:
    clock = Hand()
    channel = chat(book, "400")
    book.take(LANES, Look((urgent("lane/0"),)), clock())
    clock.now_ms += GIVE_UP_MS
    book.take(LANES, Look(), clock())
    deliver(book.outbox, book.channels, clock, BUDGET_MS)
    deliver(book.outbox, book.channels, clock, BUDGET_MS)
    assert titles(channel) == ["Recovered: lane/0"]
    state = book.outbox.states()["chat"]
    assert (state.waiting, state.given_up) == (0, 1)


def test_a_round_has_an_end(book: Book) -> None:
    clock = Hand()

    class Slow(ScriptedChannel):
        def send(self, message: Any) -> str | None:
            clock.now_ms += 15 * SECOND_MS
            return super().send(message)

    book.channels["chat"] = Slow()
    for number in range(4):
        book.take(LANES, Look((*(urgent(f"lane/{one}") for one in range(number + 1)),)), clock())
    assert deliver(book.outbox, book.channels, clock, BUDGET_MS).delivered == 2
    assert deliver(book.outbox, book.channels, clock, BUDGET_MS).delivered == 2


def test_that_a_channel_is_down_is_told_through_the_others(tmp_path: Path) -> None:
    clock, down, up = Hand(), ScriptedChannel(deque(["500"] * 5)), ScriptedChannel()
    addresses = {name: {"url": "json://127.0.0.1:1"} for name in ("chat", "pager")}
    with opened(some_settings(tmp_path, addresses), {"chat": down, "pager": up}) as book:
        book.take(LANES, Look((urgent("lane/0"),)), clock())
        for _ in range(40):
            deliver(book.outbox, book.channels, clock, BUDGET_MS)
            book.take(DELIVERY, look_at(book.outbox.states(), book.channels), clock())
            clock.now_ms += 10 * SECOND_MS
    assert titles(down) == ["[error] lane/0"]
    assert titles(up) == ["[error] lane/0", "[error] channel/chat", "Recovered: channel/chat"]
    assert "took none of 1 messages in" in up.taken[1].body


def test_a_channel_that_was_given_up_on_is_not_called_well(book: Book) -> None:
    clock = Hand()
    chat(book, *["400"] * 9)
    book.take(LANES, Look((urgent("lane/0"),)), clock())
    for _ in range(3):
        deliver(book.outbox, book.channels, clock, BUDGET_MS)
        clock.now_ms += 30 * SECOND_MS
    assert [one.key for one in look_at(book.outbox.states(), book.channels).problems] == ["channel/chat"]
    clock.now_ms += GIVE_UP_MS
    book.take(LANES, Look(), clock())
    deliver(book.outbox, book.channels, clock, BUDGET_MS)
    look = look_at(book.outbox.states(), book.channels)
    assert (look.problems, look.unknown) == ((), {"channel/chat"})


def test_a_channel_hears_only_what_it_asked_for(tmp_path: Path) -> None:
    url = "json://127.0.0.1:1"
    asked = {
        "all": {"url": url},
        "severe": {"url": url, "min_severity": "critical"},
        "checks": {"url": url, "concerns": ["checks"]},
    }
    clock = Hand()
    channels = {name: ScriptedChannel() for name in asked}
    with opened(some_settings(tmp_path, asked), channels) as book:
        book.take(LANES, Look((urgent("lane/0"),)), clock())
        book.take(LANES, Look((urgent("lane/0"), urgent("lane/1", severity=Severity.CRITICAL))), clock())
        deliver(book.outbox, book.channels, clock, BUDGET_MS)
    assert {name: titles(channel) for name, channel in channels.items()} == {
        "all": ["[error] lane/0", "[critical] lane/1"],
        "severe": ["[critical] lane/1"],
        "checks": [],
    }


def test_without_channels_everything_is_still_kept(tmp_path: Path) -> None:
    with opened(some_settings(tmp_path, {})) as book:
        book.take(LANES, Look((urgent("lane/0"),)), Hand()())
        assert [one["title"] for one in book.store.messages(10)] == ["[error] lane/0"]
        with book.store.engine.connect() as connection:
            assert connection.execute(sa.select(sa.func.count()).select_from(alert_deliveries)).scalar() == 0
            assert connection.execute(sa.select(sa.func.count()).select_from(alerts)).scalar() == 1
