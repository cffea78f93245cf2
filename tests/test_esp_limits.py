"""What stands around a provider: its rate, its places, its breaker, and the providers after it."""

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from support.clocks import NOW_MS
from support.ports import free_ports
from support.providers import MAIL
from support.sending import RecordingEsp

from wakeline.activation.esp.breaker import Breaker, State
from wakeline.activation.esp.factory import open_esp
from wakeline.activation.esp.failover import FailOver
from wakeline.activation.esp.guarded import Guarded
from wakeline.activation.esp.limit import RateLimit
from wakeline.activation.esp.protocol import Accepted, Mail, Outcome, Rejected, TryLater, Unknown
from wakeline.settings import Settings

LATER = TryLater(7.0, "busy")
LOST = Unknown("the line went dead")
NO = Rejected("no such person")
RATES = st.floats(0.01, 1_000)
#: A sum of many intervals is not exact.
ROUNDING = 1e-6


class Hand:
    """Seconds that pass when somebody sleeps, and when a test says so."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


class Named(RecordingEsp):
    """A provider of some name that answers always the same."""

    def __init__(self, name: str, outcome: Outcome, takes_idempotency_key: bool = False) -> None:
        super().__init__(takes_idempotency_key, lambda _: outcome)
        self.name = name


def guarded(
    esp: RecordingEsp,
    hand: Hand,
    rate: float = math.inf,
    concurrency: int = 10,
    failures: int = 3,
    open_seconds: float = 30.0,
) -> Guarded:
    return Guarded(esp, RateLimit(rate), concurrency, Breaker(failures, open_seconds), hand, hand.sleep)


# The rate


@given(RATES, st.lists(st.tuples(st.floats(0, 5), st.floats(0, 3)), max_size=200))
def test_no_window_has_more_turns_than_the_rate_allows(rate: float, arrivals: list[tuple[float, float]]) -> None:
    limit, now, turns = RateLimit(rate), 0.0, []
    for pause, most_seconds in arrivals:
        now += pause
        turn = limit.take(now, most_seconds)
        if turn.granted:
            assert 0 <= turn.seconds <= most_seconds
            turns.append(now + turn.seconds)
    # Turns that are apart by an interval each are at most `rate * length` in any window, rounded up.
    assert all(later - sooner >= 1 / rate - ROUNDING for sooner, later in pairwise(turns))


@given(RATES, st.integers(1, 50))
def test_all_turns_are_given_that_the_rate_allows(rate: float, count: int) -> None:
    limit = RateLimit(rate)
    waits = [limit.take(0.0, math.inf).seconds for _ in range(count)]
    assert waits == pytest.approx([number / rate for number in range(count)])


@given(RATES, st.integers(1, 50), st.floats(0, 2))
def test_who_is_refused_is_told_a_moment_of_his_own_and_takes_no_turn(rate: float, count: int, most: float) -> None:
    limit = RateLimit(rate)
    taken = [turn for _ in range(count) if (turn := limit.take(0.0, most)).granted]
    refused = [limit.take(0.0, -1.0).seconds for _ in range(count)]
    assert all(later - sooner >= 1 / rate - ROUNDING for sooner, later in pairwise(refused))
    assert limit.take(0.0, math.inf).seconds == pytest.approx(len(taken) / rate)


def test_a_turn_that_is_free_is_given_to_who_does_not_wait() -> None:
    limit = RateLimit(1.0)
    assert limit.take(5.0, -3.0).granted
    assert not limit.take(5.0, -3.0).granted
    assert limit.take(6.0, -3.0).granted


def test_threads_that_race_for_turns_get_different_ones() -> None:
    limit, rate, count = RateLimit(1_000.0), 1_000.0, 400
    with ThreadPoolExecutor(8) as pool:
        waits = sorted(pool.map(lambda _: limit.take(0.0, math.inf).seconds, range(count)))
    assert waits == pytest.approx([number / rate for number in range(count)])


# The breaker


class Breakers(RuleBasedStateMachine):
    """Calls begin and end in any order while time passes."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker = Breaker(failures=3, open_seconds=10.0)
        self.now = 0.0
        self.permits: list[tuple[int, State]] = []
        self.opened_at = 0.0

    @rule(seconds=st.floats(0, 15))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def somebody_asks(self) -> None:
        before, seconds = self.breaker.state, self.breaker.refused_seconds(self.now)
        permit = self.breaker.admit(self.now)
        assert (permit is None) == (seconds > 0)
        if permit is None:
            assert before is not State.CLOSED
            return
        if before is State.OPEN:
            assert self.now >= self.opened_at + 10.0
            assert self.breaker.state is State.HALF_OPEN
        self.permits.append((permit, self.breaker.state))

    @precondition(lambda self: self.permits)
    @rule(data=st.data(), succeeded=st.booleans())
    def a_call_ends(self, data: st.DataObject, succeeded: bool) -> None:
        permit, began_in = self.permits.pop(data.draw(st.integers(0, len(self.permits) - 1)))
        before = self.breaker.state
        changed = self.breaker.record(permit, succeeded, self.now)
        if changed is State.OPEN:
            assert not succeeded
            self.opened_at = self.now
        if before is State.OPEN:
            assert changed is None
        if began_in is State.HALF_OPEN:
            assert changed is (State.CLOSED if succeeded else State.OPEN)

    @invariant()
    def one_probe_at_most_is_on_its_way(self) -> None:
        probes = [permit for permit, began_in in self.permits if began_in is State.HALF_OPEN]
        assert len(probes) == (1 if self.breaker.state is State.HALF_OPEN else 0)

    def teardown(self) -> None:
        """Whatever happened, it is of use again when all calls have ended and time has passed."""
        for permit, _ in self.permits:
            self.breaker.record(permit, False, self.now)
        probe = self.breaker.admit(self.now + 10.0)
        assert probe is not None
        self.breaker.record(probe, True, self.now)
        assert self.breaker.state is State.CLOSED


TestBreaker = Breakers.TestCase


def test_it_opens_after_failures_in_a_row_only() -> None:
    breaker = Breaker(failures=3, open_seconds=10.0)
    for succeeded in (False, False, True, False, False):
        permit = breaker.admit(0.0)
        assert permit is not None
        assert breaker.record(permit, succeeded, 0.0) is None
    permit = breaker.admit(0.0)
    assert permit is not None
    assert breaker.record(permit, False, 0.0) is State.OPEN
    assert breaker.refused_seconds(4.0) == 6.0


def test_of_threads_that_race_for_the_probe_one_gets_it() -> None:
    for _ in range(50):
        breaker = Breaker(failures=1, open_seconds=1.0)
        permit = breaker.admit(0.0)
        assert permit is not None
        breaker.record(permit, False, 0.0)
        barrier = threading.Barrier(8)

        def ask(breaker: Breaker = breaker, barrier: threading.Barrier = barrier) -> int | None:
            barrier.wait()
            return breaker.admit(2.0)

        with ThreadPoolExecutor(8) as pool:
            asked = [pool.submit(ask) for _ in range(8)]
        assert len([one for one in asked if one.result() is not None]) == 1


# One provider


def test_a_mail_waits_for_its_turn_and_is_put_off_when_that_is_far_away() -> None:
    hand, esp = Hand(), RecordingEsp()
    provider = guarded(esp, hand, rate=1.0)
    outcomes = [provider.send(MAIL, 1_002.0) for _ in range(4)]
    assert [type(one) for one in outcomes] == [Accepted, Accepted, Accepted, TryLater]
    assert hand.slept == [1.0, 1.0]
    assert outcomes[3] == TryLater(1.0, "recording takes no more mails a second")
    assert len(esp.requests) == 3


def test_as_many_mails_are_on_their_way_as_it_may_have() -> None:
    inside, most, lock = 0, 0, threading.Lock()
    both_are_in = threading.Event()

    def answer(mail: Mail) -> Outcome:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
            if inside == 2:
                both_are_in.set()
        assert both_are_in.wait(60)
        with lock:
            inside -= 1
        return Accepted("id")

    esp = RecordingEsp(answer=answer)
    breaker = Breaker(3, 30.0)
    provider = Guarded(esp, RateLimit(math.inf), 2, breaker, time.monotonic, time.sleep)
    with ThreadPoolExecutor(8) as pool:
        wait_until = time.monotonic() + 60
        outcomes = list(pool.map(lambda _: provider.send(MAIL, wait_until), range(20)))
    assert (most, set(outcomes)) == (2, {Accepted("id")})


def test_a_mail_without_a_place_is_put_off() -> None:
    entered, leave = threading.Event(), threading.Event()

    def answer(mail: Mail) -> Outcome:
        entered.set()
        assert leave.wait(60)
        return Accepted("id")

    hand = Hand()
    provider = guarded(RecordingEsp(answer=answer), hand, concurrency=1)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(provider.send, MAIL, hand.now)
        assert entered.wait(60)
        second = provider.send(MAIL, hand.now)
        leave.set()
    assert (type(second), first.result()) == (TryLater, Accepted("id"))


@pytest.mark.parametrize("outcome", [LATER, LOST])
def test_a_provider_that_does_not_work_is_left_alone_and_then_asked_once(outcome: Outcome) -> None:
    hand = Hand()
    esp = RecordingEsp(answer=lambda _: outcome)
    provider = guarded(esp, hand, failures=3)
    assert [provider.send(MAIL, hand.now) for _ in range(5)] == [
        outcome, outcome, outcome, *[TryLater(30.0, "recording does not work, and is left alone for a while")] * 2
    ]  # fmt: skip
    assert (provider.state, provider.refusal()) == (State.OPEN, provider.send(MAIL, hand.now))
    hand.now += 30.0
    assert provider.refusal() is None
    assert provider.send(MAIL, hand.now) == outcome
    assert (provider.state, len(esp.requests)) == (State.OPEN, 4)
    hand.now += 30.0
    esp.answer = lambda mail: Accepted("id")
    assert provider.send(MAIL, hand.now) == Accepted("id")
    assert provider.state is State.CLOSED


def test_what_it_refuses_for_good_shows_that_it_works() -> None:
    hand = Hand()
    provider = guarded(RecordingEsp(answer=lambda _: NO), hand, failures=1)
    assert [provider.send(MAIL, hand.now) for _ in range(5)] == [NO] * 5
    assert provider.state is State.CLOSED


def test_a_bug_of_an_adapter_ends_its_mail_and_counts_as_a_failure() -> None:
    def fail(mail: Mail) -> Outcome:
        raise RuntimeError("a bug")

    hand = Hand()
    provider = guarded(RecordingEsp(True, fail), hand, failures=2)
    assert isinstance(provider.send(MAIL, hand.now), Unknown)
    assert isinstance(provider.send(MAIL, hand.now), Unknown)
    assert provider.state is State.OPEN


class Killed(BaseException):
    """Stands for a process that is told to end."""


def test_a_probe_that_is_cut_off_is_a_failure_and_leaves_its_place() -> None:
    def killed(mail: Mail) -> Outcome:
        raise Killed

    hand = Hand()
    esp = RecordingEsp(answer=lambda _: LATER)
    provider = guarded(esp, hand, failures=1, concurrency=1)
    provider.send(MAIL, hand.now)
    hand.now += 30.0
    esp.answer = killed
    with pytest.raises(Killed):
        provider.send(MAIL, hand.now)
    assert provider.state is State.OPEN
    hand.now += 30.0
    esp.answer = lambda mail: Accepted("id")
    assert provider.send(MAIL, hand.now) == Accepted("id")


# Several providers


@pytest.mark.parametrize(
    ("first", "asked", "outcome"),
    [
        (Accepted("id"), 1, Accepted("id", "one")),
        (NO, 1, Rejected("one: no such person")),
        (LOST, 1, Unknown("one: the line went dead")),
        (LATER, 2, Accepted("id", "two")),
    ],
)
def test_the_next_is_asked_only_for_what_the_first_certainly_did_not_accept(
    first: Outcome, asked: int, outcome: Outcome
) -> None:
    hand = Hand()
    one, two = Named("one", first), Named("two", Accepted("id"))
    esp = FailOver([guarded(one, hand), guarded(two, hand)])
    assert esp.send(MAIL, hand.now) == outcome
    assert len(one.requests) + len(two.requests) == asked


def test_the_next_takes_over_while_the_first_is_left_alone() -> None:
    hand = Hand()
    one, two = Named("one", LOST), Named("two", Accepted("id"))
    esp = FailOver([guarded(one, hand, failures=2), guarded(two, hand)])
    assert [type(esp.send(MAIL, hand.now)) for _ in range(5)] == [Unknown, Unknown, Accepted, Accepted, Accepted]
    assert esp.states == {"one": State.OPEN, "two": State.CLOSED}
    assert esp.refusal() is None
    hand.now += 30.0
    one.answer = lambda mail: Accepted("id")
    assert esp.send(MAIL, hand.now) == Accepted("id", "one")


def test_a_mail_that_nobody_takes_comes_back_when_the_first_of_them_may() -> None:
    hand = Hand()
    esp = FailOver([guarded(Named("one", LATER), hand), guarded(Named("two", TryLater(5.0, "closed")), hand)])
    assert esp.send(MAIL, hand.now) == TryLater(5.0, "busy; closed")


def test_while_all_are_left_alone_nobody_is_asked() -> None:
    hand = Hand()
    esp = FailOver([guarded(Named(name, LATER), hand, failures=1) for name in ("one", "two")])
    assert esp.refusal() is None
    esp.send(MAIL, hand.now)
    assert esp.refusal() == esp.send(MAIL, hand.now)


@pytest.mark.parametrize(("takes", "seconds"), [([True], math.inf), ([False], 0), ([True, True], 0)])
def test_only_one_provider_alone_knows_a_key_again(takes: Sequence[bool], seconds: float) -> None:
    hand = Hand()
    esp = FailOver([guarded(Named(f"p{number}", LOST, take), hand) for number, take in enumerate(takes)])
    assert esp.idempotency_key_seconds == seconds
    assert isinstance(esp.send(MAIL, hand.now), Unknown)


@given(st.lists(st.lists(st.sampled_from([LATER, LOST, NO, Accepted("id")]), min_size=1, max_size=4), min_size=1))
def test_no_mail_is_accepted_twice_and_no_answer_is_lost(answers: list[list[Outcome]]) -> None:
    """Whatever three providers answer, each mail has one outcome, and a mail that may be out was the last's to ask."""
    hand = Hand()

    def answering(own: Iterator[Outcome]) -> Callable[[Mail], Outcome]:
        return lambda _: next(own, LATER)

    esps = [
        RecordingEsp(answer=answering(iter([row[n] for row in answers if len(row) > n]))) for n in range(3)
    ]  # fmt: skip
    given_: list[tuple[str, Outcome]] = []

    def noted(esp: RecordingEsp, answer: Callable[[Mail], Outcome]) -> Callable[[Mail], Outcome]:
        def note(mail: Mail) -> Outcome:
            outcome = answer(mail)
            given_.append((mail.key, outcome))
            return outcome

        return note

    for esp in esps:
        esp.answer = noted(esp, esp.answer)
    chain = FailOver([guarded(esp, hand, failures=2) for esp in esps])
    for number in range(len(answers)):
        mail = replace(MAIL, key=f"{number:032x}")
        outcome = chain.send(mail, hand.now)
        own = [one for key, one in given_ if key == mail.key]
        assert all(isinstance(one, TryLater) for one in own[:-1])
        assert isinstance(outcome, TryLater) or type(outcome) is type(own[-1])
        hand.now += 11.0


def test_the_settings_open_the_providers_in_their_order(tmp_path: Path) -> None:
    nobody = {"kind": "smtp", "host": "127.0.0.1", "port": free_ports(1)[0], "security": "none"}
    nobody["rate_per_second"] = 1_000_000  # Each is asked at once.
    settings = Settings.model_validate(
        {
            "data_dir": tmp_path,
            "esp": {"mail": nobody},
            "activation": {"esp": ["mail", "outbox"], "breaker_failures": 2, "breaker_seconds": 3_600},
        }
    )
    esp = open_esp(settings, lambda: NOW_MS)
    assert [esp.send(replace(MAIL, key=key), time.monotonic()) for key in ("aa", "bb", "cc")] == [
        Accepted(key, "outbox") for key in ("aa", "bb", "cc")
    ]
    assert esp.states == {"mail": State.OPEN, "outbox": State.CLOSED}
    assert esp.idempotency_key_seconds == 0
    esp.close()
