from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest
from support.clocks import DAY_MS, HOUR_MS, NOW_MS

from wakeline.activation.gates import GATES, MARKETING, Candidate, Cap, Facts, Skip, decide

YES = {"granted": True, "message_id": "yes"}
NO = {"granted": False, "message_id": "no"}
BOUNCED = {"address": "ann@example.com", "reason": "hard_bounce"}
CAP = Cap(sends=2, window_ms=DAY_MS)

OFFER = Candidate(MARKETING, "marketing", "ann@example.com", NOW_MS + HOUR_MS)
RECEIPT = Candidate("transactional", None, "ann@example.com", NOW_MS + HOUR_MS)
FINE = Facts(NOW_MS, consent=YES, caps=((CAP, 0),))

#: What makes each gate say no, in the order of the gates: changes of the candidate and of the facts.
OBSTACLES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("expired", {"expires_at_ms": NOW_MS}, {}),
    ("no_address", {"address": ""}, {}),
    ("suppressed", {}, {"suppression": BOUNCED}),
    ("no_consent", {}, {"consent": NO}),
    ("frequency_cap", {}, {"caps": ((CAP, 2),)}),
]


def obstructed(obstacles: list[tuple[str, dict[str, Any], dict[str, Any]]]) -> Skip | None:
    candidate, facts = OFFER, FINE
    for _, of_candidate, of_facts in obstacles:
        candidate, facts = replace(candidate, **of_candidate), replace(facts, **of_facts)
    return decide(candidate, facts)


def test_a_send_that_nothing_stands_against_is_let_through() -> None:
    assert decide(OFFER, FINE) is None
    assert decide(RECEIPT, Facts(NOW_MS)) is None


def test_the_gates_are_asked_in_the_order_of_the_contract() -> None:
    assert [gate.__name__ for gate in GATES] == [reason for reason, _, _ in OBSTACLES]


@pytest.mark.parametrize("obstacle", OBSTACLES, ids=lambda obstacle: obstacle[0])
def test_each_gate_gives_its_own_reason(obstacle: tuple[str, dict[str, Any], dict[str, Any]]) -> None:
    skip = obstructed([obstacle])
    assert skip is not None
    assert skip.reason == obstacle[0]


@pytest.mark.parametrize("pair", list(combinations(OBSTACLES, 2)), ids=lambda pair: f"{pair[0][0]}-{pair[1][0]}")
def test_of_two_obstacles_the_earlier_gates_is_the_reason(pair: tuple[Any, Any]) -> None:
    skip = obstructed(list(pair))
    assert skip is not None
    assert skip.reason == pair[0][0]


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
