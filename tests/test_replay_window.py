"""A past window activated again: what was missed or failed is decided now, and no key is sent twice."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from threading import Barrier, Event
from typing import Any

import dagster as dg
import pytest
from support.clocks import DAY_MS, HOUR_MS, NOW_MS
from support.messages import Message, append, identify, track
from support.postgres import PostgresServer
from support.sending import LEASE_MS, RecordingEsp
from support.warehouse import Site, drained, no_warnings

from wakeline.activation.esp.protocol import Accepted, Rejected, Unknown
from wakeline.clock import to_iso
from wakeline.engines import open_postgres
from wakeline.errors import LedgerError, ReplayError
from wakeline.pipeline.microbatch import MicroBatches
from wakeline.replay.audit import open_audit
from wakeline.replay.requests import open_requests
from wakeline.replay.window import Asked, Windows

pytestmark = pytest.mark.stack

ANN = {"user": "ann", "email": "ann@example.com", "marketing": True}
ASKED = Asked(to_iso(NOW_MS - HOUR_MS), to_iso(NOW_MS + HOUR_MS), wait_seconds=0)
EXECUTE = replace(ASKED, execute=True)


def order(number: int = 1, user: str = "ann", at_ms: int = NOW_MS) -> Message:
    line = {"product_id": "p1", "name": "Tote", "price": 45.0, "quantity": 1}
    sums = {"order_id": f"o{number}", "total": 45.0, "currency": "EUR", "products": [line]}
    return track("Order Completed", f"order-{number}", at_ms=at_ms, user=user, **sums)


def added(at_ms: int = NOW_MS) -> Message:
    product = {"product_id": "p1", "name": "Tote", "price": 45.0, "quantity": 1, "cart_id": "c1", "currency": "EUR"}
    return track("Product Added", "cart-1", at_ms=at_ms, user="ann", **product)


def reactivate(site: Site, asked: Asked = ASKED, run_id: str = "by-hand") -> dict[str, Any]:
    return Windows(site.settings, site.clock, site.clock.sleep, lambda _: None).reactivate(asked, run_id)


def counted(site: Site, asked: Asked = ASKED) -> dict[str, Any]:
    """The counts of a dry run that are not nothing."""
    return {name: value for name, value in reactivate(site, asked).items() if value}


def without(site: Site, folder: Path, campaign: str) -> Site:
    """The same site, on which a campaign is not there."""
    project = folder / "project"
    shutil.copytree(site.settings.campaigns_dir, project / "campaigns", ignore=lambda _, names: {campaign} & {*names})
    settings = site.settings.model_copy(update={"project_dir": project})
    return Site(settings, site.clock, site.client, site.engine)


def missed_order(site: Site, folder: Path, *more: Message) -> RecordingEsp:
    """The ESP of a site that missed Ann's order for want of the campaign; two hours later."""
    esp = RecordingEsp()
    without(site, folder, "order_confirmation").play([identify("m1", **ANN), order(), *more], esp)
    site.clock.now_ms += 2 * HOUR_MS
    assert esp.keys == []
    return esp


def test_what_was_missed_is_sent_once_by_the_lane_and_never_again(site: Site, tmp_path: Path) -> None:
    esp = missed_order(site, tmp_path)
    assert counted(site) == {"occurrences": 1, "missed": 1, "to_decide": 1, "would_send": 1}
    site.play([], esp)
    assert (esp.keys, open_requests(site.engine).waiting()) == ([], {})  # A dry run leaves nothing behind.
    reactivate(site, EXECUTE)
    assert (esp.keys, open_requests(site.engine).waiting("by-hand")) == ([], {"0": 1})
    site.play([], esp)
    [row] = site.book.rows()
    assert (row["state"], row["run_id"], row["campaign"]) == ("sent", "by-hand", "order_confirmation")
    assert counted(site) == {"occurrences": 1, "already_sent": 1}
    reactivate(site, EXECUTE)
    site.play([], esp)
    assert esp.keys == [row["idempotency_key"]]


def test_what_is_too_old_becomes_expired_though_its_trigger_no_longer_shows_it(site: Site, tmp_path: Path) -> None:
    esp = missed_order(site, tmp_path)
    site.clock.now_ms += 5 * DAY_MS
    assert counted(site) == {"occurrences": 1, "missed": 1, "to_decide": 1, "would_expire": 1}
    reactivate(site, EXECUTE)
    site.play([], esp)
    assert site.book.states() == [("skipped", "expired")]
    assert counted(site) == {"occurrences": 1, "already_skipped": 1}


def test_an_absence_is_found_by_its_wake_up_and_not_when_the_person_has_acted_since(site: Site, tmp_path: Path) -> None:
    esp = RecordingEsp()
    absent = without(site, tmp_path, "abandoned_cart")
    absent.play([identify("m1", **ANN), added()], esp)
    site.clock.now_ms += 3 * HOUR_MS
    absent.play([], esp)
    due = replace(ASKED, from_time=to_iso(NOW_MS + HOUR_MS), to_time=to_iso(NOW_MS + HOUR_MS + 1))
    assert counted(site, due) == {"occurrences": 1, "missed": 1, "to_decide": 1, "would_send": 1}
    site.play([order(at_ms=site.clock())], esp)
    assert counted(site, replace(due, campaign="abandoned_cart")) == {}


def test_the_gates_are_asked_as_ever(site: Site, tmp_path: Path) -> None:
    esp = missed_order(site, tmp_path, order(2, user="nobody"))
    found = reactivate(site)
    assert (found["would_send"], found["would_skip"]) == (1, {"no_address": 1})
    site.book.ledger.pause("order_confirmation", "ann", "a typo", NOW_MS)
    assert reactivate(site)["would_wait"] == {"campaign_paused": 1}
    reactivate(site, EXECUTE)
    site.play([], esp)
    assert site.book.states() == [("held", "campaign_paused"), ("skipped", "no_address")]


def test_a_failed_send_is_tried_again_once_somebody_has_acted(site: Site) -> None:
    refusing = RecordingEsp(answer=lambda _: Rejected("the sender is not verified"))
    site.play([identify("m1", **ANN), order()], refusing)
    site.clock.now_ms += 2 * HOUR_MS
    assert counted(site) == {"occurrences": 1, "failed": 1, "to_decide": 1, "would_send": 1}
    reactivate(site, replace(EXECUTE, only_failed=True))
    esp = RecordingEsp()
    site.play([], esp)
    [row] = site.book.rows()
    assert (row["state"], row["attempts"], esp.keys) == ("sent", 2, [row["idempotency_key"]])


def test_only_failed_leaves_out_what_was_missed(site: Site, tmp_path: Path) -> None:
    missed_order(site, tmp_path)
    assert counted(site, replace(ASKED, only_failed=True)) == {"occurrences": 1, "missed": 1}


def test_what_may_be_out_is_never_tried_again(site: Site) -> None:
    esp = RecordingEsp(answer=lambda _: Unknown("the answer was lost"))
    site.play([identify("m1", **ANN), order()], esp)
    site.clock.now_ms += 2 * HOUR_MS
    assert counted(site) == {"occurrences": 1, "unknown": 1}
    reactivate(site, EXECUTE)
    site.play([], esp)
    assert len(esp.keys) == 1


def test_what_was_sent_to_a_device_is_not_sent_again_after_its_login(site: Site) -> None:
    esp = RecordingEsp()
    anonymous = {**order(), "anonymousId": "phone", "userId": None, "context": {"traits": {"email": "ann@example.com"}}}
    site.play([anonymous], esp)
    site.play([identify("m2", device="phone", **ANN)], esp)
    site.clock.now_ms += 2 * HOUR_MS
    assert counted(site) == {"occurrences": 1, "already_sent": 1}


def test_what_failed_for_a_person_is_not_tried_again_when_it_was_sent_to_their_device_before_the_login(
    site: Site,
) -> None:
    """The shop's server and its page both told of the order, before anybody knew that they meant the same person."""
    esp = RecordingEsp(answer=lambda mail: Rejected("no") if mail.to == ANN["email"] else Accepted("1"))
    device = {**order(), "anonymousId": "phone", "userId": None, "context": {"traits": {"email": "a@example.com"}}}
    site.play([identify("m1", **ANN), {**order(), "messageId": "of-the-server"}, device], esp)
    site.play([identify("m2", device="phone", **ANN)], esp)
    site.clock.now_ms += 2 * HOUR_MS
    assert sorted(site.book.states()) == [("failed", "no"), ("sent", "")]
    assert counted(site) == {"occurrences": 1, "already_sent": 1}


def test_above_the_limit_the_number_must_be_typed_in(site: Site, tmp_path: Path) -> None:
    missed_order(site, tmp_path)
    strict = site.with_settings(replay={"max_unconfirmed": 0})
    with pytest.raises(
        ReplayError, match=r"1 sends to decide are more than replay\.max_unconfirmed \(0\): give confirm"
    ):
        reactivate(strict, EXECUTE)
    with pytest.raises(ReplayError, match="confirm_count is 2, but it is 1 sends"):
        reactivate(strict, replace(EXECUTE, confirm_count=2))
    assert open_requests(site.engine).waiting() == {}
    reactivate(strict, replace(EXECUTE, confirm_count=1))
    assert open_requests(site.engine).waiting() == {"0": 1}


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"campaign": "nobody"}, r"There is no campaign 'nobody'; known are abandoned_cart, "),
        ({"from_time": "noon"}, "from_time is no time: 'noon'; write it like"),
        ({"from_time": ASKED.to_time, "to_time": ASKED.from_time}, "is not before to_time"),
        ({"to_time": "2100-01-01"}, r"to_time \(2100-01-01\) has yet to come"),
    ],
)
def test_bad_input_is_one_sentence_and_changes_nothing(site: Site, wrong: dict[str, str], sentence: str) -> None:
    site.clock.now_ms += 2 * HOUR_MS
    with pytest.raises(ReplayError, match=sentence):
        reactivate(site, replace(EXECUTE, **wrong))  # type: ignore[arg-type]
    assert open_requests(site.engine).waiting() == {}


def test_a_lane_that_does_not_know_the_campaign_leaves_it_to_the_next_run(site: Site, tmp_path: Path) -> None:
    esp = missed_order(site, tmp_path)
    reactivate(site, EXECUTE)
    shutil.rmtree(tmp_path / "project")
    without(site, tmp_path, "order_confirmation").play([], esp)
    assert (esp.keys, open_requests(site.engine).waiting()) == ([], {"0": 1})
    site.play([], esp)
    assert len(esp.keys) == 1


def test_a_part_that_was_cut_off_is_done_again_and_no_key_is_sent_twice(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    esp = missed_order(site, tmp_path)
    reactivate(site, EXECUTE)
    with monkeypatch.context() as patch:
        patch.setattr("wakeline.replay.requests.SqlReplayRequests.remove", cut_off)
        with pytest.raises(LedgerError):
            site.play([], esp)
    site.clock.now_ms += LEASE_MS
    assert open_requests(site.engine).waiting() == {"0": 1}
    site.play([], esp)
    assert (len(esp.keys), open_requests(site.engine).waiting()) == (1, {})


def cut_off(*_: Any) -> None:
    raise LedgerError("gone")


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_no_key_is_sent_twice_beside_lanes_at_work(
    site: Site, tmp_path: Path, request: pytest.FixtureRequest, database: str
) -> None:
    """Two lanes process the same people's new events while the window is activated, twice, by two runs at once."""
    people = [identify(f"login-{number}", user=f"u{number}", email=f"u{number}@example.com") for number in range(40)]
    orders = [order(number, user=f"u{number}") for number in range(40)]
    one_lane = on(site, database, request)
    without(one_lane, tmp_path, "order_confirmation").play([*people, *orders], RecordingEsp())
    busy = one_lane.with_settings(lane={"count": 2, "wakeup_seconds": 0.01})
    busy.clock.now_ms += 2 * HOUR_MS
    esp, stop, broken, ready = RecordingEsp(), Event(), Event(), Barrier(4)

    def lane(batches: MicroBatches, name: str) -> None:
        lease = batches.lanes.acquire(name, f"lane-{name}", busy.clock(), DAY_MS)
        assert lease is not None
        batches.recover(lease)
        ready.wait()
        try:
            while not broken.is_set() and (not stop.is_set() or batches.requests.waiting()):
                busy.clock.now_ms += 20
                drained(batches, lease)
        except BaseException:
            broken.set()
            raise

    def by_hand(run_id: str) -> dict[str, Any]:
        ready.wait()
        return Windows(busy.settings, busy.clock, lambda _: None, lambda _: None).reactivate(EXECUTE, run_id)

    with ExitStack() as stack, ThreadPoolExecutor(4) as pool:
        lanes = [stack.enter_context(busy.micro_batches(esp)) for _ in range(2)]
        at_work = [pool.submit(lane, batches, str(number)) for number, batches in enumerate(lanes)]
        plans = [pool.submit(by_hand, run_id) for run_id in ("first", "second")]
        # New events of the same people: the lanes come upon the orders by themselves as well.
        append(
            lanes[0].stream,
            [track("Product Viewed", f"v{n}", user=f"u{n}", product_id="p1") for n in range(40)],
            NOW_MS,
        )
        try:
            counts = [plan.result(60)["occurrences"] for plan in plans]
        finally:
            stop.set()
        for one in at_work:
            one.result()
    assert counts == [40, 40]
    assert sorted(esp.keys) == sorted({row["idempotency_key"] for row in busy.book.rows()})
    assert busy.book.states() == [("sent", "")] * 40


def on(site: Site, database: str, request: pytest.FixtureRequest) -> Site:
    if database == "sqlite":
        return site
    server: PostgresServer = request.getfixturevalue("postgres")
    url = server.create_database()
    engine = open_postgres(url)
    request.addfinalizer(engine.dispose)
    ledger = site.settings.ledger.model_copy(update={"kind": "postgres", "url": url})
    return Site(site.settings.model_copy(update={"ledger": ledger}), site.clock, site.client, engine)


def test_the_job_shows_the_counts_and_is_in_the_audit(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with no_warnings():
        from orchestration import replay_jobs

    missed_order(site, tmp_path)
    monkeypatch.setattr(replay_jobs, "settings", lambda: site.settings)
    monkeypatch.setattr(replay_jobs, "system_clock", site.clock)
    config = {"from_time": ASKED.from_time, "to_time": ASKED.to_time, "by": "ann"}
    with dg.DagsterInstance.ephemeral() as instance:
        done = replay_jobs.reactivate_window.execute_in_process(
            instance=instance, run_config={"ops": {"reactivate": {"config": config}}}
        )
    [output] = [event for event in done.all_node_events if event.is_successful_output]
    shown = {name: value.value for name, value in output.step_output_data.metadata.items()}
    assert (shown["to_decide"], shown["would_send"], shown["would_skip"]) == (1, 1, {})
    [entry] = open_audit(site.engine).latest(9)
    assert (entry.operation, entry.done_by, entry.config["execute"]) == ("reactivate_window", "ann", False)
    assert entry.result == json.loads(json.dumps(shown))
