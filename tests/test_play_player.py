"""The schedule, the batches and the retries, with a clock that only sleeping moves."""

import random
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wakeline.clock import to_iso
from wakeline.errors import WakelineError
from wakeline.play.batching import MAX_BYTES, MAX_MESSAGES, Batch
from wakeline.play.delivery import Answer
from wakeline.play.message import TimedMessage
from wakeline.play.player import PlayResult, Standing, play

START_MS = 1_700_000_000_000
ACCEPTED = Answer(200, "200 OK")
BUSY = Answer(503, "503 Service Unavailable: the stream is full")


class FakeTime:
    """A clock that sleeping moves forward."""

    def __init__(self) -> None:
        self.now_ms = float(START_MS)
        self.slept: list[float] = []

    def clock(self) -> int:
        return int(self.now_ms)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_ms += seconds * 1000


class FakeCollector:
    """Answers as told, then accepts; every post takes `seconds_per_post`."""

    def __init__(self, time: FakeTime, answers: Iterable[Answer] = (), seconds_per_post: float = 0) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.attempts = 0
        self._time = time
        self._answers = list(answers)
        self._seconds_per_post = seconds_per_post

    def post(self, body: bytes) -> Answer:
        self.attempts += 1
        self._time.now_ms += self._seconds_per_post * 1000
        if self._answers:
            return self._answers.pop(0)
        self.bodies.append(orjson.loads(body))
        return ACCEPTED

    def messages(self) -> list[dict[str, Any]]:
        return [message for body in self.bodies for message in body["batch"]]


def at(*times_ms: int) -> list[TimedMessage]:
    return [TimedMessage(at_ms, {"messageId": str(number)}) for number, at_ms in enumerate(times_ms)]


def run(
    messages: Iterable[TimedMessage], collector: FakeCollector, time: FakeTime, speed: float = 1, **options: Any
) -> PlayResult:
    return play(messages, speed, collector.post, time.clock, time.sleep, random.Random(1), **options)  # noqa: S311 - jitter


def test_gaps_are_divided_by_the_speed_from_now_on() -> None:
    time = FakeTime()
    collector = FakeCollector(time)
    run(at(5_000, 15_000, 65_000), collector, time, speed=10)
    assert [message["timestamp"] for message in collector.messages()] == [
        to_iso(START_MS),
        to_iso(START_MS + 1_000),
        to_iso(START_MS + 6_000),
    ]
    assert [body["sentAt"] for body in collector.bodies] == [
        to_iso(START_MS),
        to_iso(START_MS + 1_000),
        to_iso(START_MS + 6_000),
    ]


def test_nothing_is_posted_before_it_is_due_and_waiting_is_in_short_slices() -> None:
    time = FakeTime()
    collector = FakeCollector(time)
    result = run(at(0, 60_000), collector, time)
    assert all(message["timestamp"] <= body["sentAt"] for body in collector.bodies for message in body["batch"])
    assert max(time.slept) <= 0.25
    assert result == PlayResult(posted=2, batches=2, retries=0, seconds=60.0, late_seconds_max=0.0, stopped=False)


def test_a_slow_collector_gets_full_batches_with_the_scheduled_times() -> None:
    time = FakeTime()
    collector = FakeCollector(time, seconds_per_post=1)
    result = run(at(*range(0, 10_000, 4)), collector, time)
    assert [message["messageId"] for message in collector.messages()] == [str(number) for number in range(2500)]
    assert collector.messages()[-1]["timestamp"] == to_iso(START_MS + 9_996)
    assert {len(body["batch"]) for body in collector.bodies[2:-1]} == {MAX_MESSAGES}
    assert result.late_seconds_max > 1


def test_batches_stay_within_the_bytes() -> None:
    time = FakeTime()
    collector = FakeCollector(time)
    large = "x" * 96_000
    run([TimedMessage(0, {"messageId": str(number), "text": large}) for number in range(20)], collector, time)
    assert max(len(orjson.dumps(body)) for body in collector.bodies) <= MAX_BYTES
    assert [len(body["batch"]) for body in collector.bodies] == [4, 4, 4, 4, 4]


def test_a_message_beyond_the_limit_goes_alone() -> None:
    time = FakeTime()
    collector = FakeCollector(time)
    texts = ("small", "x" * (MAX_BYTES + 1), "small")
    run([TimedMessage(0, {"text": text}) for text in texts], collector, time)
    assert [len(body["batch"]) for body in collector.bodies] == [1, 1, 1]


@given(st.lists(st.integers(1, 60_000), min_size=1, max_size=150))
def test_no_batch_is_larger_than_allowed(sizes: list[int]) -> None:
    batch = Batch()
    for size in sizes:
        if batch.has_room_for(b"x" * size):
            batch.add(b"x" * size, 0)
    assert 0 < len(batch) <= MAX_MESSAGES
    assert len(batch.body(START_MS)) <= MAX_BYTES


def test_the_same_batch_is_tried_again_with_longer_and_longer_pauses() -> None:
    time = FakeTime()
    collector = FakeCollector(time, [BUSY] * 9)
    result = run(at(0), collector, time)
    assert result.posted == 1
    assert result.retries == 9
    assert collector.attempts == 10
    assert collector.messages()[0]["timestamp"] == to_iso(START_MS)
    assert collector.bodies[0]["sentAt"] > to_iso(START_MS + 10_000)


@pytest.mark.parametrize(
    "answer", [BUSY, Answer(429, "429"), Answer(500, "500"), Answer(502, "502"), Answer(0, "connection refused")]
)
def test_what_passes_is_tried_again(answer: Answer) -> None:
    time = FakeTime()
    collector = FakeCollector(time, [answer])
    assert run(at(0, 1000), collector, time).posted == 2


def test_pauses_are_jittered_and_capped() -> None:
    time = FakeTime()
    moments: list[int] = []

    def post(body: bytes) -> Answer:
        moments.append(time.clock())
        return BUSY if len(moments) < 40 else ACCEPTED

    play(at(0), 1, post, time.clock, time.sleep, random.Random(1), give_up_after_seconds=1e6)  # noqa: S311 - jitter
    pauses = [(after - before) / 1000 for before, after in pairwise(moments)]
    assert 0.1 <= pauses[0] <= 0.21
    assert max(pauses) <= 10.01
    assert len(set(pauses)) > 30


def test_a_longer_pause_that_the_collector_asks_for_is_kept() -> None:
    time = FakeTime()
    collector = FakeCollector(time, [Answer(429, "429 Too Many Requests", retry_after_seconds=30)])
    assert run(at(0), collector, time).seconds >= 30


def test_giving_up_quotes_the_collector_and_says_what_to_do() -> None:
    time = FakeTime()
    collector = FakeCollector(time, [BUSY] * 1000)
    with pytest.raises(
        WakelineError, match=r"within 60 seconds .503 Service Unavailable: the stream is full.*try again"
    ):
        run(at(0), collector, time, give_up_after_seconds=60)
    assert time.clock() - START_MS <= 60_000


def test_the_patience_is_for_each_batch() -> None:
    time = FakeTime()
    collector = FakeCollector(time, [BUSY] * 5)
    messages = at(0, 1_000_000, 2_000_000)
    assert run(messages, collector, time, give_up_after_seconds=20).posted == 3


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (Answer(400, "400 Bad Request: no list 'batch'"), "refused a batch .400 Bad Request: no list 'batch'"),
        (Answer(401, "401 Unauthorized"), "refused the write key .401 Unauthorized.*collector.write_key"),
        (Answer(301, "301 Moved Permanently"), "refused a batch .301 Moved Permanently"),
    ],
)
def test_a_refusal_stops_at_once(answer: Answer, sentence: str) -> None:
    time = FakeTime()
    collector = FakeCollector(time, [answer])
    with pytest.raises(WakelineError, match=sentence):
        run(at(0, 1000), collector, time)
    assert collector.attempts == 1


def test_a_stop_comes_between_batches() -> None:
    time = FakeTime()
    collector = FakeCollector(time)
    result = run(at(*range(0, 100_000, 1000)), collector, time, stopped=lambda: len(collector.bodies) >= 3)
    assert result.stopped
    assert result.posted == len(collector.messages()) == 3


def test_a_stop_ends_the_waiting_for_a_collector_that_is_away() -> None:
    time = FakeTime()
    collector = FakeCollector(time, [BUSY] * 1000)
    result = run(at(0), collector, time, stopped=lambda: collector.attempts >= 3)
    assert result.stopped
    assert result.posted == 0
    assert collector.attempts == 3


def test_the_standing_is_reported_after_batches_and_while_waiting() -> None:
    time = FakeTime()
    collector = FakeCollector(time)
    seen: list[tuple[int, int]] = []

    def report(standing: Standing) -> None:
        seen.append((standing.posted, standing.at_ms))

    run(at(0, 2_000), collector, time, report=report)
    assert seen[0] == (1, 0)
    assert seen[-1] == (2, 2_000)
    assert len(seen) > 5


def test_nothing_to_play_posts_nothing() -> None:
    time = FakeTime()
    collector = FakeCollector(time)
    assert run([], collector, time).posted == 0
    assert collector.attempts == 0
