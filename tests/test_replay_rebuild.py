import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner
from support.clocks import HOUR_MS, MINUTE_MS, NOW_MS, Hand
from support.messages import Message, append, identify, track
from support.rebuilding import Going, Rebuilding, clean_build, contents, resident, uuids
from support.sending import LEASE_MS, RecordingEsp
from support.shop import expected_sends, shopping
from support.stack import PROJECT_DIR, await_that
from support.warehouse import Site, WarehouseProcess, drained, empty, no_warnings

from wakeline.errors import ConfigError, RebuildError, WarehouseError
from wakeline.replay import outlook, rebuild
from wakeline.replay.audit import open_audit
from wakeline.replay.rebuild import Rebuild
from wakeline.replay.rebuild_cli import rebuild as rebuild_command
from wakeline.warehouse.fence import awaited_models, close_fence, require_open
from wakeline.warehouse.shadow import Shadow

pytestmark = pytest.mark.stack

MINUTES = 30
END_MS = NOW_MS + MINUTES * MINUTE_MS
#: By then every cart of the shop has been left for an hour.
CARTS_DUE_MS = END_MS + HOUR_MS
_WAIT_SECONDS = 60
_context = multiprocessing.get_context("fork")

BuildClean = Callable[[], dict[str, list[Any]]]

ANN = {"user": "ann", "email": "ann@example.com", "marketing": True}
FIRST = [
    identify("m1", at_ms=NOW_MS, **ANN),
    track("Product Viewed", "m2", user="ann", product_id="p1", category="bags"),
    track("Page Engaged", "m3", user="ann", product_id="p1", category="bags", engaged_seconds=15),
    track("Product Added", "m4", device="phone", product_id="p1", quantity=2, cart_id="c1"),
    track("Product Viewed", "m4", user="ann", product_id="p1"),
]
SECOND = [track("Product Viewed", f"n{number}", user="bob", product_id="p2", category="hats") for number in range(4)]


@pytest.fixture
def clock() -> Hand:
    return Going(END_MS)


@pytest.fixture(scope="module")
def clean(warehouse: WarehouseProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BuildClean]:
    """What a fresh deployment has that ingested what landing holds."""
    with clean_build(warehouse.settings, tmp_path_factory.mktemp("clean")) as build:
        yield build


@pytest.fixture
def rebuilding(site: Site) -> Rebuilding:
    return Rebuilding(site)


def assert_clean(site: Site, clean: BuildClean) -> None:
    assert contents(site.client) == clean()


def test_profiles_that_were_spoilt_are_as_a_clean_build_has_them_while_events_and_mails_go_on(
    site: Site, rebuilding: Rebuilding, clean: BuildClean
) -> None:
    messages = shopping(seed=2, people=40, minutes=MINUTES, start_ms=NOW_MS)
    coming = iter(messages[len(messages) // 2 :])
    esp, orders = RecordingEsp(), list[str]()

    def feed(line: str) -> None:
        """Between any two steps of the rebuild events come in, and a mail goes out."""
        orders.append(f"o{len(orders)}")
        append(stream, [*islice(coming, 200), *ordered(orders[-1])], site.clock())
        await_that(
            f"the mail about {orders[-1]} goes out after '{line}' ({said})",
            lambda: any(mail.to.startswith(f"{orders[-1]}@") for mail in esp.requests),
            _WAIT_SECONDS,
        )

    with site.micro_batches() as own, resident(site, esp) as said:
        stream = own.stream
        append(stream, messages[: len(messages) // 2], site.clock())
        await_that("events are processed", lambda: site.counts()["events"] > 0, _WAIT_SECONDS)
        spoil(site, "events", "category_states")
        rebuilding.on_line = feed
        rebuilding.with_dbt = True
        result = rebuilding.run()
        append(stream, coming, site.clock())
        received = len(messages) + 2 * len(orders)
        await_that(lambda: f"all is processed ({said})", lambda: site.counts()["landing"] == received, _WAIT_SECONDS)
    site.clock.now_ms += HOUR_MS + MINUTE_MS
    site.play([], esp)  # Carts are due whose wake-ups are in the rebuilt table.
    expected = expected_sends(messages) | {
        ("order_confirmation", f"user:{order}", f"order/{order}"): "sent" for order in orders
    }
    assert site.sends() == expected
    assert len(orders) >= 4
    assert len(set(esp.keys)) == len(esp.keys) == sum(state == "sent" for state in expected.values())
    assert said == ["stopped"]
    assert_clean(site, clean)
    assert result.executed
    assert result.rows_after.keys() == set(result.models)
    assert rebuilding.leftovers() == []


def ordered(order: str) -> list[Message]:
    """Somebody who is called like the order, and the order."""
    line = {"product_id": "p1", "name": "Tote", "price": 45.0, "quantity": 1}
    sums = {"order_id": order, "total": 45.0, "currency": "EUR", "products": [line]}
    return [
        identify(f"i-{order}", user=order, at_ms=END_MS, email=f"{order}@example.com"),
        track("Order Completed", f"c-{order}", user=order, at_ms=END_MS, **sums),
    ]


def spoil(site: Site, *tables: str) -> None:
    """What a wrong definition or a mishap would have left of some tables."""
    commands = {
        "person_states": "TRUNCATE TABLE person_states",
        "category_states": "INSERT INTO category_states (id, category, engaged_ms) VALUES ('user:nobody', 'hats', 7)",
        "events": "ALTER TABLE events DELETE WHERE event = 'Product Viewed' SETTINGS mutations_sync = 2",
    }
    for table in tables:
        site.client.command(commands[table])


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def dies(part: type, method: str, *, after: bool) -> Callable[[pytest.MonkeyPatch], None]:
    """Kills the process before or after the first call of a method."""

    def arrange(patch: pytest.MonkeyPatch) -> None:
        original = getattr(part, method)

        def struck(*arguments: Any, **named: Any) -> Any:
            if after:
                original(*arguments, **named)
            die()

        patch.setattr(part, method, struck)

    return arrange


STEPS = {
    "in the middle of the shadow tables": dies(Rebuild, "_create", after=True),
    "after the first rows": dies(Shadow, "fill", after=True),
    "while the lanes stand still": dies(Shadow, "redefined", after=False),
    "before the exchange": dies(Shadow, "exchange", after=False),
    "after the exchange": dies(Shadow, "exchange", after=True),
    "before the old tables are dropped": dies(Shadow, "drop", after=False),
}


@pytest.mark.parametrize("step", STEPS)
def test_a_rebuild_that_is_killed_loses_nothing_and_the_next_one_begins_anew(
    site: Site, rebuilding: Rebuilding, clean: BuildClean, step: str
) -> None:
    site.play(FIRST, RecordingEsp())
    process = _context.Process(target=run_until_killed, args=(rebuilding, STEPS[step]))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert_clean(site, clean)
    site.clock.now_ms += LEASE_MS
    site.play(SECOND, RecordingEsp())
    assert_clean(site, clean)
    spoil(site, "person_states", "events", "category_states")
    rebuilding.run()
    assert_clean(site, clean)
    assert rebuilding.leftovers() == []


def run_until_killed(rebuilding: Rebuilding, arrange: Callable[[pytest.MonkeyPatch], None]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        arrange(patch)
        rebuilding.run()


class CrashError(BaseException):
    """The process is gone; nothing of it runs any more, so no handler may catch this."""


@pytest.mark.parametrize("method", ["begin", "insert"])
def test_a_batch_that_was_cut_off_before_the_exchange_and_is_done_again_after_it_counts_once(
    site: Site, rebuilding: Rebuilding, clean: BuildClean, method: str
) -> None:
    site.play(FIRST, RecordingEsp())
    with site.micro_batches(RecordingEsp()) as batches:
        append(batches.stream, SECOND, site.clock())
        cut_off_after(batches.lanes if method == "begin" else batches.landing, method)
        with pytest.raises(CrashError):
            site.work(batches)
    site.clock.now_ms += LEASE_MS
    rebuilding.run()
    assert site.counts()["events"] == 4  # Whoever does the batch again brings its rows into every table.
    site.play([], RecordingEsp())
    assert site.counts()["events"] == 8
    assert_clean(site, clean)


def cut_off_after(part: Any, method: str) -> None:
    original = getattr(part, method)

    def crash(*arguments: Any) -> None:
        original(*arguments)
        raise CrashError

    setattr(part, method, crash)


def test_a_run_that_slept_through_the_exchange_inserts_nothing_any_more(
    site: Site, rebuilding: Rebuilding, clean: BuildClean
) -> None:
    site.play(FIRST, RecordingEsp())
    with site.micro_batches(RecordingEsp()) as sleeper:
        append(sleeper.stream, SECOND, site.clock())
        lease = site.hold(sleeper)
        sleeper.recover(lease)
        insert = sleeper.landing.insert

        def sleep_and_insert(*arguments: Any) -> None:
            site.clock.now_ms += LEASE_MS
            site.play([], RecordingEsp())
            rebuilding.run()
            insert(*arguments)

        sleeper.landing.insert = sleep_and_insert  # type: ignore[method-assign]
        with pytest.raises(WarehouseError, match="inserts_of_this_epoch"):
            sleeper.step(lease)
    assert site.counts()["events"] == 8
    assert_clean(site, clean)


@pytest.fixture
def own_project(site: Site, tmp_path: Path) -> Iterator[Site]:
    """The site with a dbt project of its own; afterwards the tables are again as the real one has them."""
    shutil.copytree(PROJECT_DIR / "dbt_project", tmp_path / "project" / "dbt_project")
    (tmp_path / "project" / "campaigns").symlink_to(PROJECT_DIR / "campaigns")
    yield Site(
        site.settings.model_copy(update={"project_dir": tmp_path / "project"}), site.clock, site.client, site.engine
    )
    empty(site.client)
    Rebuilding(site, with_dbt=True).run()


def test_the_tables_and_their_views_get_the_definition_of_now_other_columns_and_keys_as_well(
    own_project: Site, clean: BuildClean
) -> None:
    site = own_project
    site.play(FIRST, RecordingEsp())
    model = site.settings.dbt_dir / "models/profiles/states/person_states.sql"
    text = model.read_text(encoding="utf-8").replace("order_by='id'", "order_by='(id, length(id))'")
    added = "    countStateIf(event = 'Product Viewed') as viewed,\n    minSimpleState(occurred_at) as first_seen_at,"
    model.write_text(text.replace("    minSimpleState(occurred_at) as first_seen_at,", added), encoding="utf-8")
    result = Rebuilding(site, with_dbt=True).run("person_states")
    assert (result.redefined, result.changed_columns) == (("person_states_mv",), ("person_states",))
    assert viewed(site) == {"user:ann": 1, "anonymous:phone": 0}
    key = "SELECT sorting_key FROM system.tables WHERE database = currentDatabase() AND name = 'person_states'"
    assert site.rows(key) == [("id, length(id)",)]
    site.play(SECOND, RecordingEsp())
    assert viewed(site)["user:bob"] == 4
    assert_clean(site, clean)


def crash(*_: Any) -> None:
    raise CrashError


def add_a_column(site: Site) -> None:
    """The project's person_states has a column more than the deployed one."""
    model = site.settings.dbt_dir / "models/profiles/states/person_states.sql"
    added = "    countStateIf(event = 'Product Viewed') as viewed,\n    minSimpleState(occurred_at) as first_seen_at,"
    text = model.read_text(encoding="utf-8").replace("    minSimpleState(occurred_at) as first_seen_at,", added)
    model.write_text(text, encoding="utf-8")


def die_between_tables_and_views(site: Site, *models: str, **order: Any) -> None:
    """The next run of the lane may begin at once; the rebuild's leases have expired."""
    add_a_column(site)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Shadow, "redefine", crash)
        patch.setattr(Rebuild, "_drop", lambda *_: None)  # Who is dead does not tidy up.
        with pytest.raises(CrashError):
            Rebuilding(site, with_dbt=True).run(*models, **order)
    site.clock.now_ms += LEASE_MS


def test_a_rebuild_that_dies_between_tables_and_views_lets_nothing_in_until_it_is_done_again(
    own_project: Site, clean: BuildClean
) -> None:
    site = own_project
    site.play(FIRST, RecordingEsp())
    die_between_tables_and_views(site, "person_states")
    with pytest.raises(WarehouseError, match=r"run 'wakeline rebuild --execute person_states'\.$"):
        site.play(SECOND, RecordingEsp())
    site.clock.now_ms += LEASE_MS
    assert site.counts()["landing"] == len(FIRST)
    rebuilding = Rebuilding(site, with_dbt=True)
    rebuilding.run("wakeups")
    assert any(line.endswith("until person_states are rebuilt as well") for line in rebuilding.said)
    assert awaited_models(site.client) == {"person_states"}
    result = rebuilding.run("person_states")
    assert (result.redefined, result.changed_columns) == (("person_states_mv",), ())
    site.play([], RecordingEsp())
    assert viewed(site) == {"user:ann": 1, "anonymous:phone": 0, "user:bob": 4}
    assert_clean(site, clean)


def test_models_of_a_rebuild_that_died_may_be_rebuilt_one_after_the_other_or_all_at_once(own_project: Site) -> None:
    site = own_project
    site.play(FIRST, RecordingEsp())
    die_between_tables_and_views(site, "person_states", "wakeups")
    Rebuilding(site, with_dbt=True).run("person_states")
    assert awaited_models(site.client) == {"wakeups"}
    close_fence(site.client, ["wakeups", "a_model_that_was_deleted_since"])
    Rebuilding(site, with_dbt=True).run()
    assert awaited_models(site.client) == frozenset()


def test_a_rebuild_that_is_refused_leaves_landing_as_closed_as_it_was(
    own_project: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = own_project
    site.play(FIRST, RecordingEsp())
    add_a_column(site)
    close_fence(site.client, ["wakeups"])
    redefine = Shadow.redefine

    def refused_once(shadow: Shadow, queries: dict[str, str]) -> None:
        assert awaited_models(site.client) == {"person_states", "wakeups"}
        monkeypatch.setattr(Shadow, "redefine", redefine)
        redefine(shadow, {view: f"{query} NO SQL" for view, query in queries.items()})

    monkeypatch.setattr(Shadow, "redefine", refused_once)
    with pytest.raises(WarehouseError, match="did not change the views"):
        Rebuilding(site, with_dbt=True).run("person_states")
    assert awaited_models(site.client) == {"wakeups"}


def test_a_lane_waits_for_the_rebuild_that_opens_landing_and_gives_way_to_it(
    own_project: Site, clean: BuildClean
) -> None:
    site, esp = own_project, RecordingEsp()
    site.play(FIRST, esp)
    die_between_tables_and_views(site, "person_states")
    with site.micro_batches() as own, resident(site, esp) as said:
        append(own.stream, SECOND, site.clock())
        await_that("the lane says why it waits", lambda: any("cut off when tables" in one for one in said), 20)
        Rebuilding(site, with_dbt=True).run("person_states")
        await_that(
            lambda: f"all is processed ({said})",
            lambda: site.counts()["landing"] == len(FIRST) + len(SECOND),
            _WAIT_SECONDS,
        )
    assert said[-1] == "stopped"
    assert_clean(site, clean)


def test_what_a_dead_rebuild_left_on_the_disk_is_room_for_the_next(
    own_project: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = own_project
    site.play(FIRST, RecordingEsp())
    die_between_tables_and_views(site, "person_states")
    rebuilding = Rebuilding(site, with_dbt=True)
    needed = rebuilding.run("person_states", execute=False).needed_bytes
    monkeypatch.setattr(outlook, "free_bytes", lambda _: needed - 1)
    assert len(rebuilding.leftovers()) == 1
    assert rebuilding.run("person_states").executed


def test_what_landing_lacks_keeps_it_neither_closed_nor_from_being_restored(own_project: Site) -> None:
    site = own_project
    site.play(FIRST, RecordingEsp())
    site.client.command("ALTER TABLE landing DELETE WHERE message_id IN ('m1', 'm2') SETTINGS mutations_sync = 2")
    die_between_tables_and_views(site, "person_states", accept_missing=2)
    rebuilding = Rebuilding(site, with_dbt=True)
    with pytest.raises(RebuildError, match=r"type this number as accept_missing\. .* afterwards \(job restore_hours\)"):
        rebuilding.run("person_states")
    rebuilding.run("person_states", accept_missing=2)
    require_open(site.client)


def test_a_rebuild_whose_new_view_is_refused_leaves_everything_as_it_was(
    own_project: Site, clean: BuildClean, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = own_project
    site.play(FIRST, RecordingEsp())
    add_a_column(site)
    before, redefine = uuids(site), Shadow.redefine

    def refused_once(shadow: Shadow, queries: dict[str, str]) -> None:
        monkeypatch.setattr(Shadow, "redefine", redefine)
        redefine(shadow, {view: f"{query} NO SQL" for view, query in queries.items()})

    monkeypatch.setattr(Shadow, "redefine", refused_once)
    with pytest.raises(WarehouseError, match="did not change the views"):
        Rebuilding(site, with_dbt=True).run("person_states")
    assert uuids(site) == before
    site.play(SECOND, RecordingEsp())
    assert_clean(site, clean)


def viewed(site: Site) -> dict[str, int]:
    return dict(site.rows("SELECT id, countMerge(viewed) FROM person_states GROUP BY id"))  # type: ignore[arg-type]


def test_only_the_models_that_were_named_are_exchanged(site: Site, rebuilding: Rebuilding, clean: BuildClean) -> None:
    site.play(FIRST, RecordingEsp())
    before = uuids(site)
    rebuilding.run("person_states", "wakeups")
    after = uuids(site)
    assert {name for name in before if before[name] != after[name]} == {"person_states", "wakeups"}
    assert_clean(site, clean)


def test_a_dry_run_says_what_would_be_done_and_changes_nothing(site: Site, rebuilding: Rebuilding) -> None:
    site.play(FIRST, RecordingEsp())
    before = uuids(site)
    result = rebuilding.run(execute=False)
    assert uuids(site) == before
    assert not result.executed
    assert (result.landing_rows, result.missing_rows) == (5, 0)
    assert result.rows_before["events"] == 4
    assert 0 < result.needed_bytes < (result.free_bytes or 0)


def test_a_model_that_is_none_is_refused_with_those_that_are(rebuilding: Rebuilding) -> None:
    with pytest.raises(ConfigError, match=r"no model 'persons' to rebuild; known are category_states, .* wakeups\."):
        rebuilding.run("persons")
    with pytest.raises(ConfigError, match="no model 'landing_message_ids'"):
        rebuilding.run("landing_message_ids")


def test_events_that_landing_no_longer_has_are_not_lost_unless_somebody_says_how_many(
    site: Site, rebuilding: Rebuilding
) -> None:
    site.play(FIRST, RecordingEsp())
    site.client.command("ALTER TABLE landing DELETE WHERE message_id IN ('m1', 'm2') SETTINGS mutations_sync = 2")
    assert rebuilding.run(execute=False).missing_rows == 2
    for accepted in (0, 1, 3):
        with pytest.raises(RebuildError, match=r"Landing lacks 2 accepted events .*\(job restore_hours\)"):
            rebuilding.run(accept_missing=accepted)
    assert site.counts()["events"] == 4
    assert rebuilding.run(accept_missing=2).rows_after["events"] == 2


def test_a_number_of_missing_events_is_refused_when_none_is_missing(site: Site, rebuilding: Rebuilding) -> None:
    site.play(FIRST, RecordingEsp())
    with pytest.raises(RebuildError, match="lacks nothing"):
        rebuilding.run(accept_missing=2)


def test_without_room_for_a_second_set_of_tables_nothing_is_begun(
    site: Site, rebuilding: Rebuilding, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.play(FIRST, RecordingEsp())
    monkeypatch.setattr(outlook, "free_bytes", lambda _: 1)
    with pytest.raises(RebuildError, match=r"needs about .* GB, and ClickHouse's disk has 0.0 GB free"):
        rebuilding.run()
    assert rebuilding.leftovers() == []


def test_two_rebuilds_do_not_run_at_once(site: Site, rebuilding: Rebuilding) -> None:
    lease = site.book.lanes.acquire_rebuild("run-7", site.clock(), LEASE_MS)
    assert lease is not None
    with pytest.raises(RebuildError, match=r"rebuilt already, by run-7; wait until it ends"):
        rebuilding.run()
    site.book.lanes.release(lease)
    rebuilding.run()


def test_a_lane_that_does_not_stand_still_is_named_and_goes_on(
    site: Site, rebuilding: Rebuilding, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.play(FIRST, RecordingEsp())
    monkeypatch.setattr(rebuild, "PATIENCE_SECONDS", 0.2)
    before = uuids(site)
    with site.micro_batches(RecordingEsp()) as batches:
        lease = site.hold(batches, "run-7")
        with pytest.raises(RebuildError, match="Lane 0 did not stand still in time: run run-7 is still at its batch"):
            rebuilding.run()
        batches.recover(lease)
        append(batches.stream, SECOND, site.clock())
        assert sum(len(result.rows) for result in drained(batches, lease)) == len(SECOND)
    assert uuids(site) == before
    assert rebuilding.leftovers() == []
    assert not site.book.lanes.stand_still(site.clock())


@pytest.mark.parametrize("change", ["landing", "restore", "deployment"])
def test_what_changes_below_the_rebuild_stops_it(site: Site, rebuilding: Rebuilding, change: str) -> None:
    site.play(FIRST, RecordingEsp())
    before = uuids(site)
    words = {
        "landing": (
            "ALTER TABLE landing DELETE WHERE message_id = 'm1' SETTINGS mutations_sync = 2",
            "Rows came into landing or left it",
        ),
        "deployment": ("ALTER TABLE email_states_mv MODIFY QUERY SELECT id FROM events", "Models were deployed"),
    }
    lease = None
    if change == "restore":
        lease, command, said = site.book.lanes.acquire_archive("run-7", site.clock(), LEASE_MS), "SELECT 1", "archive"
    else:
        command, said = words[change]
    view = site.rows("SELECT as_select FROM system.tables WHERE name = 'email_states_mv' AND database = 'wakeline'")
    rebuilding.on_line = lambda line: line.startswith("Read") and site.client.command(command)
    try:
        with pytest.raises(RebuildError, match=said):
            rebuilding.run()
    finally:
        site.client.command(f"ALTER TABLE email_states_mv MODIFY QUERY {view[0][0]}")
    assert uuids(site) == before
    assert rebuilding.leftovers() == []
    assert (lease is not None) == (change == "restore")


#: What is never rebuilt.
OUTLIVING_LANDING = ("landing", "landing_message_ids", "traffic_minutes")


def test_a_clickhouse_that_is_away_for_the_exchange_is_waited_for(
    site: Site, rebuilding: Rebuilding, clean: BuildClean, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.play(FIRST, RecordingEsp())
    exchange, faults = Shadow.exchange, iter([True, True])

    def away(shadow: Shadow, wanted: dict[str, str]) -> None:
        """Gone after some of them, and again after all."""
        some = dict(list(wanted.items())[:3]) if next(faults, False) else wanted
        exchange(shadow, some)
        if some != wanted:
            raise WarehouseError("gone") from ConnectionError()

    monkeypatch.setattr(Shadow, "exchange", away)
    before = uuids(site)
    rebuilding.run()
    after = uuids(site)
    assert all(before[name] != after[name] for name in before if name not in OUTLIVING_LANDING)
    assert_clean(site, clean)


def test_shadow_tables_that_stay_hide_neither_success_nor_what_went_wrong(
    site: Site, rebuilding: Rebuilding, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stay(shadow: Shadow) -> None:
        raise WarehouseError("ClickHouse did not drop shadow tables: gone")

    def fail(*_: Any) -> None:
        raise RebuildError("Some tables may be exchanged.")

    site.play(FIRST, RecordingEsp())
    with monkeypatch.context() as patch:
        patch.setattr(Shadow, "drop", stay)
        assert rebuilding.run().executed
        patch.setattr(Rebuild, "_exchange", fail)
        with pytest.raises(RebuildError, match="Some tables may be exchanged"):
            rebuilding.run()
    assert (
        len([line for line in rebuilding.said if line.startswith("ClickHouse did not drop shadow tables: gone;")]) == 2
    )
    rebuilding.run()
    assert rebuilding.leftovers() == []


def test_the_command_says_what_would_be_done_and_then_does_it(
    site: Site, clean: BuildClean, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.play(FIRST, RecordingEsp())
    monkeypatch.setattr("wakeline.replay.rebuild_cli.load_settings", lambda: site.settings)
    monkeypatch.setattr("wakeline.replay.factory.create_models", lambda _, *to: Rebuilding(site).copy_models(*to))
    dry = CliRunner().invoke(rebuild_command, ["person_states"])
    assert "about 1 s; to do it, add --execute" in " ".join(dry.stdout.split())
    done = CliRunner().invoke(rebuild_command, ["person_states", "--execute", "--json"])
    assert orjson.loads(done.stdout)["rows_after"] == {"person_states": 2}
    assert_clean(site, clean)


@pytest.fixture
def job(site: Site, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Runs the job on the site; the metadata of its step."""
    with no_warnings():
        import dagster as dg

        from orchestration import rebuilding as module
    monkeypatch.setattr(module, "settings", lambda: site.settings)
    monkeypatch.setattr(module, "system_clock", site.clock)
    monkeypatch.setattr("wakeline.replay.factory.create_models", lambda _, *to: Rebuilding(site).copy_models(*to))

    def run(**config: Any) -> dict[str, Any]:
        with dg.DagsterInstance.ephemeral() as instance:
            done = module.rebuild_profiles.execute_in_process(
                instance=instance, run_config={"ops": {"rebuild": {"config": config}}}
            )
        [output] = [event for event in done.all_events if event.event_type_value == "STEP_OUTPUT"]
        return {name: value.value for name, value in output.step_output_data.metadata.items()}

    return run


def test_the_job_is_a_dry_run_unless_told_otherwise(
    site: Site, clean: BuildClean, job: Callable[..., dict[str, Any]]
) -> None:
    site.play(FIRST, RecordingEsp())
    spoil(site, "events")
    assert (job()["executed"], job()["landing_rows"]) == (False, 5)
    assert site.counts()["events"] == 3
    done = job(execute=True)
    assert done["executed"]
    assert done["rows_after"]["events"] == 4
    assert_clean(site, clean)
    with pytest.raises(ConfigError, match="no model 'nonsense'"):
        job(models=["nonsense"], by="ann")
    kept = open_audit(site.engine).latest(3)
    assert [(one.operation, one.done_by, one.state) for one in kept[:1]] == [("rebuild_profiles", "ann", "failed")]
    assert {one.result.get("executed") for one in kept} == {True, False, None}
