from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, replace
from itertools import permutations
from pathlib import Path
from threading import Barrier

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from support.clocks import DAY_MS, HOUR_MS, MINUTE_MS, NOW_MS
from support.ledgers import BACKENDS, SQL_BACKENDS, OpenBook, books
from support.sending import (
    KEY_MS,
    LANE,
    LEASE_MS,
    MARKETING_CAP,
    Book,
    answered,
    granted,
    intended,
    marketing,
    refused,
)

from wakeline.activation.claims import Intended, Person, idempotency_key
from wakeline.activation.consent import Consent, RecordAddress, Suppression
from wakeline.activation.deliverability import DeliveryReport
from wakeline.activation.esp.protocol import Accepted, MissingVariable, Rejected, TryLater, Unknown
from wakeline.activation.gates import FRESH, RESTORED, Cap, Holdout, Rules, Stale
from wakeline.activation.ledger.protocol import Ledger
from wakeline.activation.ledger.states import INTERRUPTED
from wakeline.activation.quiet_hours import QuietHours
from wakeline.errors import LeaseLostError
from wakeline.pipeline.lanes import Lease
from wakeline.pipeline.triggers import Occurrence

ANN = ("user:ann",)
ANN_AND_HER_PHONE = ("user:ann", "anonymous:phone")
BOUNCE = Suppression("ann@example.com", "hard_bounce", NOW_MS - HOUR_MS, "bounce")
LATER = TryLater(60, "busy")


@pytest.fixture(params=BACKENDS)
def open_book(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OpenBook]:
    with books(request.param, request, tmp_path) as opener:
        yield opener


@pytest.fixture
def book(open_book: OpenBook) -> Book:
    return open_book()


@pytest.fixture(scope="module", params=BACKENDS)
def shared_book(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Book]:
    with books(request.param, request, tmp_path_factory.mktemp("ledger")) as opener:
        yield opener()


def occurrence(one: Intended) -> Occurrence:
    return Occurrence("trigger", "hash", one.profile_id, one.occurrence_key, NOW_MS, NOW_MS + DAY_MS, {})


def undecided(book: Book, *sends: Intended) -> list[str]:
    found = book.ledger.undecided([occurrence(one) for one in sends], {"trigger": [sends[0].campaign]})
    return [one.occurrence_key for one in found]


def put_off(book: Book, lease: Lease, one: Intended) -> None:
    """Claim a send that the ESP asks to try again in a minute."""
    [decided] = book.claim(lease, one)
    book.ledger.settle([answered(decided.claim, LATER)])


def reclaimed(book: Book, lease: Lease, now_ms: int = NOW_MS + HOUR_MS, ledger: Ledger | None = None) -> list[str]:
    return [one.claim.key for one in book.reclaim(lease, now_ms, ledger) if one.claim]


def test_a_send_is_decided_once_for_ever(book: Book) -> None:
    lease = book.hold()
    [first] = book.claim(lease, intended())
    assert first.claim is not None
    assert (first.claim.key, first.claim.attempts) == (intended().key, 1)
    assert book.claim(lease, intended()) == []
    assert book.claim(book.take_over(lease), intended()) == []
    assert book.states() == [("claimed", "")]


def test_the_same_send_twice_in_one_call_is_one_claim(book: Book) -> None:
    assert len(book.claim(book.hold(), intended(), intended())) == 1


def test_a_no_is_as_final_as_a_claim(book: Book) -> None:
    lease = book.hold()
    [skipped] = book.claim(lease, marketing())
    assert (skipped.claim, skipped.reason) == (None, "no_consent")
    book.say(lease, granted())
    assert book.claim(lease, marketing()) == []
    assert book.states() == [("skipped", "no_consent")]


def test_a_decision_is_recorded_with_everything_it_was_made_by(book: Book) -> None:
    lease = book.hold("run-7")
    book.say(lease, granted(message_id="the-yes"))
    book.ledger.claim(lease, [marketing(), intended("order/2", address="")], "run-7", {3: (5, 9)}, NOW_MS + 5)
    row = book.row(marketing())
    assert (row["run_id"], row["fencing_token"]) == ("run-7", lease.fencing_token)
    assert (row["batch"], row["message_ids"]) == ({"3": [5, 9]}, ["message-1"])
    assert (row["trigger_hash"], row["campaign_hash"]) == ("trigger-1", "campaign-1")
    assert (row["claimed_at_ms"], row["evaluated_at_ms"], row["received_at_ms"]) == (NOW_MS + 5, NOW_MS, NOW_MS)
    assert book.row(intended("order/2"))["record"] is None


def test_a_no_is_recorded_with_what_the_gate_read(book: Book) -> None:
    lease = book.hold()
    book.say(lease, refused(message_id="the-no"), BOUNCE)
    book.claim(lease, marketing(address="other@example.com"), intended())
    assert book.row(marketing())["record"]["message_id"] == "the-no"
    assert book.row(intended())["record"] == {
        "address": "ann@example.com",
        "reason": "hard_bounce",
        "occurred_at_ms": NOW_MS - HOUR_MS,
        "message_id": "bounce",
    }


def test_a_person_mailed_under_a_devices_id_is_not_mailed_again_after_the_login(book: Book) -> None:
    lease = book.hold()
    book.claim(lease, intended(ids=("anonymous:phone",)))
    assert book.claim(lease, intended(ids=ANN_AND_HER_PHONE)) == []


@pytest.mark.parametrize("outcome", [Accepted("1"), Rejected("no"), LATER, Unknown("lost")])
def test_whatever_became_of_the_mail_to_the_device_it_stands_for_the_person(
    book: Book, outcome: Accepted | Rejected | TryLater | Unknown
) -> None:
    lease = book.hold()
    [decided] = book.claim(lease, intended(ids=("anonymous:phone",)))
    book.ledger.settle([answered(decided.claim, outcome)])
    assert book.claim(lease, intended(ids=ANN_AND_HER_PHONE)) == []


def test_a_device_that_was_passed_over_does_not_keep_the_person_from_being_mailed(book: Book) -> None:
    lease = book.hold()
    book.claim(lease, marketing(ids=("anonymous:phone",)))
    book.say(lease, granted())
    [decided] = book.claim(lease, marketing(ids=ANN_AND_HER_PHONE))
    assert decided.claim is not None


def test_another_occurrence_or_campaign_is_another_send(book: Book) -> None:
    lease = book.hold()
    others = [intended("order/2"), intended(campaign="receipt"), intended(ids=("user:bob",))]
    assert len(book.claim(lease, intended(), *others)) == 4


def test_a_person_without_an_address_is_decided_again_once_there_is_one(book: Book) -> None:
    lease = book.hold()
    assert book.claim(lease, intended(address=""))[0].reason == "no_address"
    assert undecided(book, intended()) == ["order/1"]
    [decided] = book.claim(lease, intended(message_ids=("login",)), now_ms=NOW_MS + MINUTE_MS)
    assert decided.claim is not None
    assert book.states() == [("claimed", "")]
    assert book.row(intended())["message_ids"] == ["login"]
    assert undecided(book, intended()) == []
    assert book.claim(lease, intended()) == []


def test_a_decision_that_fails_leaves_nothing_of_its_call_behind(book: Book) -> None:
    lease = book.hold()
    with pytest.raises(AttributeError):
        book.ledger.claim(lease, [intended(), None], "run-1", {}, NOW_MS)  # type: ignore[list-item]
    assert book.rows() == []


def test_only_what_some_campaign_has_not_decided_is_undecided(book: Book) -> None:
    lease = book.hold()
    book.claim(lease, intended("order/1"))
    assert undecided(book, intended("order/1"), intended("order/2")) == ["order/2"]
    both = {"trigger": ["order_confirmation", "receipt"]}
    assert book.ledger.undecided([occurrence(intended("order/1"))], both) == [occurrence(intended("order/1"))]
    assert book.ledger.undecided([occurrence(intended("order/1"))], {}) == []


def test_more_occurrences_than_a_statement_has_variables_are_looked_up(book: Book) -> None:
    lease = book.hold()
    book.claim(lease, intended("order/20000"))
    sends = [intended(f"order/{number}") for number in range(25_000)]
    assert len(undecided(book, *sends)) == 24_999


def test_marketing_needs_a_yes_of_the_person_or_the_address(book: Book) -> None:
    lease = book.hold()
    book.say(lease, granted("user:ann"), granted("email:bob@example.com"))
    decided = book.claim(
        lease,
        marketing(ids=ANN),
        marketing(ids=("user:bob",), address="Bob@example.com "),
        marketing(ids=("user:cy",), address="cy@example.com"),
    )
    assert [one.reason for one in decided] == ["", "", "no_consent"]


def test_a_yes_to_one_purpose_is_no_yes_to_another(book: Book) -> None:
    lease = book.hold()
    book.say(lease, granted())
    [decided] = book.claim(lease, marketing(purpose="newsletter"))
    assert decided.reason == "no_consent"


@pytest.mark.parametrize("subject", ["user:ann", "anonymous:phone", "email:ann@example.com"])
def test_a_no_under_any_of_a_persons_ids_or_by_the_address_counts(book: Book, subject: str) -> None:
    lease = book.hold()
    book.say(lease, granted("user:ann"), granted("anonymous:phone"), refused(subject))
    [decided] = book.claim(lease, marketing(ids=ANN_AND_HER_PHONE))
    assert decided.reason == "no_consent"


def test_who_opts_out_on_a_mail_opts_out_for_the_address_it_went_to(book: Book) -> None:
    lease = book.hold()
    book.say(lease, granted(), granted("user:bob"))
    mail = marketing()
    book.claim(lease, mail)
    book.say(lease, replace(refused(at_ms=NOW_MS + 1), key=mail.key))
    sharing = marketing(ids=("user:bob",), address="Ann@example.com")
    book.claim(lease, sharing, now_ms=NOW_MS + 2)
    assert (book.row(sharing)["state"], book.row(sharing)["reason"]) == ("skipped", "no_consent")
    assert book.row(sharing)["record"]["subject"] == "email:ann@example.com"


def test_an_opt_out_on_a_mail_that_nobody_knows_counts_for_the_person(book: Book) -> None:
    lease = book.hold()
    book.say(lease, granted(), replace(refused(at_ms=NOW_MS), key="f" * 32))
    book.claim(lease, marketing())
    assert book.states() == [("skipped", "no_consent")]


def test_the_latest_word_counts_whichever_came_in_last(book: Book) -> None:
    lease = book.hold()
    book.say(lease, refused(at_ms=NOW_MS - HOUR_MS), granted(at_ms=NOW_MS - DAY_MS))
    assert book.claim(lease, marketing("cart/1"))[0].reason == "no_consent"
    book.say(lease, granted(at_ms=NOW_MS - MINUTE_MS))
    assert book.claim(lease, marketing("cart/2"))[0].claim is not None


def stamped(at_ms: int, *, granted: bool = True) -> Consent:
    return Consent("user:ann", "marketing", granted, at_ms, "stamp", stamp=True)


@pytest.mark.parametrize(
    ("heard", "may_be_mailed"),
    [
        ([stamped(NOW_MS - DAY_MS)], True),
        ([stamped(NOW_MS - DAY_MS, granted=False)], False),
        ([stamped(NOW_MS - DAY_MS), stamped(NOW_MS - HOUR_MS, granted=False)], False),
        ([stamped(NOW_MS - DAY_MS, granted=False), stamped(NOW_MS - HOUR_MS)], True),
        ([granted(at_ms=NOW_MS - DAY_MS), stamped(NOW_MS - HOUR_MS, granted=False)], False),
        ([granted(at_ms=NOW_MS - HOUR_MS), stamped(NOW_MS - DAY_MS, granted=False)], True),
        ([refused(at_ms=NOW_MS - DAY_MS), stamped(NOW_MS - HOUR_MS)], False),
        ([refused(at_ms=NOW_MS - DAY_MS), stamped(NOW_MS - HOUR_MS), granted(at_ms=NOW_MS - MINUTE_MS)], True),
        ([refused("email:ann@example.com", at_ms=NOW_MS - DAY_MS), stamped(NOW_MS - HOUR_MS)], False),
    ],
)
def test_a_device_that_repeats_its_old_yes_does_not_undo_an_opt_out(
    book: Book, heard: list[Consent], may_be_mailed: bool
) -> None:
    for number, order in enumerate(permutations(heard)):
        book.forget()
        lease = book.hold()
        book.say(lease, *order)
        [decided] = book.claim(lease, marketing(f"cart/{number}", ids=("user:ann",), address="ann@example.com"))
        assert (decided.reason == "no_consent") is not may_be_mailed
        book.lanes.release(lease)


def test_of_a_yes_and_a_no_at_the_same_time_the_no_counts(book: Book) -> None:
    lease = book.hold()
    at_ms = NOW_MS - HOUR_MS
    book.say(lease, refused(at_ms=at_ms), granted(at_ms=at_ms), granted("email:ann@example.com", at_ms=at_ms))
    assert book.claim(lease, marketing())[0].reason == "no_consent"


@pytest.mark.timeout(600)  # Of servers that are asked about a hundred times for an example.
@settings(deadline=None, max_examples=40)
@given(st.data())
def test_in_whatever_order_and_however_often_people_are_heard_the_ledger_knows_the_same(
    shared_book: Book, data: st.DataObject
) -> None:
    subjects = st.sampled_from(["user:ann", "email:ann@example.com"])
    consents = st.builds(
        Consent,
        subjects,
        st.just("marketing"),
        st.booleans(),
        st.integers(1, 3),
        st.sampled_from("abc"),
        stamp=st.booleans(),
    )
    suppressions = st.builds(
        Suppression,
        st.just("ann@example.com"),
        st.sampled_from(["hard_bounce", "complaint"]),
        st.integers(1, 3),
        st.sampled_from("abc"),
    )
    records = st.just(RecordAddress("user:ann", "ann@example.com"))
    said = data.draw(st.lists(consents | suppressions | records, max_size=6))
    again = data.draw(st.permutations([*said, *said[:2]]))
    assert heard(shared_book, said) == heard(shared_book, again)


def test_a_no_of_a_crm_s_record_is_one_of_its_address_whichever_is_told_first(book: Book) -> None:
    lease = book.hold()
    no = Consent("anonymous:hubspot-7", "marketing", False, NOW_MS + 1, "m9")
    book.say(lease, granted(), RecordAddress("anonymous:hubspot-7", "ann@example.com"), no)
    assert [one.reason for one in book.claim(lease, marketing("cart/1"))] == ["no_consent"]
    other = RecordAddress("anonymous:hubspot-7", "bob@example.com")
    book.say(lease, replace(granted(), subject="user:bob"), other)
    bob = marketing("cart/2", ids=("user:bob",), address="bob@example.com")
    assert [one.reason for one in book.claim(lease, bob)] == ["no_consent"]


def test_what_a_record_agrees_to_nobody_has_said_on_its_address(book: Book) -> None:
    lease = book.hold()
    yes = Consent("anonymous:hubspot-7", "marketing", True, NOW_MS, "m9")
    book.say(lease, RecordAddress("anonymous:hubspot-7", "ann@example.com"), yes)
    assert [one.reason for one in book.claim(lease, marketing("cart/1"))] == ["no_consent"]


def test_a_suppressed_address_gets_no_mail_of_any_kind_however_it_is_written(book: Book) -> None:
    lease = book.hold()
    book.say(lease, BOUNCE, granted())
    decided = book.claim(lease, intended(address=" ANN@example.com"), marketing())
    assert [one.reason for one in decided] == ["suppressed", "suppressed"]


def test_another_address_of_the_person_may_be_mailed(book: Book) -> None:
    lease = book.hold()
    book.say(lease, BOUNCE)
    assert book.claim(lease, intended(address="ann@example.org"))[0].claim is not None


def test_claims_of_a_lane_that_is_no_more_are_settled_and_those_of_a_lane_at_work_are_not(book: Book) -> None:
    two = book.store(lane_count=2)
    first, second = (two.acquire(lane, f"run-{lane}", NOW_MS, LEASE_MS) for lane in two.names())
    assert first is not None
    assert second is not None
    book.claim(second, intended())
    assert book.ledger.settle_orphans(first, NOW_MS) == 0
    for lease in (first, second):
        two.release(lease)
    assert book.ledger.settle_orphans(book.hold("run-9"), NOW_MS) == 1


def test_the_marketing_cap_counts_all_marketing_mail_in_a_rolling_window(book: Book) -> None:
    lease = book.hold()
    book.say(lease, granted())
    ages = [167 * HOUR_MS, 100 * HOUR_MS, HOUR_MS]
    for number, age_ms in enumerate(ages):
        [decided] = book.claim(
            lease, marketing(f"cart/{number}", campaign=f"campaign-{number}"), now_ms=NOW_MS - age_ms
        )
        assert decided.claim is not None
    book.say(lease, granted())
    assert book.claim(lease, marketing("cart/now"))[0].reason == "frequency_cap"
    assert book.row(marketing("cart/now"))["record"] == {
        "sends": 3,
        "cap": 3,
        "window_ms": MARKETING_CAP.window_ms,
    }
    # The window rolls: an hour later the oldest of them is out of it.
    assert book.claim(lease, marketing("cart/later"), now_ms=NOW_MS + HOUR_MS)[0].claim is not None


def test_a_send_leaves_the_window_at_the_very_moment_the_window_is_over(book: Book) -> None:
    lease = book.hold()
    book.say(lease, granted())
    capped = Cap(sends=1, window_ms=HOUR_MS)
    book.claim(lease, marketing("cart/1", cap=capped))
    assert book.claim(lease, marketing("cart/2", cap=capped), now_ms=NOW_MS + HOUR_MS - 1)[0].claim is None
    assert book.claim(lease, marketing("cart/3", cap=capped), now_ms=NOW_MS + HOUR_MS)[0].claim is not None


def test_what_the_same_call_has_just_claimed_counts(book: Book) -> None:
    lease = book.hold()
    book.say(lease, granted())
    decided = book.claim(lease, *(marketing(f"cart/{number}") for number in range(5)))
    assert [one.reason for one in decided] == ["", "", "", "frequency_cap", "frequency_cap"]


def test_a_campaigns_own_cap_counts_only_its_own_mail(book: Book) -> None:
    lease = book.hold()
    book.say(lease, granted())
    capped = Cap(sends=1, window_ms=DAY_MS)
    decided = book.claim(
        lease,
        marketing("cart/1", cap=capped),
        marketing("cart/2", cap=capped),
        marketing("dwell/1", campaign="category_dwell", cap=capped),
    )
    assert [one.reason for one in decided] == ["", "frequency_cap", ""]


def test_mail_under_any_of_a_persons_ids_counts(book: Book) -> None:
    lease = book.hold()
    book.say(lease, granted(), granted("anonymous:phone"))
    for number, ids in enumerate((("anonymous:phone",), ("anonymous:phone",), ANN)):
        assert book.claim(lease, marketing(f"cart/{number}", ids=ids))[0].claim is not None
    assert book.claim(lease, marketing("cart/9", ids=ANN_AND_HER_PHONE))[0].reason == "frequency_cap"


def test_transactional_mail_and_other_people_do_not_count(book: Book) -> None:
    lease = book.hold()
    book.say(lease, granted(), granted("user:bob"))
    book.claim(lease, *(intended(f"order/{number}") for number in range(5)))
    book.claim(lease, *(marketing(f"cart/{number}", ids=("user:bob",)) for number in range(3)))
    assert book.claim(lease, marketing())[0].claim is not None


def test_mail_that_is_out_or_may_be_counts_and_mail_that_is_not_does_not(book: Book) -> None:
    lease = book.hold()
    capped = Cap(sends=1, window_ms=DAY_MS)
    outcomes = {Accepted("1"): False, LATER: False, Unknown("lost"): False, Rejected("no"): True}
    for number, (outcome, has_room) in enumerate(outcomes.items()):
        ids = (f"user:{number}",)
        book.say(lease, granted(ids[0]))
        [first] = book.claim(lease, marketing("cart/1", ids=ids, cap=capped))
        book.ledger.settle([answered(first.claim, outcome)])
        [second] = book.claim(lease, marketing("cart/2", ids=ids, cap=capped))
        assert (second.claim is not None) is has_room, outcome


@pytest.mark.parametrize(
    ("outcome", "state", "reason"),
    [
        (Accepted("id-1"), "sent", ""),
        (Rejected("the mailbox is full"), "failed", "the mailbox is full"),
        (MissingVariable("no first_name"), "skipped", "missing_variable"),
        (LATER, "retry", "busy"),
        (Unknown("the line went dead"), "unknown", "the line went dead"),
    ],
)
def test_what_the_esp_answered_is_written_down(
    book: Book, outcome: Accepted | Rejected | TryLater | Unknown, state: str, reason: str
) -> None:
    [decided] = book.claim(book.hold(), intended())
    book.ledger.settle([answered(decided.claim, outcome, NOW_MS + 9)])
    row = book.row(intended())
    assert (row["state"], row["reason"], row["attempts"]) == (state, reason, 1)
    assert (row["provider_id"], row["esp_accepted_at_ms"]) == (("id-1", NOW_MS + 9) if state == "sent" else ("", None))


def test_a_settled_send_is_not_unsettled_by_a_late_answer(book: Book) -> None:
    [decided] = book.claim(book.hold(), intended())
    book.ledger.settle([answered(decided.claim, Accepted("id-1"))])
    for late in (LATER, Rejected("no"), Unknown("lost")):
        book.ledger.settle([answered(decided.claim, late)])
    assert book.states() == [("sent", "")]


def test_an_answer_that_comes_after_the_lane_was_taken_over_still_settles_its_send(book: Book) -> None:
    lease = book.hold()
    [decided] = book.claim(lease, intended())
    book.ledger.settle_orphans(book.take_over(lease), NOW_MS)
    assert book.states() == [("unknown", INTERRUPTED)]
    book.ledger.settle([answered(decided.claim, Accepted("id-1"))])
    assert book.states() == [("sent", "")]


def test_a_send_that_was_put_off_is_claimed_again_when_it_is_due_and_not_before(book: Book) -> None:
    lease = book.hold()
    put_off(book, lease, intended())
    assert reclaimed(book, lease, NOW_MS + 59_999) == []
    [again] = book.reclaim(lease, NOW_MS + 60_000)
    claim = again.claim
    assert claim is not None
    assert (claim.key, claim.attempts) == (intended().key, 2)
    assert claim.contact == intended().person.stored("user:ann")
    assert reclaimed(book, lease) == []
    book.ledger.settle([answered(claim, Accepted("id-1"))])
    assert book.row(intended())["attempts"] == 2


def test_retries_are_taken_up_oldest_first_and_only_as_many_as_asked_for(book: Book) -> None:
    lease = book.hold()
    for number in range(3):
        [decided] = book.claim(lease, intended(f"order/{number}"))
        book.ledger.settle([answered(decided.claim, LATER, NOW_MS - number * MINUTE_MS)])
    first = book.reclaim(lease, NOW_MS + HOUR_MS, limit=2)
    assert [one.claim.key for one in first if one.claim] == [intended("order/2").key, intended("order/1").key]


@pytest.mark.parametrize("subject", ["user:ann", "anonymous:phone", "email:ann@example.com"])
def test_an_opt_out_between_the_claim_and_the_retry_is_respected(book: Book, subject: str) -> None:
    lease = book.hold()
    book.say(lease, granted("user:ann"))
    put_off(book, lease, marketing(ids=ANN_AND_HER_PHONE))
    book.say(lease, refused(subject, at_ms=NOW_MS + 1))
    assert reclaimed(book, lease) == []
    assert book.states() == [("skipped", "no_consent")]


def test_a_yes_that_was_given_under_a_devices_id_holds_for_the_retry(book: Book) -> None:
    lease = book.hold()
    book.say(lease, granted("anonymous:phone"))
    put_off(book, lease, marketing(ids=ANN_AND_HER_PHONE))
    assert reclaimed(book, lease) == [marketing().key]


def test_a_bounce_between_the_claim_and_the_retry_is_respected(book: Book) -> None:
    lease = book.hold()
    put_off(book, lease, intended())
    book.say(lease, BOUNCE)
    assert reclaimed(book, lease) == []
    assert book.states() == [("skipped", "suppressed")]


def test_a_send_that_expired_before_its_retry_is_not_sent(book: Book) -> None:
    lease = book.hold()
    put_off(book, lease, intended(expires_at_ms=NOW_MS + HOUR_MS))
    assert reclaimed(book, lease, NOW_MS + HOUR_MS) == []
    assert book.states() == [("skipped", "expired")]


def test_a_retry_is_not_stopped_by_its_own_first_claim(book: Book) -> None:
    lease = book.hold()
    book.say(lease, granted())
    one = marketing(cap=Cap(sends=1, window_ms=DAY_MS))
    put_off(book, lease, one)
    assert reclaimed(book, lease) == [one.key]


def test_a_new_holder_takes_up_the_retries_of_the_old_one(book: Book) -> None:
    lease = book.hold()
    put_off(book, lease, intended())
    new = book.take_over(lease)
    assert reclaimed(book, new) == [intended().key]
    with pytest.raises(LeaseLostError):
        put_off(book, lease, intended("order/2"))


def test_a_lost_answer_is_asked_for_again_of_an_esp_that_takes_the_key(book: Book) -> None:
    lease = book.hold()
    book.claim(lease, intended())
    new = book.take_over(lease)
    assert book.ledger_with_key.settle_orphans(new, NOW_MS) == 1
    assert reclaimed(book, new, NOW_MS, book.ledger_with_key) == [intended().key]


def test_a_lost_answer_of_any_other_esp_is_unknown_for_good(book: Book) -> None:
    lease = book.hold()
    book.claim(lease, intended())
    new = book.take_over(lease)
    assert book.ledger.settle_orphans(new, NOW_MS) == 1
    assert book.states() == [("unknown", INTERRUPTED)]
    assert reclaimed(book, new, NOW_MS + 10 * DAY_MS) == []
    assert book.claim(new, intended()) == []
    assert book.ledger_with_key.settle_orphans(book.take_over(new), NOW_MS) == 0


def test_a_holders_own_claims_are_no_orphans(book: Book) -> None:
    lease = book.hold()
    book.claim(lease, intended())
    assert book.ledger.settle_orphans(lease, NOW_MS) == 0
    assert book.states() == [("claimed", "")]


def test_what_is_settled_is_no_orphan(book: Book) -> None:
    lease = book.hold()
    for number, outcome in enumerate((Accepted("1"), Rejected("no"), LATER, Unknown("lost"))):
        [decided] = book.claim(lease, intended(f"order/{number}"))
        book.ledger.settle([answered(decided.claim, outcome)])
    before = book.rows()
    assert book.ledger.settle_orphans(book.take_over(lease), NOW_MS) == 0
    assert book.rows() == before


def test_an_orphan_that_may_be_out_is_not_called_skipped_when_a_gate_stops_its_retry(book: Book) -> None:
    lease = book.hold()
    book.say(lease, granted())
    book.claim(lease, marketing())
    new = book.take_over(lease)
    book.ledger_with_key.settle_orphans(new, NOW_MS)
    book.say(new, refused(at_ms=NOW_MS))
    assert reclaimed(book, new, ledger=book.ledger_with_key) == []
    assert book.states() == [("unknown", f"{INTERRUPTED}; not tried again: no_consent")]
    assert book.claim(new, marketing()) == []


def test_of_two_holders_that_claim_at_once_only_the_newer_one_does(open_book: OpenBook) -> None:
    old_book, new_book = open_book(), open_book()
    old = old_book.hold("run-1")
    new = new_book.take_over(old, "run-2")
    sends = [intended(f"order/{number}") for number in range(50)]
    ready = Barrier(2)

    def claim(book: Book, lease: Lease) -> list[str]:
        ready.wait()
        claimed = []
        for one in sends:
            try:
                claimed += [decided.claim.key for decided in book.claim(lease, one) if decided.claim]
            except LeaseLostError:
                continue
        return claimed

    with ThreadPoolExecutor(2) as pool:
        by_old, by_new = pool.map(claim, (old_book, new_book), (old, new))
    assert by_old == []
    assert sorted(by_new) == sorted(one.key for one in sends)


def test_while_the_lane_changes_hands_again_and_again_every_send_is_claimed_once(open_book: OpenBook) -> None:
    opened = [open_book() for _ in range(4)]
    sends = [intended(f"order/{number}") for number in range(40)]
    ready = Barrier(len(opened))

    def work(number: int) -> list[str]:
        book = opened[number]
        ready.wait()
        claimed: list[str] = []
        for one in sends:
            # Every lease has expired by the time of the next acquisition.
            lease = book.lanes.acquire(LANE, f"run-{number}", NOW_MS, 0)
            assert lease is not None
            try:
                claimed += [decided.claim.key for decided in book.claim(lease, one) if decided.claim]
            except LeaseLostError:
                continue
        return claimed

    with ThreadPoolExecutor(len(opened)) as pool:
        claimed = [key for keys in pool.map(work, range(len(opened))) for key in keys]
    assert len(claimed) == len(set(claimed))
    with_row = {row["idempotency_key"] for row in opened[0].rows()}
    assert set(claimed) == with_row


def test_lanes_that_decide_on_one_person_at_once_keep_to_the_cap_together(open_book: OpenBook) -> None:
    books = [open_book() for _ in range(2)]
    two = books[0].store(lane_count=2)
    leases = [lease for lane in two.names() if (lease := two.acquire(lane, "run", NOW_MS, LEASE_MS))]
    books[0].say(leases[0], granted(), granted("anonymous:phone"))
    ready = Barrier(2)

    def work(number: int) -> int:
        ready.wait()
        ids = (ANN_AND_HER_PHONE, tuple(reversed(ANN_AND_HER_PHONE)))[number]
        sends = [marketing(f"cart/{number}/{one}", ids=ids) for one in range(10)]
        return sum(decided.claim is not None for one in sends for decided in books[number].claim(leases[number], one))

    with ThreadPoolExecutor(2) as pool:
        claimed = list(pool.map(work, range(2)))
    assert sum(claimed) == MARKETING_CAP.sends
    assert books[0].states().count(("skipped", "frequency_cap")) == 20 - MARKETING_CAP.sends


def test_the_order_in_which_the_ids_of_a_person_are_listed_does_not_matter(book: Book) -> None:
    lease = book.hold()
    book.claim(lease, intended(ids=("anonymous:tablet",)))
    for phone, tablet in permutations(("anonymous:phone", "anonymous:tablet")):
        assert book.claim(lease, intended(ids=("user:ann", phone, tablet))) == []
    assert book.row(intended(ids=("anonymous:tablet",)))["idempotency_key"] == idempotency_key(
        "order_confirmation", "anonymous:tablet", "order/1"
    )


def quiet_now() -> QuietHours:
    """Three hours from the minute of NOW_MS on."""
    minute = NOW_MS // MINUTE_MS % 1_440
    return QuietHours(minute, (minute + 180) % 1_440)


NIGHT: dict[str, object] = {"quiet_hours": quiet_now()}
MORNING_MS = NOW_MS - NOW_MS % MINUTE_MS + 3 * HOUR_MS
STALE = Stale({"lane": "1", "read_until_ms": NOW_MS - HOUR_MS})


def test_mail_at_night_is_deferred_and_claimed_in_the_first_minute_of_the_morning(book: Book) -> None:
    lease = book.hold()
    book.say(lease, granted())
    [decided] = book.claim(lease, marketing(rules=NIGHT))
    assert (decided.claim, decided.reason) == (None, "quiet_hours")
    assert book.states() == [("deferred", "quiet_hours")]
    assert book.row(marketing())["next_attempt_at_ms"] == MORNING_MS
    assert undecided(book, marketing()) == []
    assert reclaimed(book, lease, MORNING_MS - 1) == []
    assert reclaimed(book, lease, MORNING_MS) == [marketing().key]
    row = book.row(marketing())
    assert (row["state"], row["reason"], row["record"], row["claimed_at_ms"]) == ("claimed", "", None, MORNING_MS)
    assert row["attempts"] == 1


def test_deferred_mail_that_is_too_late_in_the_morning_expires_and_says_what_it_waited_for(book: Book) -> None:
    lease = book.hold()
    book.say(lease, granted())
    book.claim(lease, marketing(rules=NIGHT, expires_at_ms=MORNING_MS))
    assert reclaimed(book, lease, MORNING_MS) == []
    assert book.states() == [("skipped", "expired")]
    assert book.row(marketing())["record"] == {"waited_for": "quiet_hours", "until_ms": MORNING_MS}


def test_an_opt_out_at_night_stops_deferred_mail_under_whatever_id_it_is_said(book: Book) -> None:
    lease = book.hold()
    book.say(lease, granted("anonymous:phone"))
    book.claim(lease, marketing(ids=("anonymous:phone",), rules=NIGHT))
    # She has logged in since, and said no as herself.
    book.say(lease, refused("user:ann", at_ms=NOW_MS + 1, message_id="the-no"))
    ann = Person(ANN_AND_HER_PHONE, {"email": "ann@example.com"})
    [decided] = book.reclaim(lease, MORNING_MS, person=ann)
    assert (decided.claim, decided.reason) == (None, "no_consent")
    assert book.rows()[0]["record"]["message_id"] == "the-no"


def test_deferred_mail_goes_to_the_address_of_the_morning(book: Book) -> None:
    lease = book.hold()
    book.say(lease, granted())
    book.claim(lease, marketing(rules=NIGHT))
    [decided] = book.reclaim(lease, MORNING_MS, person=Person(ANN, {"email": "new@example.com"}))
    assert decided.claim is not None
    assert decided.claim.contact["email"] == book.row(marketing())["address"] == "new@example.com"


def test_deferred_mail_counts_against_the_cap_from_its_own_claim_on(book: Book) -> None:
    lease = book.hold()
    book.say(lease, granted())
    capped = {"cap": Cap(sends=1, window_ms=DAY_MS)}
    book.claim(lease, marketing("cart/1", rules=NIGHT, **capped), marketing("cart/2", rules=NIGHT, **capped))
    rules = Rules(cap=Cap(sends=1, window_ms=DAY_MS))
    told = book.reclaim(lease, MORNING_MS, rules=rules)
    assert [one.reason for one in told] == ["", "frequency_cap"]
    assert [row["claimed_at_ms"] for row in book.rows() if row["state"] == "claimed"] == [MORNING_MS]


def test_a_retry_that_has_waited_longer_than_the_window_still_counts(book: Book) -> None:
    lease = book.hold()
    book.say(lease, granted())
    capped = {"cap": Cap(sends=1, window_ms=HOUR_MS)}
    [decided] = book.claim(lease, marketing("cart/1", **capped))
    book.ledger.settle([answered(decided.claim, LATER)])
    [second] = book.claim(lease, marketing("cart/2", **capped), now_ms=NOW_MS + 2 * HOUR_MS)
    assert second.reason == "frequency_cap"


def test_a_retry_that_comes_due_at_night_waits_for_the_morning(book: Book) -> None:
    lease = book.hold()
    book.say(lease, granted())
    put_off(book, lease, marketing())
    [decided] = book.reclaim(lease, NOW_MS + MINUTE_MS, rules=Rules(quiet_hours=quiet_now()))
    assert decided.reason == "quiet_hours"
    assert book.states() == [("deferred", "quiet_hours")]


def test_stale_inputs_hold_marketing_mail_and_nothing_else_until_they_are_fresh(book: Book) -> None:
    lease = book.hold()
    book.say(lease, granted())
    told = book.ledger.claim(lease, [marketing(), intended()], "run-1", {}, NOW_MS, STALE)
    assert [one.reason for one in told] == ["stale_inputs", ""]
    assert book.row(marketing())["record"] == STALE.of_all
    assert book.ledger.due(NOW_MS + MINUTE_MS, STALE, 10) == []
    assert reclaimed(book, lease, NOW_MS + MINUTE_MS) == [marketing().key]


def test_an_input_of_one_campaign_holds_that_campaign_only_and_no_transactional_one(book: Book) -> None:
    lease = book.hold()
    book.say(lease, granted())
    record = {"input": "product_recommendations", "built_at_ms": NOW_MS - DAY_MS, "fail_after_seconds": 60}
    late = Stale(of_campaigns={"abandoned_cart": record, "order_confirmation": record})
    intents = [marketing(), marketing(campaign="category_dwell"), intended()]
    told = book.ledger.claim(lease, intents, "run-1", {}, NOW_MS, late)
    assert [one.reason for one in told] == ["stale_inputs", "", ""]
    assert book.row(marketing())["record"] == record
    assert book.ledger.due(NOW_MS + MINUTE_MS, late, 10) == []
    other = Stale(of_campaigns={"category_dwell": record})
    assert [one.key for one in book.ledger.due(NOW_MS + MINUTE_MS, other, 10)] == [marketing().key]
    [again] = book.reclaim(lease, NOW_MS + MINUTE_MS, stale=other)
    assert again.claim is not None


def test_held_mail_expires_although_it_is_still_held(book: Book) -> None:
    lease = book.hold()
    book.say(lease, granted())
    book.ledger.claim(lease, [marketing(expires_at_ms=NOW_MS + HOUR_MS)], "run-1", {}, NOW_MS, STALE)
    [decided] = book.reclaim(lease, NOW_MS + HOUR_MS, stale=STALE)
    assert decided.reason == "expired"
    assert book.row(marketing())["record"]["waited_for"] == "stale_inputs"


def test_a_paused_campaign_sends_nothing_until_it_is_resumed(book: Book) -> None:
    lease = book.hold()
    book.ledger.pause("order_confirmation", "ann", "a typo", NOW_MS)
    book.ledger.pause("order_confirmation", "bob", "too", NOW_MS + 1)
    pause = {"campaign": "order_confirmation", "paused_by": "ann", "reason": "a typo", "paused_at_ms": NOW_MS}
    assert book.ledger.pauses() == {"order_confirmation": pause}
    told = book.claim(lease, intended(), intended(campaign="receipt"))
    assert [one.reason for one in told] == ["campaign_paused", ""]
    assert book.row(intended())["record"] == pause
    assert book.ledger.due(NOW_MS + HOUR_MS, FRESH, 10) == []
    assert book.ledger.resume("order_confirmation", "cy", NOW_MS + 2)
    assert not book.ledger.resume("order_confirmation", "dee", NOW_MS + 3)
    assert reclaimed(book, lease) == [intended().key]


def test_the_last_resume_of_a_campaign_stays_on_record(book: Book) -> None:
    book.ledger.resume("receipt", "ann", NOW_MS)
    assert book.ledger.resumes() == {}, "It was not paused."
    for now_ms, who in ((NOW_MS, "ann"), (NOW_MS + 2, "bob")):
        book.ledger.pause("receipt", "cy", "a typo", now_ms)
        book.ledger.resume("receipt", who, now_ms + 1)
    assert book.ledger.resumes() == {
        "receipt": {"campaign": "receipt", "resumed_by": "bob", "resumed_at_ms": NOW_MS + 3}
    }


def test_a_retry_of_a_paused_campaign_is_held_as_well(book: Book) -> None:
    lease = book.hold()
    put_off(book, lease, intended())
    book.ledger.pause("order_confirmation", "ann", "a typo", NOW_MS)
    [decided] = book.reclaim(lease, NOW_MS + HOUR_MS)
    assert decided.reason == "campaign_paused"
    assert book.states() == [("held", "campaign_paused")]


def test_what_a_lost_ledger_may_have_mailed_is_held_until_somebody_lets_it_go(book: Book) -> None:
    lease = book.hold()
    book.ledger.pause(RESTORED, "restore", "from a backup", NOW_MS)
    before = intended("order/1", occurred_at_ms=NOW_MS - 1)
    after = intended("order/2", occurred_at_ms=NOW_MS)
    told = book.claim(lease, before, after)
    assert [one.reason for one in told] == ["restored_ledger", ""]
    assert book.ledger.due(NOW_MS + 1, FRESH, 10) == []
    book.ledger.resume(RESTORED, "ann", NOW_MS + 2)
    [decided] = book.reclaim(lease, NOW_MS + 2)
    assert decided.claim is not None
    assert decided.claim.key == before.key


def test_what_a_lost_ledger_has_mailed_is_sent_when_the_provider_reports_on_it(book: Book) -> None:
    lease = book.hold()
    book.ledger.pause(RESTORED, "restore", "from a backup", NOW_MS)
    book.ledger.pause("receipt", "ann", "a typo", NOW_MS)
    paused = intended("order/2", campaign="receipt")
    book.claim(lease, intended(occurred_at_ms=NOW_MS - 1), paused)
    book.ledger.confirm(lease, [DELIVERED, replace(DELIVERED, key=paused.key)], NOW_MS + 1)
    assert book.states() == [("held", "campaign_paused"), ("sent", "")]
    book.ledger.resume(RESTORED, "ann", NOW_MS + 2)
    assert book.reclaim(lease, NOW_MS + 2) == []


def deferred(book: Book, lease: Lease) -> Intended:
    one = intended(rules=NIGHT, occurred_at_ms=NOW_MS - 1)
    book.claim(lease, one)
    return one


def put_off_before(book: Book, lease: Lease) -> Intended:
    one = intended(occurred_at_ms=NOW_MS - 1)
    put_off(book, lease, one)
    return one


def held_by_a_pause(book: Book, lease: Lease) -> Intended:
    one = intended(occurred_at_ms=NOW_MS - 1)
    book.ledger.pause(one.campaign, "ann", "a typo", NOW_MS)
    book.claim(lease, one)
    return one


def without_an_address(book: Book, lease: Lease) -> Intended:
    book.claim(lease, intended(address="", occurred_at_ms=NOW_MS - 1))
    return intended(occurred_at_ms=NOW_MS - 1)


def refused_by_the_esp(book: Book, lease: Lease) -> Intended:
    one = intended(occurred_at_ms=NOW_MS - 1)
    [decided] = book.claim(lease, one)
    book.ledger.settle([answered(decided.claim, Rejected("no such sender"))])
    return one


IN_THE_BACKUP = (deferred, put_off_before, held_by_a_pause, without_an_address, refused_by_the_esp)


@pytest.mark.parametrize("state", IN_THE_BACKUP)
@pytest.mark.parametrize("let_go", [False, True])
def test_what_the_lost_ledger_mailed_after_the_backup_is_settled_by_a_report(
    book: Book, state: Callable[[Book, Lease], Intended], let_go: bool
) -> None:
    lease = book.hold()
    one = state(book, lease)
    book.ledger.confirm(lease, [DELIVERED], NOW_MS)
    assert book.row(one)["state"] != "sent", "Nothing is lost: it is certainly not out."
    book.ledger.pause(RESTORED, "restore", "from a backup", NOW_MS)
    if let_go:
        book.ledger.resume(RESTORED, "ann", NOW_MS + 1)
    book.ledger.confirm(lease, [DELIVERED], NOW_MS + 2)
    assert (book.row(one)["state"], book.row(one)["record"]["message_id"]) == ("sent", "webhook-1")
    book.ledger.resume(RESTORED, "ann", NOW_MS + 3)
    book.ledger.resume(one.campaign, "ann", NOW_MS + 3)
    assert book.ledger.reopen(lease, [(one.profile_id, one.key)], NOW_MS + 3) == 0
    assert book.reclaim(lease, NOW_MS + HOUR_MS) == []
    assert book.claim(lease, one, now_ms=NOW_MS + HOUR_MS) == []


def test_what_occurred_after_the_restore_is_not_what_the_lost_ledger_mailed(book: Book) -> None:
    lease = book.hold()
    book.ledger.pause(RESTORED, "restore", "from a backup", NOW_MS - 1)
    put_off(book, lease, intended())
    book.ledger.confirm(lease, [DELIVERED], NOW_MS)
    assert book.states() == [("retry", "busy")]


def test_a_report_that_comes_before_the_decision_is_remembered_for_it(book: Book) -> None:
    lease = book.hold()
    book.ledger.pause(RESTORED, "restore", "from a backup", NOW_MS)
    before, other = intended(occurred_at_ms=NOW_MS - 1), intended("order/2", occurred_at_ms=NOW_MS - 1)
    again = replace(DELIVERED, event="Email Opened", message_id="webhook-2")
    book.ledger.confirm(lease, [DELIVERED], NOW_MS)
    book.ledger.confirm(lease, [again], NOW_MS)
    assert book.rows() == []
    assert [one.state for one in book.ledger.foresee([before, other], [], NOW_MS)] == ["held"]
    assert undecided(book, before, other) == ["order/1", "order/2"]
    told = book.claim(lease, before, other)
    assert [(one.claim, one.state) for one in told] == [(None, "sent"), (None, "held")]
    row = book.row(before)
    assert (row["state"], row["attempts"], row["record"]) == ("sent", 0, asdict(DELIVERED))
    assert book.claim(lease, before) == []
    assert undecided(book, before, other) == []


def test_a_report_that_came_before_is_heard_after_the_held_mails_were_let_go_as_well(book: Book) -> None:
    lease = book.hold()
    book.ledger.pause(RESTORED, "restore", "from a backup", NOW_MS)
    book.ledger.confirm(lease, [DELIVERED], NOW_MS)
    book.ledger.resume(RESTORED, "ann", NOW_MS + 1)
    assert [one.state for one in book.claim(lease, intended(), intended("order/2"))] == ["sent", "claimed"]


OF_THE_PHONE = intended(ids=("anonymous:phone",))


@pytest.mark.parametrize("let_go", [False, True])
def test_a_report_on_the_mail_to_the_device_stands_for_the_person_who_logged_in_since(book: Book, let_go: bool) -> None:
    lease = book.hold()
    book.ledger.pause(RESTORED, "restore", "from a backup", NOW_MS)
    book.ledger.confirm(lease, [replace(DELIVERED, key=OF_THE_PHONE.key)], NOW_MS)
    if let_go:
        book.ledger.resume(RESTORED, "ann", NOW_MS + 1)
    for _ in range(2):
        assert book.claim(lease, intended(ids=ANN_AND_HER_PHONE)) == []
    assert book.rows() == []


@pytest.mark.parametrize("is_told_first", [False, True])
def test_a_report_on_the_mail_to_the_device_settles_what_is_held_for_the_person(
    book: Book, is_told_first: bool
) -> None:
    lease = book.hold()
    book.ledger.pause(RESTORED, "restore", "from a backup", NOW_MS)
    # Told first, it is kept from the claim only by the login not being known yet.
    one = intended(ids=ANN if is_told_first else ANN_AND_HER_PHONE, occurred_at_ms=NOW_MS - 1)
    other = intended("order/2", ids=("user:bob",), occurred_at_ms=NOW_MS - 1)
    calls = [
        lambda: book.claim(lease, one, other),
        lambda: book.ledger.confirm(lease, [replace(DELIVERED, key=OF_THE_PHONE.key)], NOW_MS),
    ]
    for call in reversed(calls) if is_told_first else calls:
        call()
    assert book.states() == [("held", "restored_ledger")] * 2
    book.ledger.resume(RESTORED, "ann", NOW_MS + 1)
    waiting = book.ledger.due(NOW_MS + 2, FRESH, 10)
    known = [replace(two, person=replace(one.person, ids=ANN_AND_HER_PHONE)) for two in waiting if two.key == one.key]
    known += [two for two in waiting if two.key == other.key]
    told = book.ledger.reclaim(lease, known, {}, NOW_MS + 2)
    assert [(decided.claim is None, decided.state) for decided in told] == [(True, "sent"), (False, "claimed")]
    assert (book.row(one)["state"], book.row(one)["record"]["key"]) == ("sent", OF_THE_PHONE.key)
    assert book.reclaim(lease, NOW_MS + HOUR_MS) == []


@pytest.mark.parametrize("state", [deferred, put_off_before, held_by_a_pause, refused_by_the_esp])
def test_what_waited_in_the_backup_is_settled_by_a_report_on_the_mail_to_the_device(
    book: Book, state: Callable[[Book, Lease], Intended]
) -> None:
    lease = book.hold()
    one = state(book, lease)
    logged_in = replace(one, person=replace(one.person, ids=ANN_AND_HER_PHONE))
    book.ledger.pause(RESTORED, "restore", "from a backup", NOW_MS)
    book.ledger.confirm(lease, [replace(DELIVERED, key=OF_THE_PHONE.key)], NOW_MS)
    book.ledger.resume(RESTORED, "ann", NOW_MS + 1)
    book.ledger.resume(one.campaign, "ann", NOW_MS + 1)
    book.ledger.reopen(lease, [(one.profile_id, one.key)], NOW_MS + 1)
    [decided] = book.reclaim(lease, NOW_MS + 10 * HOUR_MS, person=logged_in.person)
    assert (decided.claim, decided.state) == (None, "sent")
    assert book.row(one)["record"]["key"] == OF_THE_PHONE.key


def test_what_failed_is_not_foreseen_to_be_mailed_when_the_mail_to_the_device_is_reported(book: Book) -> None:
    lease = book.hold()
    one = refused_by_the_esp(book, lease)
    logged_in = replace(one, person=replace(one.person, ids=ANN_AND_HER_PHONE))
    book.ledger.pause(RESTORED, "restore", "from a backup", NOW_MS)
    book.ledger.resume(RESTORED, "ann", NOW_MS + 1)
    assert [told.state for told in book.ledger.foresee([logged_in], [one.key], NOW_MS + 1)] == ["claimed"]
    book.ledger.pause(RESTORED, "restore", "from a backup", NOW_MS)
    book.ledger.confirm(lease, [replace(DELIVERED, key=OF_THE_PHONE.key)], NOW_MS)
    book.ledger.resume(RESTORED, "ann", NOW_MS + 1)
    assert book.ledger.foresee([logged_in], [one.key], NOW_MS + 1) == []


@contextmanager
def statements(book: Book, about: str) -> Iterator[list[str]]:
    """Those that name such a table."""
    found: list[str] = []

    def listen(*said: object) -> None:
        if about in str(said[2]):
            found.append(str(said[2]))

    sa.event.listen(book.engine, "before_cursor_execute", listen)
    try:
        yield found
    finally:
        sa.event.remove(book.engine, "before_cursor_execute", listen)


@pytest.mark.parametrize("open_book", SQL_BACKENDS, indirect=True)
def test_a_ledger_that_never_was_restored_asks_about_that_once_a_call(book: Book) -> None:
    lease = book.hold()
    sends = [intended(f"order/{number}", ids=ANN_AND_HER_PHONE) for number in range(3)]
    with statements(book, "early_reports") as asked:
        told = book.claim(lease, *sends)
    assert len(asked) == 1
    book.ledger.settle([answered(one.claim, LATER) for one in told])
    with statements(book, "early_reports") as asked:
        assert len(reclaimed(book, lease)) == len(sends)
    assert len(asked) == 1
    with statements(book, "campaign_pauses") as asked:
        book.ledger.confirm(lease, [replace(DELIVERED, key=one.key) for one in sends], NOW_MS)
    assert len(asked) == 1


def test_a_report_on_what_nobody_has_decided_is_kept_only_after_a_restore(book: Book) -> None:
    lease = book.hold()
    book.ledger.confirm(lease, [DELIVERED], NOW_MS)
    book.ledger.pause(RESTORED, "restore", "from a backup", NOW_MS - 1)
    assert [one.state for one in book.claim(lease, intended())] == ["claimed"]


def test_a_no_on_a_mail_that_only_a_report_tells_of_is_heard(book: Book) -> None:
    lease = book.hold()
    book.ledger.pause(RESTORED, "restore", "from a backup", NOW_MS)
    book.say(lease, granted())
    one = marketing(occurred_at_ms=NOW_MS - 1)
    book.ledger.confirm(lease, [replace(DELIVERED, key=one.key, event="Unsubscribed")], NOW_MS)
    book.say(lease, replace(refused(at_ms=NOW_MS), key=one.key))
    told = book.claim(lease, one, marketing("cart/2", occurred_at_ms=NOW_MS))
    assert [(told.state, told.reason) for told in told] == [("sent", ""), ("skipped", "no_consent")]


def test_what_was_held_when_the_backup_was_made_is_told_its_new_reason_once(book: Book) -> None:
    if not hasattr(book, "engine"):
        pytest.skip("the index of DynamoDB does not know the reason, which stays")
    lease = book.hold()
    book.ledger.pause("order_confirmation", "ann", "a typo", NOW_MS)
    book.claim(lease, intended(occurred_at_ms=NOW_MS - 1))
    book.ledger.pause(RESTORED, "restore", "from a backup", NOW_MS)
    assert book.ledger.due(NOW_MS + 1, FRESH, 10) == []
    book.ledger.resume("order_confirmation", "ann", NOW_MS + 2)
    [decided] = book.reclaim(lease, NOW_MS + 2)
    assert (decided.state, decided.reason) == ("held", "restored_ledger")
    assert book.ledger.due(NOW_MS + 3, FRESH, 10) == []


def test_what_a_lost_ledger_may_have_mailed_expires_by_itself(book: Book) -> None:
    lease = book.hold()
    book.ledger.pause(RESTORED, "restore", "from a backup", NOW_MS)
    one = intended(occurred_at_ms=NOW_MS - 1, expires_at_ms=NOW_MS + 5)
    book.claim(lease, one)
    [decided] = book.reclaim(lease, NOW_MS + 5)
    assert (decided.state, decided.reason) == ("skipped", "expired")
    assert book.row(one)["record"]["waited_for"] == "restored_ledger"


WINDOW: dict[str, object] = {"priority_window_ms": DAY_MS}


def test_a_mail_gives_way_to_one_of_higher_priority_within_the_window(book: Book) -> None:
    lease = book.hold()
    book.say(lease, granted())
    launch = marketing(campaign="launch", rules={**WINDOW, "priority": 5})
    cart = marketing(rules=WINDOW)
    told = book.claim(lease, launch, cart)
    assert [one.reason for one in told] == ["", "lower_priority"]
    rival = {"idempotency_key": launch.key, "campaign": "launch", "priority": 5}
    assert book.row(cart)["record"] == rival
    later = book.claim(
        lease, marketing("cart/2", rules=WINDOW, expires_at_ms=NOW_MS + 2 * DAY_MS), now_ms=NOW_MS + DAY_MS
    )
    assert later[0].claim is not None


def test_a_mail_gives_way_to_a_better_one_that_waits_for_the_morning_and_to_no_equal_one(book: Book) -> None:
    lease = book.hold()
    book.say(lease, granted())
    book.claim(lease, marketing(campaign="launch", rules={**NIGHT, **WINDOW, "priority": 5}))
    told = book.claim(lease, marketing(rules=WINDOW), marketing("cart/9", rules={**WINDOW, "priority": 5}))
    assert [one.reason for one in told] == ["lower_priority", ""]


def test_who_is_held_out_is_mailed_nothing_and_every_row_tells_the_draws(book: Book) -> None:
    lease = book.hold()
    book.say(lease, granted())
    nobody, everybody = Holdout("all", "salt", 1e-9), Holdout("abandoned_cart", "cart", 100)
    told = book.claim(
        lease,
        marketing("cart/1", rules={"holdouts": (nobody, everybody)}),
        marketing("cart/2", rules={"holdouts": (nobody,)}),
    )
    assert [one.reason for one in told] == ["held_out", ""]
    draws = [row["holdout_draws"] for row in book.rows()]
    assert {"all": nobody.draw("user:ann")} in draws
    assert {"all": nobody.draw("user:ann"), "abandoned_cart": everybody.draw("user:ann")} in draws


def test_a_lost_answer_is_asked_for_again_and_again_while_the_esp_knows_the_key(book: Book) -> None:
    lease = book.hold()
    [decided] = book.claim(lease, intended(expires_at_ms=NOW_MS + 9 * DAY_MS))
    book.ledger_with_key.settle([answered(decided.claim, Unknown("lost"))])
    assert book.states() == [("retry", "lost")]
    [again] = book.reclaim(lease, NOW_MS + HOUR_MS, book.ledger_with_key)
    assert again.claim is not None
    # The same mail as the first: the key stands for it.
    assert again.claim.claimed_at_ms == NOW_MS
    book.ledger_with_key.settle([answered(again.claim, Unknown("lost"), NOW_MS + KEY_MS - 1)])
    assert book.row(intended())["state"] == "retry"
    assert reclaimed(book, lease, NOW_MS + KEY_MS + HOUR_MS, book.ledger_with_key) == []
    assert book.states() == [("unknown", "lost; not tried again: key_expired")]


def test_what_may_be_out_is_asked_for_at_night_of_a_paused_campaign_and_to_its_first_address(book: Book) -> None:
    lease = book.hold()
    book.say(lease, granted())
    [decided] = book.claim(lease, marketing())
    book.ledger_with_key.settle([answered(decided.claim, Unknown("lost"))])
    book.ledger.pause("abandoned_cart", "ann", "a typo", NOW_MS)
    moved = Person(ANN, {"email": "new@example.com"})
    [again] = book.reclaim(
        lease, NOW_MS + HOUR_MS, book.ledger_with_key, rules=Rules(quiet_hours=quiet_now()), person=moved, stale=STALE
    )
    assert again.claim is not None
    assert again.claim.contact["email"] == "ann@example.com"


def test_a_late_answer_of_an_earlier_attempt_does_not_undo_a_later_one_unless_the_mail_is_out(book: Book) -> None:
    lease = book.hold()
    [first] = book.claim(lease, intended())
    new = book.take_over(lease)
    book.ledger_with_key.settle_orphans(new, NOW_MS)
    [second] = book.reclaim(new, NOW_MS, book.ledger_with_key)
    assert second.claim is not None
    for late in (LATER, Rejected("no"), Unknown("lost")):
        book.ledger_with_key.settle([answered(first.claim, late)])
        assert book.states() == [("claimed", "")]
    book.ledger_with_key.settle([answered(first.claim, Accepted("id-1"))])
    book.ledger_with_key.settle([answered(second.claim, LATER)])
    assert book.states() == [("sent", "")]


DELIVERED = DeliveryReport(intended().key, "Email Delivered", "webhook-1", NOW_MS + MINUTE_MS)


def test_what_the_provider_reports_on_is_out_whoever_lost_its_answer(book: Book) -> None:
    lease = book.hold()
    [decided] = book.claim(lease, intended())
    book.ledger.settle([answered(decided.claim, Unknown("lost"))])
    book.ledger.confirm(lease, [DELIVERED, replace(DELIVERED, key="f" * 32)], NOW_MS + HOUR_MS)
    row = book.row(intended())
    assert (row["state"], row["reason"], row["changed_at_ms"]) == ("sent", "", NOW_MS + HOUR_MS)
    assert row["record"]["message_id"] == "webhook-1"


def test_a_report_settles_nothing_that_is_settled_or_certainly_not_out(book: Book) -> None:
    lease = book.hold()
    book.claim(lease, intended(address=""))
    book.ledger.confirm(lease, [DELIVERED], NOW_MS)
    assert book.states() == [("skipped", "no_address")]
    put_off(book, lease, intended())
    book.ledger.confirm(lease, [DELIVERED], NOW_MS)
    assert book.states() == [("retry", "busy")]
    with pytest.raises(LeaseLostError):
        book.ledger.confirm(replace(lease, fencing_token=0), [DELIVERED], NOW_MS)


def test_every_change_of_a_row_moves_its_time_of_change(book: Book) -> None:
    lease = book.hold()
    [decided] = book.claim(lease, intended(), now_ms=NOW_MS + 1)
    assert book.row(intended())["changed_at_ms"] == NOW_MS + 1
    book.ledger.settle([answered(decided.claim, LATER, NOW_MS + 2)])
    assert book.row(intended())["changed_at_ms"] == NOW_MS + 2
    book.reclaim(lease, NOW_MS + HOUR_MS)
    assert book.row(intended())["changed_at_ms"] == NOW_MS + HOUR_MS
    book.ledger.settle_orphans(book.take_over(lease), NOW_MS + DAY_MS)
    assert book.row(intended())["changed_at_ms"] == NOW_MS + DAY_MS


def heard(book: Book, said: list[Consent | Suppression | RecordAddress]) -> list[dict[str, object]]:
    """What the gates decide and record once all this was said, and nothing else."""
    book.forget()
    lease = book.hold()
    book.say(lease, *said)
    book.claim(lease, intended(), marketing(), marketing("cart/2", address="ann@example.org"))
    book.lanes.release(lease)
    return [{name: row[name] for name in ("state", "reason", "record")} for row in book.rows()]
