"""What Dagster is told of sends: the same numbers by name in every report, so that it can plot them."""

from dataclasses import replace
from typing import Any

import pytest
from support.clocks import NOW_MS
from support.messages import rows, track
from support.sending import Book, answered, granted, intended, marketing
from support.warehouse import no_warnings

from wakeline.activation.claims import Decided
from wakeline.activation.esp.protocol import Accepted, MissingVariable, Outcome, Rejected, TryLater, Unknown
from wakeline.activation.gates import GATES, MARKETING, Candidate, Facts, Holdout, Skip, decide
from wakeline.activation.mailer import Answer
from wakeline.pipeline.microbatch import BatchResult
from wakeline.pipeline.reporting import Report
from wakeline.settings import HEARTBEAT_SOURCE
from wakeline.sla.heartbeats import EVENT

with no_warnings():
    from orchestration.reports import figures, states


def numbers(report: Report) -> dict[str, dict[str, Any]]:
    """Asset -> its metadata, as Dagster gets them."""
    return {
        event.asset_key.to_user_string(): {name: value.value for name, value in event.metadata.items()}
        for event in (*states(report, ()), *figures(report, 0.0))
    }


def counted(decided: list[Decided], *answers: Answer) -> dict[str, dict[str, Any]]:
    report = Report()
    report.add(BatchResult({}, decided=decided, answers=answers))
    return numbers(report)


def told(found: dict[str, Any]) -> dict[str, Any]:
    return {name: count for name, count in found.items() if count}


def test_decisions_and_answers_are_counted_by_campaign_and_in_all(book: Book) -> None:
    lease = book.hold()
    book.say(lease, granted())
    book.ledger.pause("category_dwell", "ann", "a typo", NOW_MS)
    decided = book.claim(
        lease,
        intended("order/1"),
        intended("order/2"),
        marketing(),
        marketing(address="", ids=("user:bob",)),
        marketing(ids=("user:cy",), address="cy@example.com"),
        marketing(campaign="category_dwell"),
    )
    answers = [answered(decided[0].claim, Accepted("1")), answered(decided[1].claim, MissingVariable("no name"))]
    found = counted(decided, *answers)
    assert {name: told(values) for name, values in found.items()} == {
        "campaigns/order_confirmation": {"claimed": 2, "sent": 1, "skipped": 1, "skipped_missing_variable": 1},
        "campaigns/abandoned_cart": {"claimed": 1, "skipped": 2, "skipped_no_address": 1, "skipped_no_consent": 1},
        "campaigns/category_dwell": {"held": 1},
        "sends": {
            "claimed": 3, "sent": 1, "held": 1, "skipped": 3, "skipped_missing_variable": 1, "skipped_no_address": 1,
            "skipped_no_consent": 1,
        },
    }  # fmt: skip


def test_the_same_names_are_there_whatever_happened(book: Book) -> None:
    lease = book.hold()
    first = counted(book.claim(lease, intended("order/1")))
    second = counted(book.claim(lease, marketing(address="")))
    assert first["sends"].keys() == second["sends"].keys() == second["campaigns/abandoned_cart"].keys()
    assert {"sent", "skipped", "deferred", "held", "skipped_no_consent", "skipped_frequency_cap"} <= set(first["sends"])


@pytest.mark.parametrize(
    ("outcome", "name"),
    [(Accepted("1"), "sent"), (Rejected("no"), "failed"), (TryLater(1, "busy"), "retry"), (Unknown("lost"), "unknown")],
)
def test_each_answer_of_the_esp_has_its_name(book: Book, outcome: Outcome, name: str) -> None:
    decided = book.claim(book.hold(), intended())
    assert told(counted(decided, answered(decided[0].claim, outcome))["sends"]) == {"claimed": 1, name: 1}


def test_a_send_that_was_decided_again_is_counted_by_its_new_state(book: Book) -> None:
    lease = book.hold()
    book.ledger.pause("order_confirmation", "ann", "a typo", NOW_MS)
    book.claim(lease, intended(expires_at_ms=NOW_MS + 1))
    assert told(counted(book.reclaim(lease, NOW_MS + 1))["sends"]) == {"skipped": 1, "skipped_expired": 1}


def test_every_reason_that_a_gate_can_skip_for_has_a_name(book: Book) -> None:
    """Each gate that skips a hopeless candidate; the gates before it are left out."""
    names = counted(book.claim(book.hold(), intended()))["sends"]
    rules = replace(intended().rules, holdouts=(Holdout("all", "salt", 100),))
    hopeless = Candidate(MARKETING, "marketing", "user:1", "", "", 0, 0, rules)
    facts = Facts(0, suppression={}, caps=(), rival={"campaign": "other"}, stale={"lane": "0"}, pause={"reason": "x"})
    assert decide(hopeless, facts) is not None
    skipping = [no.reason for gate in GATES if isinstance(no := gate(hopeless, facts), Skip)]
    assert len(skipping) >= 5
    assert {f"skipped_{reason}" for reason in skipping} <= set(names)


def test_heartbeats_keep_what_is_streamed_fresh_and_count_as_no_event_of_a_customer() -> None:
    report = Report()
    beat = rows(track(EVENT, "m1", device="heartbeat-0"), source=HEARTBEAT_SOURCE)
    report.add(BatchResult({0: (0, 1)}, beat))
    events = [*figures(report, 0.0), *states(report, ("events", "person_states"))]
    found = {one.asset_key.to_user_string(): one.metadata for one in events}
    assert set(found) == {"event_stream", "landing", "events", "person_states"}
    assert {name: found["landing"][name].value for name in ("received", "accepted", "heartbeats")} == {
        "received": 1, "accepted": 1, "heartbeats": 1,
    }  # fmt: skip
    assert found["person_states"]["events"].value == 0
    report.add(BatchResult({0: (1, 2)}, rows(track("Product Viewed", "m2", user="ann"))))
    [of_persons] = [one for one in states(report, ("person_states",)) if one.asset_key.path == ["person_states"]]
    assert of_persons.metadata["events"].value == 1
