import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from email import message_from_bytes
from email.policy import default
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.clocks import DAY_MS, HOUR_MS, MINUTE_MS, NOW_MS, SECOND_MS, Hand
from support.messages import Message, append, identify, track, with_consent
from support.sending import LANE, LEASE_MS, RecordingEsp
from support.shop import Sends, accepted, expected_sends, shopping
from support.warehouse import Site, WarehouseProcess, drained, open_site

from wakeline.activation.claims import idempotency_key
from wakeline.activation.esp.protocol import Accepted, Mail, Outcome, Rejected, TryLater, Unknown
from wakeline.activation.gates import RESTORED
from wakeline.errors import LeaseLostError, LedgerError, StreamFullError, WarehouseError
from wakeline.pipeline.lanes import LanePause
from wakeline.pipeline.microbatch import MicroBatches, next_limit
from wakeline.pipeline.resident import Resident
from wakeline.replay.lane_control import LaneControl
from wakeline.settings import MAIL_SOURCE, LaneSettings
from wakeline.streams.protocol import Lag, Record

pytestmark = pytest.mark.stack

START_MS = NOW_MS
MINUTES = 30
END_MS = START_MS + MINUTES * MINUTE_MS
#: By then every cart of the shop has been left for an hour.
CARTS_DUE_MS = END_MS + HOUR_MS

ANN = {"user": "ann", "email": "ann@example.com", "marketing": True}


class CrashError(BaseException):
    """The process is gone; nothing of it runs any more, so no handler may catch this."""


@dataclass(frozen=True)
class Boundary:
    """A place in the micro-batch: before or after a call of one of its parts."""

    part: str
    method: str
    after: bool
    call: int = 2

    def crash(self, batches: MicroBatches) -> None:
        """Let the process end there, at its second batch."""
        part = getattr(batches, self.part)
        original, calls = getattr(part, self.method), iter(range(1, 1_000))

        def fail(*arguments: Any, **named: Any) -> Any:
            last = next(calls) == self.call
            if last and not self.after:
                raise CrashError
            answer = original(*arguments, **named)
            if last:
                raise CrashError
            return answer

        setattr(part, self.method, fail)


BOUNDARIES = {
    "before the batch is begun": Boundary("lanes", "begin", after=False),
    "after the batch is begun": Boundary("lanes", "begin", after=True),
    "after the insert": Boundary("landing", "insert", after=True),
    "after consent is recorded": Boundary("ledger", "record", after=True),
    "before the claim": Boundary("ledger", "claim", after=False),
    "after the claim": Boundary("ledger", "claim", after=True),
    "after the ESP accepted": Boundary("mailer", "send", after=True),
    "in the middle of the mails": Boundary("_esp", "send", after=True, call=3),
    "after the answers are settled": Boundary("ledger", "settle", after=True),
    "before the commit": Boundary("lanes", "commit", after=False),
    "after the commit": Boundary("lanes", "commit", after=True),
}
#: Where a mail may be out that the ledger does not know of.
AROUND_THE_ESP = ("after the claim", "after the ESP accepted", "in the middle of the mails")


@dataclass(frozen=True)
class Played:
    """The shop and what comes of it when nothing goes wrong."""

    messages: list[Message]
    expected: Sends
    statuses: dict[str, int]
    profiles: dict[str, list[tuple[Any, ...]]]

    @property
    def sent_keys(self) -> list[str]:
        """The keys of the mails, sorted."""
        return sorted(idempotency_key(*parts) for parts, state in self.expected.items() if state == "sent")


@pytest.fixture
def clock() -> Hand:
    return Hand(END_MS)


@pytest.fixture(scope="module")
def played(warehouse: WarehouseProcess, tmp_path_factory: pytest.TempPathFactory) -> Played:
    """Played once in order, in one go."""
    messages = shopping(seed=1, people=12, minutes=MINUTES, start_ms=START_MS)
    with open_site(warehouse.settings, tmp_path_factory.mktemp("played"), Hand(END_MS)) as site:
        process_all(site, messages, RecordingEsp())
        return Played(messages, expected_sends(messages), site.statuses(), site.profiles())


def process_all(site: Site, messages: list[Message], esp: RecordingEsp) -> None:
    """Process the messages at the end of the shop's time, and then what was due an hour later."""
    site.play(messages, esp)
    site.clock.now_ms = CARTS_DUE_MS
    site.play([], esp)


def assert_complete(site: Site, played: Played) -> None:
    """Every event stands in landing once, and the profiles are what they should be."""
    assert site.statuses() == played.statuses
    gaps = site.rows("SELECT partition FROM landing GROUP BY partition HAVING count() != max(offset) + 1")
    assert gaps == []
    assert site.profiles() == played.profiles


def test_events_become_exactly_the_mails_that_should_come_of_them(site: Site) -> None:
    messages = shopping(seed=2, people=40, minutes=MINUTES, start_ms=START_MS)
    with site.micro_batches() as batches:
        append(batches.stream, messages, END_MS)
        site.work(batches)
        site.clock.now_ms = CARTS_DUE_MS
        site.work(batches, "run-2")
    expected = expected_sends(messages)
    mailed = {campaign for (campaign, _, _), state in expected.items() if state == "sent"}
    assert mailed == set(batches.campaigns) - {"confirm_opt_in"}  # No source of this shop asks for it.
    assert site.sends() == expected
    sent = {idempotency_key(*parts): parts for parts, state in expected.items() if state == "sent"}
    assert site.outbox() == set(sent)

    sound = accepted(messages)
    statuses = site.statuses()
    assert statuses["accepted"] == len(sound) == site.counts()["person_states"]
    assert sum(statuses.values()) == len(messages)
    assert statuses["duplicate"] > 0 < statuses["quarantined"]

    for path in site.settings.outbox_dir.glob("*.eml"):
        mail = message_from_bytes(path.read_bytes(), policy=default)
        campaign, profile, _ = sent[path.stem]
        assert (mail["X-Wakeline-Key"], mail["X-Wakeline-Campaign"]) == (path.stem, campaign)
        assert profile.removeprefix("user:").removeprefix("shopper-") in mail["To"]


def test_a_send_tells_what_it_was_decided_by_and_when_it_passed_each_stage(site: Site) -> None:
    messages = [identify("m1", at_ms=END_MS, **ANN), order("m2", "o1")]
    site.play(messages, RecordingEsp())
    [row] = site.book.rows()
    assert (row["run_id"], row["fencing_token"], row["state"]) == ("run-1", 1, "sent")
    assert set(row["message_ids"]) == {"m1", "m2"}
    partition, (first, end) = next(iter(row["batch"].items()))
    assert site.rows("SELECT partition, min(offset), max(offset) + 1 FROM landing GROUP BY partition") == [
        (int(partition), first, end)
    ]
    stages = ("received", "appended", "read", "ingested", "evaluated", "claimed", "esp_accepted")
    assert [row[f"{stage}_at_ms"] for stage in stages] == [END_MS] * len(stages)


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_after_a_crash_anywhere_nothing_is_lost_and_no_key_is_sent_twice(
    site: Site, played: Played, boundary: str
) -> None:
    esp = RecordingEsp(takes_idempotency_key=False)
    crash_and_recover(site, played, boundary, esp)
    assert_complete(site, played)
    assert len(set(esp.keys)) == len(esp.keys)
    sends = site.sends()
    assert sends.keys() == played.expected.keys()
    unknown = {parts for parts, state in sends.items() if state.startswith("unknown")}
    assert bool(unknown) == (boundary in AROUND_THE_ESP)
    assert {parts: state for parts, state in sends.items() if parts not in unknown} == {
        parts: state for parts, state in played.expected.items() if parts not in unknown
    }


@pytest.mark.parametrize("boundary", AROUND_THE_ESP)
def test_an_esp_that_takes_the_key_is_asked_again_and_every_mail_is_sent(
    site: Site, played: Played, boundary: str
) -> None:
    esp = RecordingEsp(takes_idempotency_key=True)
    crash_and_recover(site, played, boundary, esp)
    assert_complete(site, played)
    assert site.sends() == played.expected
    # What it was asked twice under one key it sends once: that is what it promises.
    assert sorted(set(esp.keys)) == played.sent_keys


def test_the_outbox_holds_every_mail_once_after_a_crash_between_accepting_and_settling(
    site: Site, played: Played
) -> None:
    crash_and_recover(site, played, "after the ESP accepted", None)
    assert_complete(site, played)
    assert site.sends() == played.expected
    assert sorted(site.outbox()) == played.sent_keys


def crash_and_recover(site: Site, played: Played, boundary: str, esp: RecordingEsp | None) -> None:
    """A run dies there in the middle of the shop's events; its lease expires, and another run does the rest."""
    half = site.with_settings(lane={"batch_rows": len(played.messages) // 3})
    with half.micro_batches(esp) as batches:
        append(batches.stream, played.messages, END_MS)
        if BOUNDARIES[boundary].part == "_esp":
            batches._esp = batches.mailer._esp  # type: ignore[attr-defined]
        BOUNDARIES[boundary].crash(batches)
        with pytest.raises(CrashError):
            half.work(batches, "run-1")
    assert site.book.lanes.state(LANE).holder == "run-1"
    site.clock.now_ms += LEASE_MS
    with half.micro_batches(esp) as batches:
        half.work(batches, "run-2")
        site.clock.now_ms = CARTS_DUE_MS
        half.work(batches, "run-3")


@pytest.mark.parametrize(("seed", "batch_rows"), [(1, 60), (2, 250), (3, 5_000)])
def test_order_repetition_and_batches_change_neither_profiles_nor_sends(
    site: Site, played: Played, seed: int, batch_rows: int
) -> None:
    rng = random.Random(seed)  # noqa: S311 - the same shuffle every time, no secret
    shuffled = [*played.messages, *rng.sample(played.messages, len(played.messages) // 5)]
    rng.shuffle(shuffled)
    esp = RecordingEsp()
    process_all(site.with_settings(lane={"batch_rows": batch_rows}), shuffled, esp)
    assert site.profiles() == played.profiles
    assert site.sends() == played.expected
    assert sorted(esp.keys) == played.sent_keys
    assert site.statuses()["accepted"] == played.statuses["accepted"]
    assert sum(site.statuses().values()) == len(shuffled)


def order(message_id: str, order_id: str, at_ms: int = END_MS, **who: str) -> Message:
    line = {"product_id": "p1", "name": "Tote", "price": 45.0, "quantity": 1}
    sums = {"order_id": order_id, "total": 45.0, "currency": "EUR", "products": [line]}
    return track("Order Completed", message_id, at_ms=at_ms, **(who or {"user": "ann"}), **sums)


def dwelt(message_id: str, category: str = "bags", **who: str) -> Message:
    properties = {"category": category, "engaged_seconds": 700}
    return track("Page Engaged", message_id, at_ms=END_MS, **(who or {"user": "ann"}), **properties)


def test_the_same_messages_a_second_time_change_nothing(site: Site, played: Played) -> None:
    esp = RecordingEsp()
    process_all(site, played.messages, esp)
    asked = len(esp.keys)
    process_all(site, played.messages, esp)
    assert site.profiles() == played.profiles
    assert len(esp.keys) == asked
    assert site.statuses()["accepted"] == played.statuses["accepted"]
    assert sum(site.statuses().values()) == 2 * len(played.messages)


def test_with_nothing_to_do_a_step_looks_for_wake_ups_now_and_then_and_does_nothing(site: Site) -> None:
    with site.micro_batches(RecordingEsp()) as batches:
        lease = site.hold(batches)
        assert batches.recover(lease) == []
        for _ in range(3):
            looked = batches.step(lease)
            assert looked is not None
            assert [*looked.rows, *looked.decided, *looked.answers] == []
            assert batches.step(lease) is None
            site.clock.now_ms += round(site.settings.lane.wakeup_seconds * SECOND_MS)


def test_a_wake_up_fires_without_an_event_and_only_once(site: Site) -> None:
    left = track("Product Added", "m2", user="ann", at_ms=END_MS, product_id="p1", quantity=1, cart_id="c1")
    esp = RecordingEsp()
    with site.micro_batches(esp) as batches:
        append(batches.stream, [identify("m1", at_ms=END_MS, **ANN), left], END_MS)
        lease = site.hold(batches)
        batches.recover(lease)
        drained(batches, lease)
        assert esp.requests == []
        for moment_ms in (END_MS + HOUR_MS - 1, END_MS + HOUR_MS, END_MS + HOUR_MS + 1, END_MS + 2 * HOUR_MS):
            site.clock.now_ms = moment_ms
            drained(batches, lease)
    [mail] = esp.requests
    assert mail.campaign == "abandoned_cart"
    assert site.book.rows()[0]["message_ids"] == []


def test_wake_ups_that_came_due_while_no_run_was_alive_fire_when_the_next_one_starts(site: Site) -> None:
    left = track("Product Added", "m2", user="ann", at_ms=END_MS, product_id="p1", quantity=1, cart_id="c1")
    esp = RecordingEsp()
    site.play([identify("m1", at_ms=END_MS, **ANN), left], esp)
    site.clock.now_ms = END_MS + 5 * HOUR_MS
    site.play([], esp)
    assert [mail.campaign for mail in esp.requests] == ["abandoned_cart"]


def test_a_crash_while_a_wake_up_fires_is_followed_by_the_same_wake_up(site: Site) -> None:
    left = track("Product Added", "m2", user="ann", at_ms=END_MS, product_id="p1", quantity=1, cart_id="c1")
    esp = RecordingEsp()
    site.play([identify("m1", at_ms=END_MS, **ANN), left], esp)
    site.clock.now_ms = END_MS + HOUR_MS
    with site.micro_batches(esp) as batches:
        Boundary("ledger", "claim", after=False, call=1).crash(batches)
        with pytest.raises(CrashError):
            site.work(batches)
    site.clock.now_ms += LEASE_MS
    site.play([], esp)
    assert [mail.campaign for mail in esp.requests] == ["abandoned_cart"]


def test_a_no_in_the_same_batch_as_the_occurrence_is_respected(site: Site) -> None:
    messages = [
        identify("m1", at_ms=END_MS - 2, **ANN),
        dwelt("m2"),
        track("Unsubscribed", "m3", user="ann", at_ms=END_MS - 1, email="ann@example.com"),
    ]
    esp = RecordingEsp()
    site.play(messages, esp)
    assert esp.requests == []
    assert list(site.sends().values()) == ["skipped:no_consent"]


def test_a_no_from_a_persons_device_counts_before_and_after_the_login(site: Site) -> None:
    banner = with_consent(track("Product Viewed", "m2", device="phone", at_ms=END_MS - 1), marketing=False)
    esp = RecordingEsp()
    site.play([identify("m1", at_ms=END_MS - 2, device="phone", **ANN), banner, dwelt("m3")], esp)
    assert esp.requests == []


def test_a_no_that_comes_before_the_retry_stops_it(site: Site) -> None:
    esp = RecordingEsp(answer=lambda _: TryLater(60, "busy"))
    site.play([identify("m1", at_ms=END_MS - 2, **ANN), dwelt("m2")], esp)
    assert len(esp.requests) == 1
    site.clock.now_ms += 2 * MINUTE_MS
    site.play([track("Unsubscribed", "m3", user="ann", at_ms=site.clock(), email="ann@example.com")], esp)
    assert len(esp.requests) == 1
    assert list(site.sends().values()) == ["skipped:no_consent"]


def test_a_mail_that_the_esp_puts_off_is_sent_later_without_another_event(site: Site) -> None:
    answers: Iterator[Outcome] = iter([TryLater(60, "busy"), TryLater(60, "busy"), Accepted("id")])
    esp = RecordingEsp(answer=lambda _: next(answers))
    site.play([identify("m1", at_ms=END_MS, **ANN), order("m2", "o1")], esp)
    for _ in range(5):
        site.clock.now_ms += MINUTE_MS
        site.play([], esp)
    assert len(esp.keys) == 3
    [row] = site.book.rows()
    assert (row["state"], row["attempts"]) == ("sent", 3)


@pytest.mark.parametrize(
    ("outcome", "state"), [(Rejected("no such mailbox"), "failed:no such mailbox"), (Unknown("gone"), "unknown:gone")]
)
def test_a_mail_that_was_refused_or_may_be_out_is_not_tried_again(site: Site, outcome: Outcome, state: str) -> None:
    esp = RecordingEsp(answer=lambda _: outcome)
    site.play([identify("m1", at_ms=END_MS, **ANN), order("m2", "o1")], esp)
    site.clock.now_ms += HOUR_MS
    site.play([order("m2", "o1"), dwelt("m3", user="bob")], esp)
    assert len(esp.keys) == 1
    assert site.sends()["order_confirmation", "user:ann", "order/o1"] == state


def test_a_lost_answer_is_asked_for_again_of_an_esp_that_takes_the_key(site: Site) -> None:
    answers: Iterator[Outcome] = iter([Unknown("the line went dead"), Accepted("id")])
    esp = RecordingEsp(takes_idempotency_key=True, answer=lambda _: next(answers))
    site.play([identify("m1", at_ms=END_MS, **ANN), order("m2", "o1")], esp)
    site.clock.now_ms += HOUR_MS
    site.play([], esp)
    assert list(site.sends().values()) == ["sent"]


def test_one_mail_that_nothing_can_be_done_with_does_not_stop_the_others(site: Site) -> None:
    def answer(mail: Mail) -> Outcome:
        if mail.to == "ann@example.com":
            raise RuntimeError("a bug of the adapter")
        return Accepted("id")

    esp = RecordingEsp(takes_idempotency_key=True, answer=answer)
    people = [identify("m1", at_ms=END_MS, **ANN), identify("m2", user="bob", at_ms=END_MS, email="bob@example.com")]
    site.play([*people, order("m3", "o1"), order("m4", "o2", user="bob")], esp)
    site.play([order("m5", "o3", user="bob")], esp)
    assert [mail.to for mail in esp.requests] == ["bob@example.com"] * 2
    assert site.sends()["order_confirmation", "user:ann", "order/o1"].startswith("retry:")
    assert site.book.begun() == {}


def test_an_address_that_is_none_fails_its_own_mail_and_no_other(site: Site) -> None:
    esp = RecordingEsp()
    people = [
        identify("m1", user="ann", at_ms=END_MS, email="ann"),
        identify("m2", user="bob", email="bob@example.com"),
    ]
    site.play([*people, order("m3", "o1"), order("m4", "o2", user="bob")], esp)
    assert [mail.to for mail in esp.requests] == ["bob@example.com"]
    assert site.sends()["order_confirmation", "user:ann", "order/o1"].startswith("failed:not rendered: ")


def test_an_order_before_its_address_is_known_is_confirmed_once_it_is(site: Site) -> None:
    esp = RecordingEsp()
    site.play([order("m1", "o1")], esp)
    assert list(site.sends().values()) == ["skipped:no_address"]
    site.play([identify("m2", at_ms=END_MS, **ANN)], esp)
    site.play([identify("m3", at_ms=END_MS, **ANN)], esp)
    assert len(esp.keys) == 1
    assert site.book.rows()[0]["message_ids"] == ["m2"]


def test_a_person_mailed_before_the_login_is_not_mailed_again_after_it(site: Site) -> None:
    esp = RecordingEsp()
    guest = identify("m1", device="phone", at_ms=END_MS, email="ann@example.com")
    site.play([guest, order("m2", "o1", device="phone")], esp)
    site.play([identify("m3", user="ann", device="phone", at_ms=END_MS, email="ann@example.com")], esp)
    site.play([order("m4", "o2")], esp)
    assert set(site.sends()) == {
        ("order_confirmation", "anonymous:phone", "order/o1"),
        ("order_confirmation", "user:ann", "order/o2"),
    }
    assert len(esp.keys) == 2


def test_mail_that_is_too_late_expires_and_is_not_sent(site: Site) -> None:
    esp = RecordingEsp(answer=lambda _: TryLater(2 * 24 * 3600, "busy"))
    site.play([identify("m1", at_ms=END_MS, **ANN), order("m2", "o1")], esp)
    site.clock.now_ms += 2 * DAY_MS
    site.play([], esp)
    assert len(esp.keys) == 1
    assert list(site.sends().values()) == ["skipped:expired"]


def test_a_fault_of_the_warehouse_in_the_middle_is_made_good_by_the_same_run(site: Site, played: Played) -> None:
    esp = RecordingEsp()
    with site.micro_batches(esp) as batches:
        append(batches.stream, played.messages, END_MS)
        lease = site.hold(batches)
        batches.recover(lease)
        evaluate = batches.evaluator.occurrences
        faults = iter([WarehouseError("gone")])

        def occurrences(*arguments: Any) -> Any:
            for fault in faults:
                raise fault
            return evaluate(*arguments)

        batches.evaluator.occurrences = occurrences  # type: ignore[method-assign]
        with pytest.raises(WarehouseError):
            drained(batches, lease)
        batches.recover(lease)
        drained(batches, lease)
        site.clock.now_ms = CARTS_DUE_MS
        drained(batches, lease)
    assert_complete(site, played)
    assert site.sends() == played.expected
    assert sorted(esp.keys) == played.sent_keys


def test_answers_that_the_ledger_could_not_take_are_written_once_it_can(site: Site, played: Played) -> None:
    esp = RecordingEsp()
    with site.micro_batches(esp) as batches:
        append(batches.stream, played.messages, END_MS)
        lease = site.hold(batches)
        batches.recover(lease)
        settle = batches.ledger.settle
        faults = iter([LedgerError("gone")] * 2)

        def settled(answers: Any) -> None:
            for fault in faults:
                raise fault
            settle(answers)

        batches.ledger.settle = settled  # type: ignore[method-assign]
        with pytest.raises(LedgerError):
            drained(batches, lease)
        with pytest.raises(LedgerError):
            batches.recover(lease)
        batches.recover(lease)
        drained(batches, lease)
        site.clock.now_ms = CARTS_DUE_MS
        drained(batches, lease)
    assert_complete(site, played)
    assert site.sends() == played.expected
    assert sorted(esp.keys) == played.sent_keys


#: Where a run may stand still until its lease is over and somebody else has done its work.
STANDSTILLS = {
    "before the insert": ("landing", "insert"),
    "before consent is recorded": ("ledger", "record"),
    "before evaluation": ("evaluator", "candidates"),
    "before the claim": ("ledger", "claim"),
    "before the commit": ("lanes", "commit"),
}


@pytest.mark.parametrize("place", STANDSTILLS)
def test_a_run_that_wakes_up_after_another_took_over_repeats_nothing(site: Site, played: Played, place: str) -> None:
    part, method = STANDSTILLS[place]
    esp = RecordingEsp()
    with site.micro_batches(esp) as old, site.micro_batches(esp) as new:
        append(old.stream, played.messages, END_MS)
        stand_still(old, part, method, lambda: take_over(site, new))
        with pytest.raises(LeaseLostError):
            site.work(old, "run-1")
        site.clock.now_ms = CARTS_DUE_MS
        site.work(new, "run-3")
    assert_complete(site, played)
    assert site.sends() == played.expected
    assert sorted(esp.keys) == played.sent_keys


@pytest.mark.parametrize("takes_key", [True, False])
def test_a_run_whose_mails_take_longer_than_its_lease_sends_none_of_them_twice(
    site: Site, played: Played, takes_key: bool
) -> None:
    esp = RecordingEsp(takes_key)
    with site.micro_batches(esp) as old, site.micro_batches(esp) as new:
        append(old.stream, played.messages, END_MS)
        stand_still(old, "mailer", "send", lambda: take_over(site, new))
        with pytest.raises(LeaseLostError):
            site.work(old, "run-1")
        site.clock.now_ms = CARTS_DUE_MS
        site.work(new, "run-3")
    assert_complete(site, played)
    assert site.sends() == played.expected
    repeated = {key: count for key, count in Counter(esp.keys).items() if count > 1}
    assert bool(repeated) is takes_key, "Only an ESP that takes the key may be asked twice."


def stand_still(batches: MicroBatches, part: str, method: str, meanwhile: Callable[[], None]) -> None:
    """Before its first call, everything else goes on for longer than a lease lasts."""
    owner = getattr(batches, part)
    original, once = getattr(owner, method), iter([meanwhile])

    def call(*arguments: Any, **named: Any) -> Any:
        for happen in once:
            happen()
        return original(*arguments, **named)

    setattr(owner, method, call)


def take_over(site: Site, batches: MicroBatches) -> None:
    site.clock.now_ms += LEASE_MS
    site.work(batches, "run-2")


@given(
    rows=st.integers(0, 5_000), limit=st.integers(1, 5_000), took_ms=st.integers(0, 100_000), most=st.integers(1, 9_000)
)
def test_the_next_batch_is_never_larger_than_the_settings_allow_and_never_empty(
    rows: int, limit: int, took_ms: int, most: int
) -> None:
    found = next_limit(min(rows, limit), limit, took_ms, LaneSettings(batch_rows=most))
    assert 1 <= found <= most


def test_slow_batches_become_smaller_and_quick_ones_larger_again() -> None:
    lane = LaneSettings(batch_rows=5_000)
    target_ms = round(lane.batch_seconds * SECOND_MS)
    slow = next_limit(5_000, 5_000, 3 * target_ms, lane)
    assert slow < 5_000
    assert next_limit(slow, slow, target_ms // 10, lane) == min(5_000, 2 * slow)
    assert next_limit(1, slow, target_ms // 10, lane) > slow


def test_a_batch_is_bounded_by_the_settings_and_the_rest_waits_for_the_next(site: Site) -> None:
    small = site.with_settings(lane={"batch_rows": 10})
    messages = [track("Product Viewed", f"m{number}", user=f"{number}", at_ms=END_MS) for number in range(35)]
    with small.micro_batches(RecordingEsp()) as batches:
        append(batches.stream, messages, END_MS)
        results = [result for result in small.work(batches) if result.rows]
    assert sum(len(result.rows) for result in results) == 35
    assert all(len(result.rows) <= 10 for result in results)


def test_a_lane_notes_that_it_reads_also_while_nothing_comes(site: Site) -> None:
    with site.micro_batches(RecordingEsp()) as batches:
        lease = site.hold(batches)
        batches.recover(lease)
        assert site.book.lanes.last_read_ms() is None
        first = site.clock()
        drained(batches, lease)
        site.clock.now_ms += 7_500 - 1
        drained(batches, lease)
        assert site.book.lanes.last_read_ms() == first
        site.clock.now_ms += 1
        drained(batches, lease)
        assert site.book.lanes.last_read_ms() == site.clock()


def test_a_lane_that_found_nothing_does_not_claim_to_have_read_what_came_while_it_looked(site: Site) -> None:
    def nothing(*_: Any) -> list[Record]:
        site.clock.now_ms += 500
        return []

    with site.micro_batches(RecordingEsp()) as batches:
        lease = site.hold(batches)
        batches.recover(lease)
        asked_ms = site.clock()
        batches.stream.read = nothing  # type: ignore[method-assign, assignment]
        batches.step(lease)
        assert site.book.lanes.read_until() == {LANE: asked_ms}


def test_a_batch_that_was_begun_ahead_of_a_restored_landing_hides_nothing(site: Site) -> None:
    views = [track("Product Viewed", f"m{number}", user="ann") for number in range(9)]
    site.play(views[:3])
    [(partition, end)] = [(partition, end) for partition, end in site.book.lanes.committed().items() if end]
    with site.micro_batches() as batches:
        append(batches.stream, views[3:], site.clock())
        lease = site.hold(batches)
        batches.lanes.begin(lease, {partition: (end + 3, end + 6)}, site.clock(), LEASE_MS)
        batches.lanes.release(lease)
        site.work(batches, "run-2")
    assert site.rows("SELECT offset FROM landing ORDER BY offset") == [(offset,) for offset in range(9)]
    assert site.counts()["person_states"] == 9


def drain(site: Site, batches: MicroBatches) -> str:
    """Ask for it, and let a run live on the lane until it ends; what it says then."""
    ask_for_a_drain(site, batches)
    return live(site, batches)


def ask_for_a_drain(site: Site, batches: MicroBatches) -> None:
    site.clock.now_ms += SECOND_MS
    now_ms = site.clock()
    batches.lanes.pause(LanePause(LANE, "ann", "an upgrade", now_ms, after_ms=now_ms))
    site.clock.now_ms += SECOND_MS


def live(site: Site, batches: MicroBatches) -> str:
    began_ms = site.clock()
    run = Resident(
        LANE, "run-1", site.settings.lane, batches.lanes, batches, site.clock, site.clock.sleep,
        should_stop=lambda: site.clock() > began_ms + 20 * SECOND_MS,
        report=lambda result: None,
        warn=pytest.fail,
        keep_alive=lambda lease: nullcontext(),
    )  # fmt: skip
    return run.run()


VIEWS = [track("Product Viewed", f"m{number}", user="ann", at_ms=NOW_MS) for number in range(7)]


def test_a_drain_of_a_lane_that_never_read_anything_ends_when_all_is_processed(site: Site) -> None:
    with site.micro_batches() as batches:
        append(batches.stream, VIEWS, site.clock())
        assert drain(site, batches) == "paused by ann: an upgrade"
        assert site.statuses() == {"accepted": len(VIEWS)}
        assert batches.lanes.is_paused(LANE)


def test_a_drain_does_not_take_a_broker_that_gives_nothing_yet_for_an_empty_stream(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    with site.micro_batches() as batches:
        read, slow = batches.stream.read, iter(range(3))

        def read_late(*arguments: Any, **named: Any) -> list[Record]:
            if next(slow, None) is None:
                return read(*arguments, **named)
            assert batches.lanes.read_until()[LANE] == 0, "Whoever looks must not take it for read."
            return []

        monkeypatch.setattr(batches.stream, "read", read_late)
        append(batches.stream, VIEWS, site.clock())
        assert drain(site, batches) == "paused by ann: an upgrade"
        assert site.statuses() == {"accepted": len(VIEWS)}


def away(*_: Any) -> Lag:
    raise StreamFullError("Nobody answers.", 1)


def of_unknown_age(*_: Any) -> Lag:
    return Lag(3, 0.0)


@pytest.mark.parametrize("lag", [away, of_unknown_age])
def test_a_drain_waits_while_no_broker_tells_that_nothing_waits(
    site: Site, monkeypatch: pytest.MonkeyPatch, lag: Callable[..., Lag]
) -> None:
    with site.micro_batches() as batches:
        site.work(batches)
        with monkeypatch.context() as patched:
            patched.setattr(batches.stream, "lag", lag)
            assert drain(site, batches) == "stopped"
        assert drain(site, batches) == "paused by ann: an upgrade"


def test_a_drain_that_begins_while_no_broker_answers_is_left_to_the_next_run_by_one_that_ends(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    with site.micro_batches() as batches, monkeypatch.context() as patched:
        lag = batches.stream.lag

        def last_answer(*arguments: Any) -> Lag:
            answer = lag(*arguments)
            append(batches.stream, VIEWS, site.clock())
            patched.setattr(batches.stream, "lag", away)
            ask_for_a_drain(site, batches)
            return answer

        site.work(batches)
        patched.setattr(batches.stream, "read", lambda *_: [])
        patched.setattr(batches.stream, "lag", last_answer)
        assert live(site, batches) == "stopped"
        assert site.statuses() == {}
        control = LaneControl(batches.lanes, site.clock, site.clock.sleep)
        assert not control.stands_still(LANE), "Who drains must wait, and the next run must take the lane."
        patched.undo()
        assert live(site, batches) == "paused by ann: an upgrade"
        assert site.statuses() == {"accepted": len(VIEWS)}
        assert control.stands_still(LANE)


def test_after_a_restore_what_webhooks_tell_is_heard_before_the_mail_that_they_are_about_is_decided_on(
    site: Site,
) -> None:
    """The lost stack had mailed Ann about her first order; the events and the bounce come again from the stream."""
    esp = RecordingEsp()
    site.book.ledger.pause(RESTORED, "restore", "from a backup", site.clock() + 1)
    key = idempotency_key("order_confirmation", "user:ann", "order/o1")
    bounced = track("Email Bounced", "b1", user="ann", at_ms=END_MS, idempotency_key=key, email=ANN["email"])
    with site.micro_batches(esp) as batches:
        append(batches.stream, [identify("m1", at_ms=END_MS, **ANN), order("m2", "o1")], site.clock())
        append(batches.stream, [bounced], site.clock(), source=MAIL_SOURCE)
        site.work(batches)
        site.book.ledger.resume(RESTORED, "ann", site.clock())
        append(batches.stream, [order("m3", "o2")], site.clock())
        site.work(batches, "run-2")
    sends = site.sends()
    assert sends["order_confirmation", "user:ann", "order/o1"] == "sent"
    assert sends["order_confirmation", "user:ann", "order/o2"] == "skipped:suppressed"
    assert esp.requests == []
