"""The mailer: rendering beside sending, and no more patience than a step of the lane has."""

import math
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, cast

from support.clocks import NOW_MS
from support.providers import MAIL
from support.sending import RecordingEsp, alone

from wakeline.activation.claims import Claim
from wakeline.activation.esp.breaker import Breaker
from wakeline.activation.esp.failover import FailOver
from wakeline.activation.esp.guarded import Guarded
from wakeline.activation.esp.limit import RateLimit
from wakeline.activation.esp.protocol import Accepted, Mail, Outcome, Rejected, TryLater
from wakeline.activation.mailer import Answer, Mailer
from wakeline.activation.rendering import Renderer, RenderError

PATIENCE_SECONDS = 60


class Rendering:
    """Makes mails of keys, and writes down which."""

    def __init__(self) -> None:
        self.rendered: list[str] = []

    def render(
        self, campaign: str, key: str, profile: Mapping[str, Any], context: Mapping[str, Any], *_: object
    ) -> Mail:
        self.rendered.append(key)
        if "error" in context:
            raise context["error"]
        return Mail(key, campaign, MAIL.to, MAIL.sender, "Hello", "<p>Hello</p>", "Hello", {})


class Seconds:
    """Passes when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def mailer(
    rendering: Rendering, esp: FailOver, threads: int = 2, monotonic: Callable[[], float] = lambda: 0.0
) -> Mailer:
    return Mailer(cast(Renderer, rendering), esp, threads, lambda: 0, monotonic=monotonic)


def claims(count: int, **context: Any) -> list[Claim]:
    return [Claim(f"{number:032x}", "hello", "user:ann", {}, context, "", 1, NOW_MS) for number in range(count)]


def outcomes(answers: list[Answer]) -> list[Outcome]:
    return [answer.outcome for answer in answers]


def test_mails_are_rendered_while_others_are_on_their_way() -> None:
    rendering, all_rendered = Rendering(), threading.Event()

    def answer(mail: Mail) -> Outcome:
        assert all_rendered.wait(PATIENCE_SECONDS)
        return Accepted("id")

    def render(*arguments: Any) -> Mail:
        mail = original(*arguments)
        if len(rendering.rendered) == 20:
            all_rendered.set()
        return mail

    original, rendering.render = rendering.render, render  # type: ignore[method-assign]
    sending = mailer(rendering, alone(RecordingEsp(answer=answer)))
    # Would never end if a mail were rendered only when one of the two threads is free.
    assert outcomes(sending.send(claims(20), sending.patience())) == [Accepted("id", "recording")] * 20
    sending.close()


def test_answers_are_in_the_order_of_the_claims_whoever_is_first() -> None:
    last_is_in = threading.Event()

    def answer(mail: Mail) -> Outcome:
        if mail.key == one.key:
            assert last_is_in.wait(PATIENCE_SECONDS)
        else:
            last_is_in.set()
        return Accepted(mail.key)

    one, two = claims(2)
    sending = mailer(Rendering(), alone(RecordingEsp(answer=answer)))
    assert [answer.claim for answer in sending.send([one, two], sending.patience())] == [one, two]
    sending.close()


def test_a_mail_that_cannot_be_rendered_ends_alone() -> None:
    sending = mailer(Rendering(), alone(RecordingEsp()))
    wrong = claims(2, error=RenderError("no such variable"))[:1] + claims(2)[1:]
    first, second = outcomes(sending.send(wrong, sending.patience()))
    assert first == Rejected("not rendered: no such variable")
    assert isinstance(second, Accepted)
    bug = outcomes(sending.send(claims(1, error=KeyError("x")), sending.patience()))
    assert bug == [Rejected("not rendered: KeyError('x')")]
    sending.close()


def test_all_mails_of_a_step_together_wait_no_longer_than_its_patience() -> None:
    seconds, esp, rendering = Seconds(), RecordingEsp(), Rendering()
    slow = Guarded(esp, RateLimit(2.0), 10, Breaker(5, 30.0), seconds, seconds.sleep)
    sending = mailer(rendering, FailOver([slow]), threads=1, monotonic=seconds)
    patience = sending.patience()
    found = outcomes(sending.send(claims(100), patience))
    found += outcomes(sending.send(claims(100), patience))
    put_off = [one for one in found if isinstance(one, TryLater)]
    assert (len(esp.requests), len(put_off), seconds.now) == (5, 195, 2.0)
    # They come back one after the other, as fast as they may be sent.
    assert [one.after_seconds for one in put_off] == [0.5 + number / 2 for number in range(195)]
    sending.close()


def test_a_slow_provider_does_not_make_a_step_look_like_one_that_hangs() -> None:
    seconds, rendering = Seconds(), Rendering()

    def answer(mail: Mail) -> Outcome:
        seconds.now += 10.0
        return Accepted("id")

    sending = mailer(rendering, alone(RecordingEsp(answer=answer)), threads=1, monotonic=seconds)
    found = outcomes(sending.send(claims(20), sending.patience()))
    assert [type(one) for one in found] == [Accepted] * 7 + [TryLater] * 13
    sending.close()


def test_nothing_is_rendered_for_a_provider_that_is_left_alone() -> None:
    seconds, rendering = Seconds(), Rendering()
    esp = RecordingEsp(answer=lambda _: TryLater(5.0, "busy"))
    broken = Guarded(esp, RateLimit(math.inf), 10, Breaker(1, 30.0), seconds, seconds.sleep)
    sending = mailer(rendering, FailOver([broken]), monotonic=seconds)
    assert outcomes(sending.send(claims(1), sending.patience())) == [TryLater(5.0, "busy")]
    found = outcomes(sending.send(claims(50), sending.patience()))
    assert {type(one) for one in found} == {TryLater}
    assert (len(esp.requests), len(rendering.rendered)) == (1, 1)
    sending.close()


def test_threads_that_race_through_a_chain_lose_and_repeat_no_mail() -> None:
    lock, taken = threading.Lock(), dict[str, list[str]]()

    def provider(name: str, refuses: Callable[[str], bool]) -> Guarded:
        def answer(mail: Mail) -> Outcome:
            if refuses(mail.key):
                return TryLater(1.0, "busy")
            with lock:
                taken.setdefault(mail.key, []).append(name)
            return Accepted(name)

        esp = RecordingEsp(answer=answer)
        esp.name = name
        return Guarded(esp, RateLimit(5_000.0), 2, Breaker(3, 0.001), time.monotonic, time.sleep)

    chain = FailOver([provider("one", lambda key: int(key, 16) % 3 != 0), provider("two", lambda key: False)])
    sending = mailer(Rendering(), chain, threads=8, monotonic=time.monotonic)
    found = sending.send(claims(400), sending.patience())
    accepted = {one.claim.key: one.outcome.esp for one in found if isinstance(one.outcome, Accepted)}
    assert {type(one.outcome) for one in found} <= {Accepted, TryLater}
    assert {key: [name] for key, name in accepted.items()} == taken
    assert len(accepted) > 0
    sending.close()
