"""Pausing and resuming campaigns, and the list of them, as somebody at a terminal sees it."""

import json
import shutil
from typing import Any

import pytest
from support.clocks import HOUR_MS, NOW_MS
from support.deployed import run
from support.sending import Book, answered, granted, intended, marketing

from wakeline import overview
from wakeline.activation.control import open_control
from wakeline.activation.esp.protocol import Accepted, Rejected, TryLater, Unknown
from wakeline.errors import ConfigError
from wakeline.settings import Settings

ALL = ["abandoned_cart", "category_dwell", "confirm_opt_in", "order_confirmation"]


def listed(settings: Settings, hours: float = 24, now_ms: int = NOW_MS) -> dict[str, dict[str, Any]]:
    entries = overview.build_overview(settings, hours, lambda: now_ms)
    return {entry["campaign"]: entry for entry in entries}


def test_every_campaign_is_listed_before_anything_was_sent(settings: Settings) -> None:
    entries = json.loads(run("campaigns", "--json").output)
    assert [entry["campaign"] for entry in entries] == ALL
    assert {entry["state"] for entry in entries} == {"running"}
    [cart] = [entry for entry in entries if entry["campaign"] == "abandoned_cart"]
    assert (cart["class"], cart["trigger"], cart["sent"], cart["skipped"]) == ("marketing", "abandoned_cart", 0, {})


def test_a_pause_holds_and_says_who_and_why_until_it_is_resumed(own_book: Book, settings: Settings) -> None:
    done = run("pause", "order_confirmation", "--reason", " wrong price ", "--by", "ann")
    assert done.output.endswith(" by ann: wrong price\n")
    [told] = own_book.claim(own_book.hold(), intended())
    assert told.reason == "campaign_paused"
    entry = listed(settings)["order_confirmation"]
    assert (entry["state"], entry["paused_by"], entry["pause_reason"]) == ("paused", "ann", "wrong price")
    assert entry["held"] == 1
    again = run("pause", "order_confirmation", "--reason", "other", "--by", "bob")
    assert again.output == done.output
    assert run("resume", "order_confirmation").output == "order_confirmation is resumed.\n"
    assert listed(settings)["order_confirmation"]["state"] == "running"
    assert run("resume", "order_confirmation").output == "order_confirmation was not paused.\n"


def test_who_does_it_is_the_login_name_unless_told(
    own_book: Book, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGNAME", "cy")
    run("pause", "abandoned_cart", "--reason", "a typo")
    assert listed(settings)["abandoned_cart"]["paused_by"] == "cy"
    run("resume", "abandoned_cart")
    assert own_book.ledger.resumes()["abandoned_cart"]["resumed_by"] == "cy"


@pytest.mark.parametrize("command", [("pause", "nobody", "--reason", "why"), ("resume", "nobody")])
def test_an_unknown_campaign_is_one_sentence_that_names_those_there_are(
    settings: Settings, command: tuple[str, ...]
) -> None:
    with pytest.raises(ConfigError) as raised:
        run(*command)
    assert str(raised.value) == f"There is no campaign 'nobody'; known are {', '.join(ALL)}."


def test_a_pause_needs_a_reason(settings: Settings) -> None:
    assert run("pause", "abandoned_cart").exit_code == 2
    with pytest.raises(ConfigError, match="Give a reason"):
        run("pause", "abandoned_cart", "--reason", "  ")


def test_a_paused_campaign_whose_folder_is_gone_is_listed_and_can_be_resumed(
    own_book: Book, settings: Settings
) -> None:
    with open_control(settings, lambda: NOW_MS) as control:
        control.pause("abandoned_cart", "ann", "a typo")
    shutil.rmtree(settings.campaigns_dir / "abandoned_cart")
    entry = listed(settings)["abandoned_cart"]
    assert (entry["class"], entry["trigger"], entry["state"]) == (None, None, "paused")
    assert run("resume", "abandoned_cart").exit_code == 0
    assert "abandoned_cart" not in listed(settings)


def test_each_send_is_counted_under_what_became_of_it(own_book: Book, settings: Settings) -> None:
    lease = own_book.hold()
    own_book.say(lease, granted())
    outcomes = [Accepted("1"), Accepted("2"), Rejected("no"), TryLater(60, "busy"), Unknown("gone")]
    for number, outcome in enumerate(outcomes):
        [told] = own_book.claim(lease, intended(f"order/{number}"))
        own_book.ledger.settle([answered(told.claim, outcome)])
    own_book.claim(lease, marketing(ids=("user:bob",), address="bob@example.com"), marketing(address=""))
    entries = listed(settings)
    order = entries["order_confirmation"]
    assert {state: order[state] for state in overview.STATES} == {
        "sent": 2, "deferred": 0, "held": 0, "retry": 1, "unknown": 1, "failed": 1,
    }  # fmt: skip
    assert entries["abandoned_cart"]["skipped"] == {"no_address": 1, "no_consent": 1}


def test_what_waits_is_counted_however_long_and_the_rest_within_the_hours(own_book: Book, settings: Settings) -> None:
    lease = own_book.hold()
    [sent, waiting] = own_book.claim(lease, intended("order/1"), intended("order/2"))
    own_book.ledger.settle([answered(sent.claim, Accepted("1")), answered(waiting.claim, TryLater(60, "busy"))])
    for hours, now_ms, counted in (
        (1, NOW_MS + HOUR_MS, 1),
        # The answer is a millisecond later than its claim.
        (1, NOW_MS + HOUR_MS + 2, 0),
        (2, NOW_MS + HOUR_MS + 2, 1),
    ):
        entry = listed(settings, hours, now_ms)["order_confirmation"]
        assert (entry["sent"], entry["retry"]) == (counted, 1)


def test_the_table_shows_words_of_people_as_they_are(
    own_book: Book, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    run("pause", "abandoned_cart", "--reason", "[red]price[/red]", "--by", "ann")
    shown = run("campaigns", "--hours", "2").output
    assert "by ann: [red]price[/red]" in shown
    assert "in the last 2 hours" in shown


def test_a_pause_and_a_resume_are_in_the_audit(settings: Settings) -> None:
    run("pause", "order_confirmation", "--reason", "wrong price", "--by", "ann")
    run("resume", "order_confirmation", "--by", "bob")
    with pytest.raises(ConfigError):
        run("resume", "nobody", "--by", "cy")
    entries = json.loads(run("audit", "--json").output)
    assert [(one["operation"], one["done_by"], one["state"]) for one in entries] == [
        ("resume", "cy", "failed"),
        ("resume", "bob", "done"),
        ("pause", "ann", "done"),
    ]
    assert entries[1]["result"] == {"was_paused": True}
    assert entries[2]["config"] == {"campaign": "order_confirmation", "reason": "wrong price"}


def test_a_pause_and_a_resume_are_told_to_scripts(settings: Settings) -> None:
    paused = json.loads(run("pause", "order_confirmation", "--reason", "wrong price", "--by", "ann", "--json").output)
    assert paused.items() <= listed(settings)["order_confirmation"].items()
    assert (paused["paused_by"], paused["pause_reason"]) == ("ann", "wrong price")
    again = run("pause", "order_confirmation", "--reason", "another", "--by", "bob", "--json")
    assert json.loads(again.output) == paused, "It stays paused with its first reason."
    for was_paused in (True, False):
        resumed = run("resume", "order_confirmation", "--json")
        assert json.loads(resumed.output) == {"campaign": "order_confirmation", "was_paused": was_paused}
