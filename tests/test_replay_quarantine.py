"""Quarantine replayed: repaired rows count once, stay in quarantine and are marked."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import dagster as dg
import orjson
import pytest
import sqlalchemy as sa
from support.clocks import DAY_MS, HOUR_MS, MINUTE_MS, NOW_MS
from support.messages import identify, preferences, track
from support.sending import RecordingEsp
from support.warehouse import Site, no_warnings

from wakeline.clock import to_iso
from wakeline.database import consents
from wakeline.errors import ReplayError
from wakeline.events import Envelope, encode
from wakeline.replay.audit import open_audit
from wakeline.replay.quarantine import Asked, Replayer, open_replayer
from wakeline.replay.repair import Repair

pytestmark = pytest.mark.stack

VIEW = track("Product Viewed", "m1", user="ann", product_id="p1", category="bags")
NO_TYPE = {name: value for name, value in VIEW.items() if name != "type"}
NO_ID = {name: value for name, value in VIEW.items() if name != "messageId"}
WRONG_TIME = {**VIEW, "messageId": "m3", "timestamp": "yesterday"}
EXECUTE = Asked(execute=True)


@pytest.fixture(autouse=True)
def nothing_replayed(site: Site) -> None:
    site.client.command("TRUNCATE TABLE quarantine_replays")


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def replayer(site: Site, said: list[str]) -> Iterator[Replayer]:
    with ExitStack() as stack:
        yield stack.enter_context(open_replayer(site.settings, site.clock, said.append))


def repairing(reason: str, execute: bool = True, **repair: Any) -> Asked:
    return Asked(reason, Repair(**repair), execute)


def test_a_dry_run_says_how_many_would_be_accepted_and_why_the_others_would_not(
    site: Site, replayer: Replayer, said: list[str]
) -> None:
    site.play([NO_TYPE, WRONG_TIME], RecordingEsp())
    found = replayer.replay(repairing("", execute=False, merge_patch={"type": "track"}), "run-1")
    assert found["would_be_accepted"] == 1
    [(reason, rows)] = found["would_stay"].items()
    assert (found["found"], rows, reason.startswith("timestamp")) == (2, 1, True)
    assert said[0].startswith("In quarantine: 1 'timestamp")
    assert "1 would be accepted" in said[1]
    site.play([], RecordingEsp())
    assert site.statuses() == {"quarantined": 2}


def test_what_is_repaired_counts_once_with_its_id_and_time_and_the_row_stays_marked(
    site: Site, replayer: Replayer
) -> None:
    site.play([NO_TYPE], RecordingEsp())
    site.clock.now_ms += HOUR_MS
    asked = repairing("type is missing", merge_patch={"type": "track"})
    assert replayer.replay(asked, "run-7")["appended"] == 1
    site.play([], RecordingEsp())
    assert site.statuses() == {"quarantined": 1, "accepted": 1}
    accepted = "SELECT message_id, toUnixTimestamp64Milli(received_at) FROM landing WHERE status = 'accepted'"
    assert site.rows(accepted) == [("m1", NOW_MS)]
    marked = "SELECT run_id, offset FROM quarantine_replays"
    assert [run_id for run_id, _ in site.rows(marked)] == ["run-7"]
    assert site.rows("SELECT count() FROM quarantine WHERE replayed_at IS NOT NULL") == [(1,)]
    with pytest.raises(ReplayError, match="for the reason 'type is missing'; reasons are none"):
        replayer.replay(asked, "run-8")


def test_cut_off_before_the_mark_it_is_appended_again_and_that_is_a_duplicate(site: Site, replayer: Replayer) -> None:
    site.play([NO_ID], RecordingEsp())
    asked = repairing("messageId is missing", give_message_ids=True)
    replayer.replay(asked, "run-1")
    site.client.command("TRUNCATE TABLE quarantine_replays")
    replayer.replay(asked, "run-2")
    site.play([], RecordingEsp())
    assert site.statuses() == {"quarantined": 1, "accepted": 1, "duplicate": 1}


def test_bytes_that_are_no_text_stay_what_they_are(site: Site, replayer: Replayer) -> None:
    with site.micro_batches(RecordingEsp()) as batches:
        batches.stream.append([("ann", encode(Envelope(NOW_MS, "default", None, b"\xff\x00")))])
    site.play([], RecordingEsp())
    [page] = replayer.quarantine.pages("")
    assert [row.message for row in page] == [b"\xff\x00"]
    assert replayer.replay(EXECUTE, "run-1")["would_stay"] == {"the message is not JSON": 1}


def test_by_the_rules_of_now_what_was_too_large_is_accepted(site: Site, replayer: Replayer) -> None:
    large = {**VIEW, "context": {"filler": "x" * 2_000}}
    strict = site.with_settings(collector={"max_event_bytes": 1_000})
    strict.play([large], RecordingEsp())
    assert site.statuses() == {"quarantined": 1}
    replayer.replay(EXECUTE, "run-1")
    site.play([], RecordingEsp())
    assert site.statuses() == {"quarantined": 1, "accepted": 1}


def test_the_time_of_receipt_stands_for_one_that_is_none(site: Site, replayer: Replayer) -> None:
    site.play([WRONG_TIME], RecordingEsp())
    replayer.replay(repairing("", times_of_receipt=True), "run-1")
    site.clock.now_ms += HOUR_MS
    site.play([], RecordingEsp())
    occurred = "SELECT toUnixTimestamp64Milli(occurred_at) FROM landing WHERE status = 'accepted'"
    assert site.rows(occurred) == [(NOW_MS,)]


def test_an_old_yes_of_a_clock_that_is_ahead_does_not_undo_a_later_no(site: Site, replayer: Replayer) -> None:
    """Said two hours ago, and sent an hour ago, by a phone whose clock is a day ahead."""
    said_ms, sent_ms = NOW_MS + DAY_MS - 2 * HOUR_MS, NOW_MS + DAY_MS - HOUR_MS
    yes = {**preferences("yes", user="ann", at_ms=said_ms, marketing=True), "type": "word"}
    no = preferences("no", user="ann", at_ms=NOW_MS - 2 * HOUR_MS + MINUTE_MS, marketing=False)
    envelope = Envelope(NOW_MS - HOUR_MS, "default", to_iso(sent_ms), orjson.dumps(yes))
    with site.micro_batches(RecordingEsp()) as batches:
        batches.stream.append([("ann", encode(envelope))])
    site.play([no], RecordingEsp())
    assert replayer.replay(repairing("", merge_patch={"type": "track"}), "run-1")["appended"] == 1
    site.play([], RecordingEsp())
    assert site.statuses() == {"quarantined": 1, "accepted": 2}
    said_at = "SELECT toUnixTimestamp64Milli(occurred_at) FROM landing WHERE message_id = 'yes'"
    assert site.rows(said_at) == [(NOW_MS - 2 * HOUR_MS,)]
    with site.engine.connect() as connection:
        assert connection.execute(sa.select(consents.c.granted)).scalars().all() == [False]


def test_what_was_accepted_since_and_what_stands_there_twice_is_not_appended(site: Site, replayer: Replayer) -> None:
    again = {**NO_TYPE, "messageId": "m2"}
    site.play([NO_TYPE, again, again, VIEW], RecordingEsp())
    found = replayer.replay(repairing("type is missing", merge_patch={"type": "track"}), "run-1")
    assert (found["found"], found["appended"]) == (3, 1)
    assert found["would_stay"] == {"the message id was accepted before": 2}


def test_above_the_limit_the_number_must_be_typed_in(site: Site) -> None:
    site.play([NO_TYPE], RecordingEsp())
    strict = site.with_settings(replay={"max_unconfirmed": 0})
    repair = Repair({"type": "track"})
    with open_replayer(strict.settings, site.clock, lambda _: None) as replayer:
        with pytest.raises(ReplayError, match="give confirm_count: 1"):
            replayer.replay(Asked("", repair, execute=True), "run-1")
        assert site.rows("SELECT count() FROM quarantine_replays") == [(0,)]
        assert replayer.replay(Asked("", repair, execute=True, confirm_count=1), "run-2")["appended"] == 1


def test_the_job_keeps_the_values_of_a_patch_out_of_the_audit(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    with no_warnings():
        from orchestration import replay_jobs

    site.play([identify("m0", user="ann"), NO_TYPE], RecordingEsp())
    monkeypatch.setattr(replay_jobs, "settings", lambda: site.settings)
    config = {"merge_patch": {"type": "track", "userId": "ann"}, "execute": True, "by": "ann"}
    with dg.DagsterInstance.ephemeral() as instance:
        replay_jobs.replay_quarantine.execute_in_process(
            instance=instance, run_config={"ops": {"replay": {"config": config}}}
        )
    [entry] = open_audit(site.engine).latest(9)
    assert entry.config["merge_patch"] == ["type", "userId"]
    assert entry.result["appended"] == 1
