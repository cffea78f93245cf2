from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest
from support.clocks import DAY_MS, HOUR_MS, MINUTE_MS, NOW_MS

from wakeline.activation.gates import (
    DEFERRED,
    GATES,
    HELD,
    MARKETING,
    Candidate,
    Cap,
    Decision,
    Facts,
    Holdout,
    Rules,
    Skip,
    Wait,
    decide,
)
from wakeline.activation.quiet_hours import QuietHours

YES = {"granted": True, "message_id": "yes"}
NO = {"granted": False, "message_id": "no"}
BOUNCED = {"address": "ann@example.com", "reason": "hard_bounce"}
CAP = Cap(sends=2, window_ms=DAY_MS)

ALL_DAY = QuietHours(0, 1_439)
NOBODY, EVERYBODY = Holdout("all", "salt", 0), Holdout("all", "salt", 100)
RIVAL = {"campaign": "launch", "priority": 9}
STALE = {"lane": "1", "read_until_ms": NOW_MS - HOUR_MS}
PAUSE = {"paused_by": "ann", "reason": "a typo"}
RESTORED = {"paused_by": "restore", "reason": "from a backup", "paused_at_ms": NOW_MS + 1}

OFFER = Candidate(
    MARKETING, "marketing", "user:ann", "ann@example.com", "Europe/Berlin", NOW_MS, NOW_MS + HOUR_MS,
    Rules(holdouts=(NOBODY,)),
)  # fmt: skip
RECEIPT = replace(OFFER, campaign_class="transactional", purpose=None)
FINE = Facts(NOW_MS, consent=YES, caps=((CAP, 0),))

#: What makes each gate say no, in the order of the gates: changes of the candidate, its rules and the facts.
OBSTACLES: list[tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    ("expired", {"expires_at_ms": NOW_MS}, {}, {}),
    ("no_address", {"address": ""}, {}, {}),
    ("suppressed", {}, {}, {"suppression": BOUNCED}),
    ("no_consent", {}, {}, {"consent": NO}),
    ("held_out", {}, {"holdouts": (EVERYBODY,)}, {}),
    ("frequency_cap", {}, {}, {"caps": ((CAP, 2),)}),
    ("quiet_hours", {}, {"quiet_hours": ALL_DAY}, {}),
    ("lower_priority", {}, {}, {"rival": RIVAL}),
    ("restored_ledger", {}, {}, {"restored": RESTORED}),
    ("stale_inputs", {}, {}, {"stale": STALE}),
    ("campaign_paused", {}, {}, {"pause": PAUSE}),
]
#: Those that a person's receipt is not kept back by.
OF_MARKETING_ONLY = ("held_out", "frequency_cap", "lower_priority", "stale_inputs")


def obstructed(
    obstacles: list[tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]], candidate: Candidate = OFFER
) -> Decision:
    facts = FINE
    for _, of_candidate, of_rules, of_facts in obstacles:
        rules = replace(candidate.rules, **of_rules)
        candidate, facts = replace(candidate, rules=rules, **of_candidate), replace(facts, **of_facts)
    return decide(candidate, facts)


def test_a_send_that_nothing_stands_against_is_let_through() -> None:
    assert decide(OFFER, FINE) is None
    assert decide(RECEIPT, Facts(NOW_MS)) is None


def test_the_gates_are_asked_in_the_order_of_the_contract() -> None:
    assert [gate.__name__ for gate in GATES] == [obstacle[0] for obstacle in OBSTACLES]


@pytest.mark.parametrize("obstacle", OBSTACLES, ids=lambda obstacle: obstacle[0])
def test_each_gate_gives_its_own_reason(obstacle: tuple[Any, ...]) -> None:
    no = obstructed([obstacle])
    assert no is not None
    assert no.reason == obstacle[0]


@pytest.mark.parametrize("obstacle", OBSTACLES, ids=lambda obstacle: obstacle[0])
def test_what_transactional_mail_is_exempt_from(obstacle: tuple[Any, ...]) -> None:
    passes = obstructed([obstacle], replace(RECEIPT, purpose="marketing")) is None
    assert passes is (obstacle[0] in OF_MARKETING_ONLY)


@pytest.mark.parametrize("pair", list(combinations(OBSTACLES, 2)), ids=lambda pair: f"{pair[0][0]}-{pair[1][0]}")
def test_of_two_obstacles_the_earlier_gates_is_the_reason(pair: tuple[Any, Any]) -> None:
    no = obstructed(list(pair))
    assert no is not None
    assert no.reason == pair[0][0]


def test_a_send_expires_at_the_moment_it_expires() -> None:
    assert decide(replace(OFFER, expires_at_ms=NOW_MS + 1), FINE) is None
    assert decide(replace(OFFER, expires_at_ms=NOW_MS), FINE) == Skip("expired")


def test_a_bad_address_stops_transactional_mail_as_well() -> None:
    assert decide(RECEIPT, Facts(NOW_MS, suppression=BOUNCED)) == Skip("suppressed", BOUNCED)


def test_transactional_mail_needs_no_consent_and_counts_against_no_cap() -> None:
    assert decide(RECEIPT, Facts(NOW_MS, consent=NO, caps=((CAP, 99),))) is None


def test_transactional_mail_that_declares_a_purpose_needs_consent_to_it() -> None:
    assert decide(replace(RECEIPT, purpose="receipts"), Facts(NOW_MS, consent=NO)) == Skip("no_consent", NO)


def test_no_word_at_all_is_a_no() -> None:
    assert decide(OFFER, replace(FINE, consent=None)) == Skip("no_consent", None)


def test_a_cap_lets_through_as_many_as_it_says_and_records_what_it_counted() -> None:
    assert decide(OFFER, replace(FINE, caps=((CAP, 1),))) is None
    assert decide(OFFER, replace(FINE, caps=((CAP, 2),))) == Skip(
        "frequency_cap", {"sends": 2, "cap": 2, "window_ms": DAY_MS}
    )


def test_every_cap_must_have_room() -> None:
    full = Cap(sends=1, window_ms=HOUR_MS)
    skip = decide(OFFER, replace(FINE, caps=((CAP, 0), (full, 1))))
    assert skip == Skip("frequency_cap", {"sends": 1, "cap": 1, "window_ms": HOUR_MS})


def test_who_is_held_out_is_so_for_ever_and_by_nothing_but_salt_and_person() -> None:
    half = Holdout("all", "spring", 50)
    held_out = {person for number in range(2_000) if half.draw(person := f"user:{number}") < half.percent}
    assert 900 < len(held_out) < 1_100
    assert held_out == {f"user:{number}" for number in range(2_000) if half.draw(f"user:{number}") < half.percent}
    autumn = replace(half, salt="autumn")
    both = {person for person in held_out if autumn.draw(person) < autumn.percent}
    assert 400 < len(both) < 600  # Another salt is another draw.


def test_who_is_in_a_small_holdout_stays_in_it_when_it_grows() -> None:
    small, large = Holdout("all", "s", 5), Holdout("all", "s", 20)
    people = [f"user:{number}" for number in range(1_000)]
    assert {one for one in people if small.draw(one) < 5} < {one for one in people if large.draw(one) < 20}


def test_a_holdout_is_recorded_with_its_draw() -> None:
    skip = decide(replace(OFFER, rules=Rules(holdouts=(NOBODY, EVERYBODY))), FINE)
    assert skip == Skip("held_out", {"scope": "all", "draw": EVERYBODY.draw("user:ann"), "percent": 100})


def test_mail_at_night_is_put_off_to_the_morning_of_where_the_person_lives() -> None:
    night = QuietHours(21 * 60, 8 * 60)
    at = {name: replace(OFFER, time_zone=name, rules=Rules(quiet_hours=night)) for name in ("Europe/Berlin", "UTC")}
    # 2026-03-10 20:30 UTC: half past nine in Berlin.
    evening_ms = 1_773_174_600_000
    facts = replace(FINE, now_ms=evening_ms)
    late = {name: replace(one, expires_at_ms=evening_ms + DAY_MS) for name, one in at.items()}
    assert decide(late["UTC"], facts) is None
    record = {"time_zone": "Europe/Berlin", "start_minute": 1_260, "end_minute": 480}
    morning_ms = evening_ms + 10 * HOUR_MS + 30 * MINUTE_MS
    assert decide(late["Europe/Berlin"], facts) == Wait(DEFERRED, "quiet_hours", morning_ms, record)


@pytest.mark.parametrize("unknown", ["", "Mars/Olympus", "../etc/passwd", "Europe", "\x00"])
def test_where_nobody_knows_the_persons_time_zone_it_is_that_of_the_rules(unknown: str) -> None:
    rules = Rules(quiet_hours=ALL_DAY, time_zone="Asia/Tokyo")
    wait = decide(replace(OFFER, time_zone=unknown, rules=rules), FINE)
    assert isinstance(wait, Wait)
    assert wait.record is not None
    assert wait.record["time_zone"] == "Asia/Tokyo"


def test_a_mail_waits_for_one_of_higher_priority_as_long_as_its_campaign_says() -> None:
    patient = replace(OFFER, rules=Rules(priority_wait_ms=MINUTE_MS))
    assert decide(patient, FINE) == Wait(DEFERRED, "lower_priority", NOW_MS + MINUTE_MS)
    assert decide(patient, replace(FINE, now_ms=NOW_MS + MINUTE_MS)) is None


def test_held_mail_says_what_holds_it() -> None:
    assert decide(OFFER, replace(FINE, stale=STALE)) == Wait(HELD, "stale_inputs", NOW_MS, STALE)
    assert decide(RECEIPT, replace(FINE, pause=PAUSE)) == Wait(HELD, "campaign_paused", NOW_MS, PAUSE)
    assert decide(RECEIPT, replace(FINE, restored=RESTORED)) == Wait(HELD, "restored_ledger", NOW_MS, RESTORED)


def test_a_restored_ledger_keeps_back_only_what_occurred_before() -> None:
    at_that_moment = {**RESTORED, "paused_at_ms": OFFER.occurred_at_ms}
    assert decide(OFFER, replace(FINE, restored=at_that_moment)) is None
